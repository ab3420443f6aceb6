/** Options that help to write rules: learning them, asking people, and reports of refusals. */
import * as z from "zod/mini";
import type { OnAsk } from "../on-ask.ts";
import { bool, type NetworkGroup, ON_OFF, something, TEXT, wholeNumber } from "./description.ts";

const AUDIT = 'expected a file\'s name, or { file: "audit.jsonl", allowed: true }';

export const SANDBOX: NetworkGroup<"learn" | "ask" | "onAsk" | "audit" | "refuseHttp"> = {
  learn: {
    flag: "--learn <file>",
    reading: TEXT,
    type: "string",
    help: "allow flows that no rule denies, and write the rules that would have allowed them to this file, for `--rules`",
    more: "See [Learn the rules](rules.md#learn-the-rules).",
    shape: () => something("expected a file's name"),
  },
  ask: {
    flag: "--ask",
    reading: { as: "flag" },
    type: "boolean",
    help: "hold a flow that only the default would refuse for up to 30 seconds, until `tslirp ctl approve` or `deny`",
    initial: "off",
    more: "See [Allow, while it waits](rules.md#allow-while-it-waits).",
    doc: "In a program `onAsk` says it.",
    shape: bool,
  },
  onAsk: {
    flag: null,
    reading: TEXT,
    type: "OnAsk",
    help: "called for a flow that only the default would refuse, which waits for the answer: once, always, or not",
    more: "See [Allow, while it waits](rules.md#allow-while-it-waits).",
    shape: () =>
      z.custom<OnAsk>((value) => typeof value === "function", 'expected a function like (question) => "allow"'),
  },
  audit: {
    flag: "--audit <file>",
    reading: TEXT,
    type: "string | AuditOptions",
    help: "append a line of JSON to this file for each refusal",
    more: "See [The audit](rules.md#the-audit).",
    shape: () =>
      z.union(
        [
          something(AUDIT),
          z.strictObject({
            file: something(AUDIT),
            allowed: z.optional(z.boolean()),
            rotateBytes: z.optional(wholeNumber(1, Number.MAX_SAFE_INTEGER, AUDIT)),
            keepFiles: z.optional(wholeNumber(0, 1000, AUDIT)),
          }),
        ],
        AUDIT,
      ),
  },
  refuseHttp: {
    flag: "--refuse-http <on|off>",
    reading: ON_OFF,
    type: "boolean",
    help: "answer an unencrypted HTTP request that a rule about names refuses with `403` and a line that says which rule",
    initial: "on",
    shape: bool,
  },
};
