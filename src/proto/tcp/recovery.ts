/**
 * Loss recovery: sends again the segments that the path to the guest lost.
 *
 * Theory of operation
 *
 * A guest's cable is a socket: it neither loses nor reorders. Losses come from queues that overflow at the guest's side
 * (a TAP, a dgram socket, a switch port), so the whole tail of a burst is lost. Recovery has to be right, and cost
 * nothing while there is no loss. Hence there is no record per segment and no second timer, but four rules on three
 * sequence numbers:
 *
 * 1. *Duplicates* (RFC 5681, 6675). The third duplicate ACK, or two segments' worth of SACK, starts recovery: half the
 *    window, and every hole below the highest byte reported is sent again, one after another, as the pipe allows. A
 *    hole counts as lost even without three reports above it (as in FACK), since nothing on this path reorders. Without
 *    SACK the first segment is sent again, and one more for each partial ACK (NewReno, RFC 6582).
 * 2. *Lost again* (RACK detects this by time, RFC 8985 section 6). `rexmitMark` is SND.MAX when the latest repair left.
 *    A SACK report of bytes beyond it was sent after every repair. Since order is kept, the holes that are still open
 *    have been lost again, and the pass begins anew.
 * 3. *Probe* (TLP, RFC 8985 section 7). If more than one segment is in flight and nothing was heard for two round
 *    trips, the last segment is sent again (or a new one, if there is one): the SACK that answers it shows the holes in
 *    front of it. Without SACK, or if reports already show that the first segment is missing, the first one is sent
 *    again. There is one probe, then the retransmission time-out. A lone segment gets no probe: its ACK may be delayed
 *    for as long as the time-out (RFC 8985 adds 200 ms, which is our least RTO).
 * 4. *Time-out* (RFC 6298): one segment, then slow start through everything from SND.UNA on, except bytes that the
 *    guest reports by SACK meanwhile. If the first ACK after the time-out echoes a timestamp from before it (Eifel, RFC
 *    3522), nothing was lost: the guest's machine had stopped for a while. Then the window is restored, and nothing
 *    more is sent twice.
 *
 * RACK itself needs a time stamp for each segment. It would add tolerance to reordering, which this path does not need.
 */
import { seqAdd, seqDiff, seqGe, seqGt, seqLe, seqLt, seqMax } from "../../wire/seq.ts";
import { ACK, FIN } from "../../wire/tcp.ts";
import type { TcpOptions } from "../../wire/tcp-options.ts";
import { segment } from "./segment.ts";
import type { Tcb } from "./tcb.ts";
import { restartTimer } from "./timers.ts";

/** Duplicate ACKs that mean loss (RFC 5681 section 3.2). */
const DUPLICATES = 3;

/** Handles an ACK of SND.UNA which shows that bytes behind a hole have arrived. `output` follows. */
export function duplicateAck(t: Tcb): void {
  t.dupAcks++;
  if (t.recovering) return;
  const lost = t.dupAcks >= DUPLICATES || t.scoreboard.sacked > (DUPLICATES - 1) * t.mss;
  // After a time-out, duplicate ACKs for segments sent before it mean nothing (RFC 6582 section 3.2, step 1).
  if (!lost || seqLt(t.sndUna, t.recover)) return;
  t.recovering = true;
  t.probing = false;
  t.recover = t.sndMax;
  t.rexmitNext = t.sndUna;
  t.rexmitMark = t.sndMax;
  t.congestion.onLoss(seqDiff(t.sndMax, t.sndUna));
}

/** Handles an ACK that moves SND.UNA on by `acked` bytes during recovery. */
export function recoveryAdvanced(t: Tcb, ack: number, acked: number): void {
  if (seqGe(ack, t.recover)) {
    t.recovering = false;
    t.dupAcks = 0;
  } else if (!t.sack) {
    // Partial ACK: the next hole begins here. All but one of the segments that it covers were counted by duplicate ACKs
    // as having left the wire.
    t.rexmitNext = ack;
    t.dupAcks = Math.max(0, t.dupAcks + 1 - Math.ceil(acked / t.mss));
  }
}

/** Bytes that may be in flight beyond the congestion window, because as many have left the wire. */
export function credit(t: Tcb): number {
  // RFC 3042: each of the first two duplicate ACKs allows one new segment, which keeps the ACK clock running.
  if (!t.recovering) return Math.min(t.dupAcks, DUPLICATES - 1) * t.mss;
  return t.sack ? t.scoreboard.sacked : t.dupAcks * t.mss;
}

/**
 * Sends holes again as the pipe allows (RFC 6675 section 5), except into a closed window. False when the cable was
 * full.
 */
