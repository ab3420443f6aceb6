/** Rules from a file and from those that it includes: `include FILE`, whose rules stand in that line's place. */
import { readFileSync } from "node:fs";
import path from "node:path";
import { ConfigError } from "../control/errors.ts";
import { readRuleLines } from "../control/rules.ts";

/** How many files deep. */
const MAX_DEPTH = 8;
/** Files that include two others each would be read 2⁸ times otherwise. */
const MAX_FILES = 64;

export interface RuleLines {
  readonly lines: readonly string[];
  /** Where each line stands: FILE:LINE. */
  readonly fields: readonly string[];
}

/**
 * All of them in their order, those of included files too, which are found from the folder of the file that includes them.
 * `field` is what named the file. Throws `ConfigError` about the line that is wrong.
 */
export function readRulesFile(field: string, file: string): RuleLines {
  const lines: string[] = [];
  const fields: string[] = [];
  let files = 0;
  const read = (from: string, given: string, name: string, within: readonly string[]): void => {
    const wrong = (expectation: string): ConfigError => new ConfigError(from, given, expectation);
    const place = path.resolve(name);
    if (within.includes(place)) throw wrong("expected no file that includes itself");
    if (within.length > MAX_DEPTH) throw wrong(`expected files that include others ${MAX_DEPTH} deep at the most`);
    if (++files > MAX_FILES) throw wrong(`expected at most ${MAX_FILES} files of rules`);
    const found = readRuleLines(name, textOf(name, wrong));
    found.lines.forEach((line, i) => {
      const where = found.fields[i]!;
      const included = /^include(?:\s+(.+))?$/.exec(line);
      if (included === null) {
        lines.push(line);
        fields.push(where);
      } else if (included[1] === undefined) throw new ConfigError(where, line, "expected include FILE");
      else
        read(where, line, path.join(path.isAbsolute(included[1]) ? "" : path.dirname(name), included[1]), [
          ...within,
          place,
        ]);
    });
  };
  read(field, file, file, []);
  return { lines, fields };
}

function textOf(file: string, wrong: (expectation: string) => ConfigError): string {
  try {
    return readFileSync(file, "utf8");
  } catch (error) {
    throw wrong(`expected a file that can be read (${(error as NodeJS.ErrnoException).code})`);
  }
}
