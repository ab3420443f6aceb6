/** Reads numbers behind flags. */
import { parseNumber } from "../control/addresses.ts";
import { ConfigError } from "../control/errors.ts";
import { COMMAND, type CommandField } from "../control/options/command.ts";
import type { Reading } from "../control/options/description.ts";
import { longFlag } from "../control/options/table.ts";

/** The number behind a flag of the command line's own. Throws `ConfigError`. */
export function commandNumber(key: CommandField, text: string | undefined, expectation?: string): number | undefined {
  const { flag, reading } = COMMAND[key];
  return number(longFlag(flag), text, reading as NumberReading, expectation);
}

export type NumberReading = Pick<Extract<Reading, { as: "number" }>, "min" | "max" | "unit">;

/** The number in a flag's text; undefined for none. Throws `ConfigError`. */
export function number(
  flag: string,
  text: string | undefined,
  reading: NumberReading,
  expectation?: string,
): number | undefined {
  if (text === undefined) return undefined;
  const { min, max, unit } = reading;
  const value = parseNumber(text, min, max);
  const kind = `a whole number${unit === undefined ? "" : ` of ${unit}`}`;
  if (value === null)
    throw new ConfigError(
      flag,
      text,
      expectation ?? `expected ${kind} ${min === 0 ? "" : `from ${min} `}${min === 0 ? "up to" : "to"} ${max}`,
    );
  return value;
}
