/** `--tap NAME[@PID|@PATH]`: a TAP's name, and the network namespace in which it is made. */
import { ConfigError } from "./errors.ts";

export interface TapTarget {
  readonly name: string;
  /** The namespace of a process, or the one at a path (`/run/netns/x`); null for our own. */
  readonly where: { readonly pid: number } | { readonly path: string } | null;
}

const EXPECTED = "expected NAME, NAME@PID or NAME@PATH, like tap0@/run/netns/guest; a name has 1 to 15 characters";

/** Throws `ConfigError`. */
export function parseTapTarget(field: string, text: string): TapTarget {
  const [, name, where] = /^([^@/\s]{1,15})(?:@(.+))?$/.exec(text) ?? [];
  if (name === undefined || name === "." || name === "..") throw new ConfigError(field, text, EXPECTED);
  if (where === undefined) return { name, where: null };
  if (/^[1-9]\d{0,9}$/.test(where)) return { name, where: { pid: Number(where) } };
  if (!where.startsWith("/")) throw new ConfigError(field, text, EXPECTED);
  return { name, where: { path: where } };
}
