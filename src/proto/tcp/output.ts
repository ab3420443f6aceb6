/**
 * Decides what a connection sends: SYN, data within the windows, FIN, ACKs. Called whenever something may have changed.
 */
import { LEAST_SEGMENT, SUM_UNDONE } from "../../core/link.ts";
import { seqAdd, seqDiff, seqGe, seqLt, seqMax } from "../../wire/seq.ts";
import { ACK, FIN, PSH, SYN, TCP_HEADER } from "../../wire/tcp.ts";
import { credit, repair } from "./recovery.ts";
import { segment, sendAck } from "./segment.ts";
import type { Tcb } from "./tcb.ts";
import { armTimer } from "./timers.ts";
import {
  CLOSE_WAIT,
  CLOSED,
  ESTABLISHED,
  FIN_WAIT_1,
  HELD,
  LAST_ACK,
  RETRANSMIT,
  SYN_RECEIVED,
  SYN_SENT,
  TIME_WAIT,
} from "./types.ts";

/** Half of such a window would make segments too small, so windows up to this are not halved. Bytes. */
const SMALL = 536;
/** Bytes. A segment of this size is large enough to send, whatever the MSS. */
const LARGE = 16_384;

/**
 * Sends what may be sent now. `probe` overrides silly-window avoidance, and forces one byte past a closed window. False
 * when the cable was full.
 */
export function output(t: Tcb, now: number, probe = false): boolean {
  t.now = now;
  if (t.state === CLOSED || t.state === HELD) return true;
  if (t.state === SYN_SENT || t.state === SYN_RECEIVED) {
    return sendSyn(t, now) && (!t.ackPending || t.state === SYN_SENT || sendAck(t, now));
  }
  const sent = (t.state === TIME_WAIT || sendData(t, now, probe)) && (!t.ackPending || sendAck(t, now));
  armTimer(t, now);
  return sent;
}

function sendSyn(t: Tcb, now: number): boolean {
  if (t.sndNxt !== t.iss) return true;
  const flags = t.state === SYN_SENT ? SYN : SYN | ACK;
  // No cable, or a full one: the segment counts as lost, and the timer sends it again.
  t.timerKind = RETRANSMIT;
  t.timerAt = now + t.rtt.rto;
  if (!segment(t, now, t.iss, flags, 0)) return false;
  // Karn: only segments that are sent once are timed.
  t.timedAt = t.sndMax === t.iss ? now : -1;
  t.timedSeq = t.iss;
  t.sndNxt = seqAdd(t.iss, 1);
  t.sndMax = seqMax(t.sndMax, t.sndNxt);
  t.ackPending = false;
  return true;
}

/** Data and FIN, within min(SND.WND, cwnd), with Nagle off: the bytes come from a socket that was written on purpose. */
function sendData(t: Tcb, now: number, probe: boolean): boolean {
  if (t.recovering && !repair(t, now)) return false;
  const buffered = t.sendBuffer.length;
  const window = Math.min(t.sndWnd, t.congestion.cwnd + credit(t), t.flightLimit);
  // No segment has more than half the largest window ever offered. If a window held one segment only, a guest would
  // delay the ACK for it (RFC 9293 section 3.8.6.2.1, Fs).
  const half = Math.max(t.maxWnd > SMALL ? t.maxWnd >> 1 : t.maxWnd, 1);
  const most = Math.min(t.mss, half);
  const long = longest(t, half);
  for (;;) {
    // After a time-out SND.NXT passes old data again, but skips data that the guest has reported by SACK.
    if (!t.scoreboard.empty && seqLt(t.sndNxt, t.sndMax)) t.sndNxt = t.scoreboard.nextHole(t.sndNxt);
    const offset = seqDiff(t.sndNxt, t.sndUna);
    let len = Math.min(buffered - offset, window - offset, most);
    if (len === most && long > most && t.sndNxt === t.sndMax) len = many(t, buffered - offset, window - offset, long);
    const forced = probe;
    probe = false;
    if (forced && len <= 0 && offset < buffered) len = 1;
    if (!t.scoreboard.empty)
      len = Math.min(len, seqDiff(t.scoreboard.holeEnd(t.sndNxt, seqAdd(t.sndNxt, Math.max(len, most))), t.sndNxt));
    const last = len >= 0 && offset + len === buffered;
    const fin = t.finQueued && last && (!t.finSent || seqGe(t.finSeq, t.sndNxt));
    if (len <= 0 && !(fin && offset === buffered)) return true;
    if (len < 0) len = 0;
    // Sender's silly-window avoidance (RFC 9293 section 3.8.6.2.1): a full segment, all there is, or half the largest
    // window ever offered; the persist timer overrides.
    if (len > 0 && len < most && len < LARGE && !last && !forced && t.sndNxt === t.sndMax) return true;
    const flags = ACK | (last && len > 0 ? PSH : 0) | (fin ? FIN : 0);
    if (!segment(t, now, t.sndNxt, flags, len)) return false;
    const again = seqLt(t.sndNxt, t.sndMax);
    if (again) t.retransmissions++;
    else if (t.timedAt < 0) {
      t.timedSeq = t.sndNxt;
      t.timedAt = now;
    }
    t.sndNxt = seqAdd(t.sndNxt, len);
    t.ackPending = false;
    if (fin) {
      if (!t.finSent) {
        t.finSent = true;
        t.finSeq = t.sndNxt;
        if (t.state === ESTABLISHED) t.state = FIN_WAIT_1;
        else if (t.state === CLOSE_WAIT) t.state = LAST_ACK;
      }
      t.sndNxt = seqAdd(t.sndNxt, 1);
    }
    t.sndMax = seqMax(t.sndMax, t.sndNxt);
    if (fin) return true;
  }
}

/**
 * The payload of the longest segment that the cable takes to be cut later, in whole segments of the guest's MSS; 0 when
 * there is none. `half` limits it as it does a single segment.
 */
function longest(t: Tcb, half: number): number {
  const offload = t.path.offload === undefined ? 0 : t.path.offload();
  if (offload <= SUM_UNDONE || t.mss < LEAST_SEGMENT) return 0;
  const payload = Math.min(offload - TCP_HEADER - (t.timestamps ? 12 : 0), half);
  return payload - (payload % t.mss);
}

/**
 * New data for one long segment: whole segments of the MSS, so that what is cut later is what would have been sent
 * singly, or all there is, whose rest is the short segment that it would have been.
 */
function many(t: Tcb, waiting: number, allowed: number, long: number): number {
  const len = Math.min(waiting, allowed, long);
  return len === waiting ? len : len - (len % t.mss);
}
