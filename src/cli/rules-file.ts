/** Reads rules from a file and the files that it includes: the rules of FILE replace the line `include FILE`. */
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
/** How many files may be read in all: with two `include` lines in each file, a chain would otherwise read 2⁸ times. */
const MAX_FILES = 64;
/** How many bytes a file may have. Nobody writes a longer file of rules. */
const MAX_BYTES = 4_194_304;

const INCLUDE = /^include(?:\s+(.+))?$/;

export interface RuleLines {
  readonly lines: readonly string[];
  /** The place of each line: FILE:LINE. */
  readonly fields: readonly string[];
  /** How many rules of its own each file has, by absolute path. */
  readonly counts: ReadonlyMap<string, number>;
}

/**
 * Reads all rules in their order; an included file's rules replace its `include` line. Names are relative to the
 * including file. `field` is the option that named the file. If the file is read again, `before` is the last time's
 * `counts`. Somebody may be editing then: a file whose last line has no end is half written, and one that had rules
 * and now has none is being written. Throws `ConfigError` about the wrong line.
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
    // Opened without blocking: opening a pipe that nobody writes to would block the whole network.
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
 * Writes rules to a new file, which replaces the old one in one step. Throws `ConfigError` if the old one has
 * anything but rules, since that would be lost.
 */
export function saveRulesFile(field: string, file: string, rules: readonly string[]): void {
  const there = lstatSync(file, { throwIfNoEntry: false });
  if (there !== undefined && !there.isFile())
    throw new ConfigError(field, file, "expected a file, not a link, a device, a pipe, a socket or a folder");
  if (there !== undefined && there.size > 0 && !holdsRules(field, file))
    throw new ConfigError(field, file, "expected a new file or one of rules: it holds something else");
  const next = `${file}.${process.pid}.new`;
  try {
    // Does not follow a link that somebody has put there.
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
