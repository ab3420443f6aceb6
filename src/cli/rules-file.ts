/** Rules from a file and from those that it includes: `include FILE`, whose rules stand in that line's place. */
import {
  closeSync,
  constants,
  fstatSync,
  lstatSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import path from "node:path";
import { ConfigError } from "../control/errors.ts";
import { parseRules, readRuleLines } from "../control/rules.ts";
import { reasonOf } from "../host/reason.ts";

/** How many files deep. */
const MAX_DEPTH = 8;
/** Files that include two others each would be read 2⁸ times otherwise. */
const MAX_FILES = 64;
/** What is longer holds no rules that anybody has written. */
const MAX_BYTES = 4_194_304;

const INCLUDE = /^include(?:\s+(.+))?$/;

export interface RuleLines {
  readonly lines: readonly string[];
  /** Where each line stands: FILE:LINE. */
  readonly fields: readonly string[];
  /** How many rules each file had of its own, by its whole path. */
  readonly counts: ReadonlyMap<string, number>;
}

/**
 * All of them in their order, those of included files too, which are found from the folder of the file that includes them.
 * `field` is what named the file. `before` is given when it is read again, with the `counts` of the last time. The files may
 * be in somebody's hands then: what ends within a line is half written, and one that had rules and has none is being written.
 * Throws `ConfigError` about the line that is wrong.
 */
export function readRulesFile(field: string, file: string, before: RuleLines["counts"] | null = null): RuleLines {
  const lines: string[] = [];
  const fields: string[] = [];
  const counts = new Map<string, number>();
  let files = 0;
  const read = (from: string, given: string, name: string, within: readonly string[]): void => {
    const wrong = (expectation: string): ConfigError => new ConfigError(from, given, expectation);
    const place = path.resolve(name);
    if (within.includes(place)) throw wrong("expected no file that includes itself");
    if (within.length > MAX_DEPTH) throw wrong(`expected files that include others ${MAX_DEPTH} deep at the most`);
    if (++files > MAX_FILES) throw wrong(`expected at most ${MAX_FILES} files of rules`);
    const found = readRuleLines(name, textOf(name, before !== null, wrong));
    const own = found.lines.filter((line) => !INCLUDE.test(line)).length;
    if (own === 0 && (before?.get(place) ?? 0) > 0)
      throw wrong("expected a rule in it, as there was: without its include line it may have none");
    counts.set(place, own);
    found.lines.forEach((line, i) => {
      const where = found.fields[i]!;
      const included = INCLUDE.exec(line);
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
  return { lines, fields, counts };
}

function textOf(file: string, again: boolean, wrong: (expectation: string) => ConfigError): string {
  let text: string;
  let fd = -1;
  try {
    // A pipe that nobody writes to would hold up the whole network.
    fd = openSync(file, constants.O_RDONLY | (constants.O_NONBLOCK ?? 0));
    const stat = fstatSync(fd);
    if (!stat.isFile() && !stat.isDirectory()) throw wrong("expected a file, no pipe and no device");
    if (stat.size > MAX_BYTES) throw wrong(`expected a file of at most ${MAX_BYTES} bytes`);
    text = readFileSync(fd, "utf8");
  } catch (error) {
    if (error instanceof ConfigError) throw error;
    throw wrong(`expected a file that can be read (${reasonOf(error)})`);
  } finally {
    if (fd >= 0) closeSync(fd);
  }
  if (again && text !== "" && !text.endsWith("\n"))
    throw wrong("expected a line end behind the last line: without one it may be half written");
  return text;
}

/**
 * Writes rules to a new file, an empty one or one of rules, whose place the new one takes at once. Throws `ConfigError` where
 * something else would be lost.
 */
export function saveRulesFile(field: string, file: string, rules: readonly string[]): void {
  const there = lstatSync(file, { throwIfNoEntry: false });
  if (there !== undefined && !there.isFile())
    throw new ConfigError(field, file, "expected a file, not a link, a device, a pipe, a socket or a folder");
  if (there !== undefined && there.size > 0 && !holdsRules(field, file))
    throw new ConfigError(field, file, "expected a new file or one of rules: it holds something else");
  const next = `${file}.${process.pid}.new`;
  try {
    // Never through a link that somebody has put there.
    writeFileSync(next, rules.map((rule) => `${rule}\n`).join(""), { mode: 0o600, flag: "wx" });
    renameSync(next, file);
  } catch (error) {
    rmSync(next, { force: true });
    throw new ConfigError(field, file, `expected a file that can be written (${reasonOf(error)})`);
  }
}

function holdsRules(field: string, file: string): boolean {
  try {
    const { lines, fields } = readRulesFile(field, file);
    parseRules(lines, fields);
    return true;
  } catch {
    return false;
  }
}
