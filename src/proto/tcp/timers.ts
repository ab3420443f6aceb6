/**
 * The one timer of a connection's sending side, in its three meanings:
 *
 * - `RETRANSMIT` (RFC 6298): runs while anything is in flight, from the last ACK that moved SND.UNA.
 * - `PROBE`: the same, cut short; what it sends and why stands in recovery.ts. `RETRANSMIT` follows.
 * - `PERSIST` (RFC 9293 section 3.8.6.1): something waits and nothing is in flight, because the window is shut or too
 *   small for a segment worth sending. A byte of it, or what the window allows, finds out. For as long as the guest
 *   acknowledges, however long its reader sleeps.
 *
 * Keepalive and TIME-WAIT share another, `lifeAt`.
 */
import { seqDiff, seqGt } from "../../wire/seq.ts";
import type { Tcb } from "./tcb.ts";
import { ESTABLISHED, PERSIST, PROBE, RETRANSMIT, TIME_WAIT } from "./types.ts";

/** Milliseconds. Two round trips take microseconds here, but a guest whose processor is busy has lost nothing. */
const PROBE_MIN = 10;
const PERSIST_MIN = 200;
/** Milliseconds. A probe of a few bytes costs nothing; a reader that waits for a lost window update does. */
const PERSIST_MAX = 10_000;

export function stopTimer(t: Tcb): void {
  t.timerAt = Number.POSITIVE_INFINITY;
}

/** SND.UNA has moved (RFC 6298 sections 5.2 and 5.3), or a probe has gone. */
export function restartTimer(t: Tcb, now: number): void {
  if (!seqGt(t.sndMax, t.sndUna)) {
    stopTimer(t);
    return;
  }
  const { rto, srtt } = t.rtt;
  const pause = Math.max(2 * srtt, PROBE_MIN);
  const probe =
    !t.probing && t.retries === 0 && srtt >= 0 && pause < rto && seqDiff(t.sndMax, t.sndUna) > t.mss && t.sndWnd > 0;
  t.timerKind = probe && t.state >= ESTABLISHED ? PROBE : RETRANSMIT;
  t.timerAt = now + (t.timerKind === PROBE ? pause : rto);
}

/** After whatever was sent: the timer runs if there is anything to wait for. */
export function armTimer(t: Tcb, now: number): void {
  if (t.state === TIME_WAIT) return;
  const running = t.timerAt !== Number.POSITIVE_INFINITY;
  const persisting = running && t.timerKind === PERSIST;
  if (seqGt(t.sndMax, t.sndUna) && !(persisting && t.sndWnd === 0)) {
    if (!running || persisting) restartTimer(t, now);
    return;
  }
  if (t.sendBuffer.length > 0 || (t.finQueued && !t.finAcked())) {
    if (!persisting) startPersist(t, now);
    return;
  }
  stopTimer(t);
}

/** Probes of a window that is shut or too small, from now on. */
export function startPersist(t: Tcb, now: number): void {
  t.timerKind = PERSIST;
  t.timerAt = now + Math.min(PERSIST_MAX, Math.max(PERSIST_MIN, t.rtt.rto) * 2 ** t.persistBackoff);
}
