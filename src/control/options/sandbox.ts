/** What makes rules livable: to learn them, to be told what they did. */
import { z } from "zod";
import { type NetworkGroup, TEXT } from "./description.ts";

export const SANDBOX: NetworkGroup<"learn"> = {
  learn: {
    flag: "--learn <file>",
    reading: TEXT,
    type: "string",
    help: "what no rule denies passes, and the rules that it would have taken are written to this file, for `--rules`",
    more: "See [Learn the rules](rules.md#learn-the-rules).",
    shape: z.string().min(1, "expected a file's name"),
  },
};
