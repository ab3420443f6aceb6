/**
 * A guest that has been set back: a snapshot of it has been restored (`loadvm`, a migration that failed and was taken
 * back), and what it knows of a connection is from before. It waits for bytes that it has acknowledged and we have
 * thrown away, or sends under timestamps that are old to us; neither side would ever get on, nor learn why.
 *
 * It shows by this: for a while all that comes from it is older than what has come before, by its timestamp (PAWS) or by
 * what it acknowledges. Lines that reorder do that, too, for as long as the reordering lasts; one segment of the present
 * ends the suspicion.
 */
import type { Tcb } from "./tcb.ts";

const LEAST_SEGMENTS = 3;
const LEAST_MILLIS = 3_000;

/** Counts a segment from the past. True when there have been nothing but such: then the connection has been reset. */
export function setBack(t: Tcb, now: number): boolean {
  if (t.fromPast === 0) t.pastSince = now;
  if (++t.fromPast < LEAST_SEGMENTS || now - t.pastSince < LEAST_MILLIS) return false;
  t.abort();
  t.user.onAborted("reset");
  return true;
}
