/** `--tap NAME[@PID|@PATH]`: a TAP's name, and the network namespace in which it is made. */
import { ConfigError } from "./errors.ts";

export interface TapTarget {
  readonly name: string;
  /** The namespace of a process, or the one at a path (`/run/netns/x`); null for our own. */
  readonly where: { readonly pid: number } | { readonly path: string } | null;
}

const EXPECTED =
  "expected NAME, NAME@PID or NAME@PATH, like tap0@/run/netns/guest; a name has 1 to 15 characters, none of them % or :";

/** IFNAMSIZ without the zero at the end. */
const MOST_BYTES = 15;

/** Throws `ConfigError`. */
export function parseTapTarget(field: string, text: string): TapTarget {
  // The kernel takes a name with % for a pattern, and the device gets another name.
  const match = typeof text === "string" ? /^([^@/%:\s\p{Cc}]{1,15})(?:@([^\0]+))?$/u.exec(text) : null;
  const [, name, where] = match ?? [];
  if (name === undefined || name === "." || name === ".." || Buffer.byteLength(name) > MOST_BYTES)
    throw new ConfigError(field, text, EXPECTED);
  if (where === undefined) return { name, where: null };
  if (/^[1-9]\d{0,9}$/.test(where)) return { name, where: { pid: Number(where) } };
  if (!where.startsWith("/")) throw new ConfigError(field, text, EXPECTED);
  return { name, where: { path: where } };
}
