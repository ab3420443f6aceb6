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
import { output } from "./output.ts";
import { sendProbe } from "./recovery.ts";
import { ESTABLISHED, SYN_RECEIVED, SYN_SENT, type Tcb, TIME_WAIT } from "./tcb.ts";

export const RETRANSMIT = 0;
export const PROBE = 1;
export const PERSIST = 2;

/** Two round trips are microseconds here; a guest's processor that is busy elsewhere is not a loss. */
const PROBE_MIN = 10;
const PERSIST_MIN = 200;
/** A probe of a few bytes costs nothing; a reader that waits for a lost window update does. */
const PERSIST_MAX = 10_000;
/** R2 of RFC 9293 section 3.8.3, in back-offs: three minutes for a SYN, five for data. */
const SYN_RETRIES = 7;
const DATA_RETRIES = 12;

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

function startPersist(t: Tcb, now: number): void {
  t.timerKind = PERSIST;
  t.timerAt = now + Math.min(PERSIST_MAX, Math.max(PERSIST_MIN, t.rtt.rto) * 2 ** t.persistBackoff);
}

/** The timer has run out. */
export function expired(t: Tcb, now: number): void {
  const kind = t.timerKind;
  stopTimer(t);
  if (t.state >= ESTABLISHED && (kind === PERSIST || t.sndWnd === 0)) persist(t, now);
  else if (kind === PROBE) sendProbe(t, now);
  else timeOut(t, now);
}

function persist(t: Tcb, now: number): void {
  if (t.retries >= DATA_RETRIES) {
    t.giveUp();
    return;
  }
  t.retries++;
  t.persistBackoff++;
  t.sndNxt = t.sndUna;
  startPersist(t, now);
  const sent = output(t, now, true);
  // The byte may be thrown away and sent again: its round trip means nothing (Karn).
  t.timedAt = -1;
  if (!sent && t.path.reachable) t.retries--;
}

function timeOut(t: Tcb, now: number): void {
  const syn = t.state === SYN_SENT || t.state === SYN_RECEIVED;
  if (t.retries >= (syn ? SYN_RETRIES : DATA_RETRIES)) {
    t.giveUp();
    return;
  }
  // RFC 6298 section 5.5, RFC 5681 section 3.1: back off, one segment, and forget what SACK said (RFC 2018 section 8).
  if (!t.timedOut && !syn) {
    t.timedOut = true;
    t.timedOutStamp = now | 0;
    t.congestion.remember();
  }
  t.retries++;
  t.rtt.backOff();
  t.timedAt = -1;
  if (!syn) t.congestion.onTimeout(seqDiff(t.sndMax, t.sndUna));
  t.recovering = false;
  t.probing = false;
  t.dupAcks = 0;
  t.scoreboard.clear();
  t.recover = t.sndMax;
  t.sndNxt = syn ? t.iss : t.sndUna;
  // A cable that is full has lost nothing: the try does not count, so a stopped machine keeps its connections. One that is
  // gone loses everything: the try counts.
  if (!output(t, now) && !syn && t.path.reachable) t.retries--;
}
