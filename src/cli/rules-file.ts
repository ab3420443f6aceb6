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

/** How many files may include one another in a chain. */
const MAX_DEPTH = 8;
/** How many files may be read in all: files that include two others each would otherwise be read 2⁸ times. */
const MAX_FILES = 64;
/** Bytes. Nobody writes a longer file of rules. */
const MAX_BYTES = 4_194_304;

const INCLUDE = /^include(?:\s+(.+))?$/;

export interface RuleLines {
  readonly lines: readonly string[];
  /** Where each line stands: FILE:LINE. */
  readonly fields: readonly string[];
  /** How many rules of its own each file had, by absolute path. */
  readonly counts: ReadonlyMap<string, number>;
}

/**
 * All rules in their order, those of included files in place of the `include` line; names are relative to the including
 * file. `field` is what named the file. `before` is given when the file is read again: the `counts` of the last time.
 * Somebody may be editing the files then: a file whose last line has no end is half written, and one that had rules and
 * now has none is being written. Throws `ConfigError` about the wrong line.
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
    // A pipe that nobody writes to would block the whole network.
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
 * Writes rules to a new file, which replaces the old one at once if that is empty or has rules. Throws `ConfigError` if
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
    // Never follows a link that somebody has put there.
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
