import { Command } from "commander";
import { expect, test } from "vitest";
import { addOptions } from "../../src/cli/flags.ts";
import { parseRules } from "../../src/control/rules.ts";

test("of the flags about rules, those are called repeatable that are taken twice", () => {
  const { options } = addOptions(new Command(), "serve");
  const repeatable = (flag: string): boolean =>
    options.find(({ long }) => long === flag)!.description.endsWith("(repeatable)");
  for (const flag of ["--allow", "--deny", "--limit"]) expect(repeatable(flag), flag).toBe(true);
  expect(repeatable("--default")).toBe(false);
  expect(() => parseRules(["default deny", "default deny"])).toThrow("expected one default only");
});
