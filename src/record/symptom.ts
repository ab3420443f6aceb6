/** The symptom that a replay ends with, for comparison with that of a smaller recording. */
import { ENTRIES, type Entry, type EntryName, toJson, type Value } from "./format.ts";
import { checksumField } from "./frames.ts";
import type { ReplayResult } from "./replay.ts";
import type { Difference } from "./script.ts";

/**
 * A crash, identified by its message and the function that threw; or a difference, by the recorded entry and the
 * replayed one.
 */
export type Symptom =
  | { readonly kind: "crash"; readonly what: string }
  | { readonly kind: "difference"; readonly recorded: Entry; readonly replayed: Entry | null };

/** The symptom of a replay; null if it went well. */
export function symptomOf({ crash, difference }: ReplayResult): Symptom | null {
  if (crash !== null) return { kind: "crash", what: crashText(crash) };
  if (difference === null || difference.recorded === null) return null;
  return { kind: "difference", recorded: difference.recorded, replayed: difference.replayed };
}

/** The message and the innermost function, without line numbers, which change while a recording is kept. */
export function crashText(error: Error): string {
  const top = error.stack?.split("\n").find((line) => /^\s+at /.test(line)) ?? "";
  return `${error.name}: ${error.message} in ${/^\s+at (?:async )?([^\s(]+)/.exec(top)?.[1] ?? "?"}`;
}

/** Whether a difference is of the same kind: the same calls, with the same fields differing. */
export function isSame(difference: Difference, { recorded, replayed }: Symptom & { kind: "difference" }): boolean {
  return (
    difference.recorded?.name === recorded.name &&
    difference.replayed?.name === replayed?.name &&
    (replayed?.name !== recorded.name ||
      differing(difference.recorded, difference.replayed!).join() === differing(recorded, replayed).join())
  );
}

/**
 * The entry that a smaller recording must have in place of `recorded`, if the network does `done` there: `done` with
 * the differing fields as they were recorded. Null if `done` does not differ in the same way.
 */
export function expected({ recorded, replayed }: Symptom & { kind: "difference" }, done: Entry): Entry | null {
  if (replayed === null || done.name !== replayed.name) return null;
  if (recorded.name !== replayed.name) return recorded;
  const fields = differing(recorded, replayed);
  const values: Value[] = [...done.values];
  for (const i of fields) {
    const [was, is, now] = [recorded.values[i], replayed.values[i], done.values[i]];
    if (was instanceof Uint8Array && is instanceof Uint8Array && now instanceof Uint8Array) {
      const mended = overlay(recorded.name, was, is, now);
      if (mended === null) return null;
      values[i] = mended;
    } else {
      if (toJson(is) !== toJson(now) && !(fields.length > 1 && isSum(recorded.name, i))) return null;
      values[i] = was;
    }
  }
  return { name: recorded.name, values };
}

/** `now` with the recorded bytes wherever `was` and `is` differ; null if `now` has other bytes there than `is`. */
function overlay(name: EntryName, was: Uint8Array, is: Uint8Array, now: Uint8Array): Uint8Array | null {
  if (was.length !== is.length || now.length !== is.length) return was.length === is.length ? null : was;
  const sum = name === "sent" ? checksumField(was) : -1;
  const mended = now.slice();
  for (const [i, byte] of was.entries()) {
    if (byte === is[i]) continue;
    const checksum = (sum >= 0 && (i === sum || i === sum + 1)) || (name === "sent" && (i === 24 || i === 25));
    if (now[i] !== is[i] && !checksum) return null;
    mended[i] = byte;
  }
  return mended;
}

/** The numbers of the fields in which two entries of one name differ. */
function differing(a: Entry, b: Entry): number[] {
  return Object.keys(ENTRIES[a.name].fields).flatMap((_, i) => (same(a.values[i], b.values[i]) ? [] : [i]));
}

function same(a: Value, b: Value): boolean {
  // "?" stands for an identifier that the network has not been given yet.
  if (b === "?") return true;
  return a instanceof Uint8Array && b instanceof Uint8Array ? toHex(a) === toHex(b) : toJson(a) === toJson(b);
}

const toHex = (bytes: Uint8Array): string => Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
const isSum = (name: EntryName, i: number): boolean => Object.keys(ENTRIES[name].fields)[i] === "crc";
