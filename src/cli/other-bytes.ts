/**
 * Handles arguments and environment variables that are not UTF-8. Node decodes both as UTF-8 and replaces every
 * invalid byte by U+FFFD, so the command or file would be a different one. The kernel still has the bytes.
 */
import { isUtf8 } from "node:buffer";
import fs from "node:fs";
import { ConfigError, printable } from "../control/errors.ts";
import { standardError } from "../control/standard-error.ts";

const REPLACED = "\u{fffd}";

/** Throws a `ConfigError` about the first argument of this process (without node and script) that is not UTF-8. */
export function refuseOtherBytes(args: readonly string[]): void {
  if (!args.some((arg) => arg.includes(REPLACED))) return;
  const given = entriesOf("/proc/self/cmdline").slice(-args.length);
  const at = given.findIndex((bytes) => !isUtf8(bytes));
  if (at < 0 || !given.every((bytes, i) => bytes.toString() === args[i])) return;
  throw new ConfigError(`argument ${at + 1}`, args[at], "expected UTF-8: other bytes cannot be passed on");
}

/**
 * The environment for the program that `command` ("run") starts. Variables that are not UTF-8 are left out and
 * reported.
 */
export function environmentFor(command: string): NodeJS.ProcessEnv {
  const env = { ...process.env };
  if (!Object.entries(env).some((pair) => pair.join().includes(REPLACED))) return env;
  for (const bytes of entriesOf("/proc/self/environ")) {
    if (isUtf8(bytes)) continue;
    const [name = ""] = bytes.toString().split("=");
    delete env[name];
    standardError.write(
      `tslirp: ${command}: the environment variable ${printable(name)} is not UTF-8, and is left out\n`,
    );
  }
  return env;
}

/** The entries of a file in /proc, each ended by a zero byte; none if there is no such file. */
function entriesOf(file: string): Buffer[] {
  let bytes: Buffer;
  try {
    bytes = fs.readFileSync(file);
  } catch {
    return [];
  }
  const entries: Buffer[] = [];
  for (let at = 0, end = bytes.indexOf(0); end >= 0; at = end + 1, end = bytes.indexOf(0, at))
    entries.push(bytes.subarray(at, end));
  return entries;
}
