/** What options that write another recording have in common. */
import { statSync } from "node:fs";
import { ConfigError } from "../control/errors.ts";

/** Options of `tslirp replay` that such a one goes with, or does not. */
export interface Rewriting {
  readonly until?: string;
  readonly pcap?: string;
  readonly print?: boolean;
  readonly inspect?: boolean;
  readonly output?: string;
}

/** The file that is written: FILE with `ending`, unless another is given. Throws `ConfigError`. */
export function rewritten(option: string, file: string, ending: string, given: Rewriting): string {
  for (const [other, value] of [
    ["--until", given.until],
    ["--pcap", given.pcap],
    ["--print", given.print],
    ["--inspect", given.inspect],
  ] as const)
    if (value !== undefined)
      throw new ConfigError(other, String(value), `expected it without ${option}: replay what that writes`);
  const output = given.output ?? `${file}.${ending}`;
  if (statSync(output, { throwIfNoEntry: false }) !== undefined)
    throw new ConfigError("--output", output, "expected a new file's name; this one exists");
  return output;
}
