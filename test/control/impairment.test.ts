import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { ConfigError } from "../../src/control/errors.ts";
import { impairmentText, parseImpairment, resolveImpairment } from "../../src/control/impairment.ts";
import type { ImpairmentOptions } from "../../src/control/options/impairment-options.ts";

describe("an impairment as typed", () => {
  test.each<[string, ImpairmentOptions]>([
    ["delay=50ms", { delay: 50 }],
    ["delay=2s,jitter=1.5ms", { delay: 2000, jitter: 1.5 }],
    ["loss=1%,duplicate=0.5", { loss: 0.01, duplicate: 0.5 }],
    ["rate=10mbit,direction=down", { rate: 1e7, direction: "down" }],
    ["rate=56kbit,filter=tcp port 80 and host 10.0.2.15", { rate: 56e3, filter: "tcp port 80 and host 10.0.2.15" }],
    ["", {}],
  ])("%s", (text, wanted) => {
    expect(parseImpairment("--impair", text)).toEqual(wanted);
    expect(parseImpairment("--impair", impairmentText(wanted))).toMatchObject(wanted);
  });

  test.each([
    "delay",
    "delay=",
    "delay=x",
    "delay=-1",
    "loss=101%",
    "rate=5",
    "up",
    "filter=foo",
    "jitter=5",
    "a=1",
    "loss=1,loss=1",
  ])("%s is told in one line that names the option", (text) => {
    expect(() => parseImpairment("--impair", text)).toThrow(/^--impair: got /);
  });

  test("nothing that a user types throws anything else", () => {
    fc.assert(
      fc.property(fc.string(), (text) => {
        try {
          parseImpairment("--impair", text);
        } catch (error) {
          expect(error).toBeInstanceOf(ConfigError);
        }
      }),
    );
  });
});

describe("rules given by a program", () => {
  test("an error names the rule and the field", () => {
    expect(() => resolveImpairment([{}, { loss: 2 }])).toThrow("impair.1.loss: got 2; expected a share from 0 to 1");
    expect(() => resolveImpairment([{ jitter: 5 }])).toThrow("impair.0.jitter: got 5; expected at most the delay");
    expect(() => resolveImpairment([{ lost: 1 } as never])).toThrow("impair.0.lost: got 1; there is no such option");
  });
});
