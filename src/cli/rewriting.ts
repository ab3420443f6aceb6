/** The common part of options that write another recording (`--anonymise`, `--minimise`). */
import { statSync } from "node:fs";
import { ConfigError } from "../control/errors.ts";

/** Other options of `tslirp replay`. Only `output` goes with one that writes another recording. */
export interface Rewriting {
  readonly until?: string;
  readonly pcap?: string;
  readonly print?: boolean;
  readonly inspect?: boolean;
  readonly output?: string;
}

/** The name of the file to write: FILE with `ending`, unless another name is given. Throws `ConfigError`. */
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