export function repair(t: Tcb, now: number): boolean {
  if (t.sndWnd === 0) return true;
  const end = t.sack ? t.scoreboard.highest(t.sndUna) : seqAdd(t.sndUna, 1);
  if (t.sack && seqLt(t.rexmitMark, end)) t.rexmitNext = t.sndUna;
  let pipe = 0;
  for (;;) {
    const from = t.scoreboard.nextHole(seqMax(t.rexmitNext, t.sndUna));
    if (seqGe(from, t.recover)) return true;
    if (from !== t.sndUna) {
      if (!seqLt(from, end)) return true;
      // The bytes in flight, without reported bytes and without holes that wait for their repair.
      if (pipe === 0) pipe = seqDiff(t.sndMax, t.sndUna) - t.scoreboard.sacked - t.scoreboard.missing(from);
      if (pipe + t.mss > t.congestion.cwnd) return true;
    }
    const sent = resend(t, now, from);
    if (sent <= 0) return sent === 0;
    pipe += pipe === 0 ? 0 : sent;
    t.rexmitNext = seqAdd(from, sent);
    t.rexmitMark = t.sndMax;
    if (!t.sack) return true;
  }
}

/**
 * Sends the bytes at `from` again, up to a segment or to the next reported byte. Returns how many sequence numbers were
 * sent; -1 when the cable was full.
 */
function resend(t: Tcb, now: number, from: number): number {
  const offset = seqDiff(from, t.sndUna);
  const hole = seqDiff(t.scoreboard.holeEnd(from, seqAdd(from, t.mss)), from);
  const len = Math.max(0, Math.min(hole, t.mss, t.sendBuffer.length - offset));
  const fin = t.finSent && seqAdd(from, len) === t.finSeq ? FIN : 0;
  if (len + fin === 0) return 0;
  if (!segment(t, now, from, ACK | fin, len)) return -1;
  t.retransmissions++;
  // Karn's algorithm: a segment that is sent twice is not timed.
  t.timedAt = -1;
  t.ackPending = false;
  return len + fin;
}

/** Handles the end of the probe timer: rule 3. False when the cable was full. */
export function sendProbe(t: Tcb, now: number): boolean {
  t.probeEnd = t.sndMax;
  t.probeAgain = true;
  const unsent = Math.min(t.sendBuffer.length, t.sndWnd) - seqDiff(t.sndMax, t.sndUna);
  let sent: number;
  if (t.recovering || !t.sack || !t.scoreboard.empty) {
    sent = resend(t, now, t.sndUna);
    t.probeEnd = seqAdd(t.sndUna, 1);
    if (t.recovering && sent > 0) {
      t.rexmitNext = seqAdd(t.sndUna, sent);
      t.rexmitMark = t.sndMax;
    }
  } else if (unsent >= t.mss && t.sndNxt === t.sndMax) {
    sent = segment(t, now, t.sndMax, ACK, t.mss) ? t.mss : -1;
    t.probeAgain = false;
    if (sent > 0) t.sndMax = t.sndNxt = seqAdd(t.sndMax, sent);
    t.probeEnd = t.sndMax;
  } else {
    const fin = t.finSent ? 1 : 0;
    const last = seqAdd(t.sndMax, -fin - Math.min(t.mss, seqDiff(t.sndMax, t.sndUna) - fin));
    sent = resend(t, now, last);
  }
  t.probing = sent > 0;
  restartTimer(t, now);
  return sent >= 0;
}

/**
 * Handles an ACK while a probe is under way (RFC 8985 section 7.4). If it covers more than the probe, and nothing shows
 * that both the probe and its original arrived, then the probe has repaired a loss, and the congestion window is
 * halved.
 */
export function probeAnswered(t: Tcb, options: TcpOptions, ack: number, size: number): void {
  if (seqLt(ack, t.probeEnd)) return;
  const doubled = options.sackCount > 0 && seqLe(options.sack[1]!, ack);
  if (!t.probeAgain || !t.sack || t.recovering || doubled || (ack === t.sndUna && size === 0)) t.probing = false;
  else if (seqGt(ack, t.probeEnd)) {
    t.probing = false;
    t.congestion.onLoss(seqDiff(t.sndMax, t.sndUna));
  }
}

/** Handles the first new ACK after a time-out: rule 4. */
export function undoTimeout(t: Tcb, options: TcpOptions): void {
  t.timedOut = false;
  if (!t.timestamps || !options.timestamps || !seqLt(options.tsEcho, t.timedOutStamp)) return;
  t.congestion.undo();
  t.sndNxt = t.sndMax;
  t.recover = t.sndUna;
}
