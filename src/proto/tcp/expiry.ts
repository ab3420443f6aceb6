/**
 * Handles the end of the sending side's timer (timers.ts says when): a probe, a retransmission, or the end of the
 * connection.
 */
import { seqDiff } from "../../wire/seq.ts";
import { output } from "./output.ts";
import { sendProbe } from "./recovery.ts";
import type { Tcb } from "./tcb.ts";
import { startPersist, stopTimer } from "./timers.ts";
import { ESTABLISHED, PERSIST, PROBE, SYN_RECEIVED, SYN_SENT } from "./types.ts";

/** R2 of RFC 9293 section 3.8.3, in back-offs: three minutes for a SYN, five for data. */
const SYN_RETRIES = 7;
const DATA_RETRIES = 12;

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
  // The byte may be dropped and sent again, so its round trip means nothing (Karn).
  t.timedAt = -1;
  if (!sent && t.path.reachable) t.retries--;
}

function timeOut(t: Tcb, now: number): void {
  const syn = t.state === SYN_SENT || t.state === SYN_RECEIVED;
  if (t.retries >= (syn ? SYN_RETRIES : DATA_RETRIES)) {
    t.giveUp();
    return;
  }
  // RFC 6298 section 5.5, RFC 5681 section 3.1: back off, send one segment, and forget SACK's reports (RFC 2018 section
  // 8).
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
  // A full cable has lost nothing: the try does not count, so a stopped machine keeps its connections. A cable that is
  // gone loses everything: the try counts.
  if (!output(t, now) && !syn && t.path.reachable) t.retries--;
}
