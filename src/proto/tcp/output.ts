/** What a connection sends: SYN, data within the windows, FIN, acknowledgements. Called whenever something may have changed. */
import { COMPLETE, LEAST_SEGMENT, SUM_UNDONE } from "../../core/link.ts";
import { seqAdd, seqDiff, seqGe, seqGt, seqLt, seqMax } from "../../wire/seq.ts";
import { ACK, FIN, PSH, RST, SYN, TCP_HEADER, tcpLeaveSum, tcpSeal, tcpWrite } from "../../wire/tcp.ts";
import { writeMss, writeSack, writeSackPermitted, writeTimestamps, writeWindowScale } from "../../wire/tcp-options.ts";
import { credit, repair } from "./recovery.ts";
import {
  CLOSE_WAIT,
  CLOSED,
  ESTABLISHED,
  FIN_WAIT_1,
  HELD,
  LAST_ACK,
  SYN_RECEIVED,
  SYN_SENT,
  type Tcb,
  TIME_WAIT,
} from "./tcb.ts";
import { armTimer, RETRANSMIT } from "./timers.ts";

/** SACK edges of the segment being built; used within one call only, and nothing in that call builds another segment. */
const edges = new Int32Array(8);
/** Windows up to this are not divided. */
const SMALL = 536;
/** A segment of this size is not silly, whatever the MSS. */
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
  // No cable, or a full one: as good as lost, so the timer brings it back.
  t.timerKind = RETRANSMIT;
  t.timerAt = now + t.rtt.rto;
  if (!segment(t, now, t.iss, flags, 0)) return false;
  // Karn: only what is sent once is timed.
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
  // Never more than half the largest window ever offered in one segment: of a window that is no larger than a segment,
  // a guest would acknowledge the only one late (RFC 9293 section 3.8.6.2.1, Fs).
  const half = Math.max(t.maxWnd > SMALL ? t.maxWnd >> 1 : t.maxWnd, 1);
  const most = Math.min(t.mss, half);
  const long = longest(t, half);
  for (;;) {
    // After a time-out SND.NXT goes through old data again: not through what the guest has reported to hold.
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

/** What has arrived, by a segment of its own. */
export function sendAck(t: Tcb, now: number): boolean {
  if (!segment(t, now, bareSeq(t), ACK, 0)) return false;
  t.ackPending = false;
  return true;
}

/** Builds and commits one segment with the options its kind carries. False when the cable is full. */
export function segment(t: Tcb, now: number, seq: number, flags: number, len: number): boolean {
  const syn = (flags & SYN) !== 0;
  let header = TCP_HEADER;
  let blocks = 0;
  // We offer everything when we dial; when we answer, only what was offered to us.
  const active = flags === SYN;
  if (syn) header += 4 + (active || t.scaling ? 4 : 0) + (active || t.sack ? 4 : 0);
  const stamps = t.timestamps || active;
  if (stamps) header += 12;
  if (!syn && t.sack && len === 0 && !t.assembler.empty) {
    blocks = t.assembler.blocks(edges, stamps ? 3 : 4);
    if (blocks > 0) header += 4 + 8 * blocks;
  }
  const at = t.path.reserve(header + len);
  if (at < 0) return false;
  const tx = t.path.tx;
  let o = at + TCP_HEADER;
  if (syn) {
    o = writeMss(tx, o, t.ourMss);
    if (active || t.sack) o = writeSackPermitted(tx, o);
    if (active || t.scaling) o = writeWindowScale(tx, o, t.ourScale);
  }
  if (stamps) o = writeTimestamps(tx, o, now | 0, t.tsRecent);
  if (blocks > 0) o = writeSack(tx, o, edges, blocks);
  const undone = t.path.offload === undefined || t.path.offload() === 0 ? COMPLETE : len > t.mss ? t.mss : SUM_UNDONE;
  let payload = 0;
  if (len > 0 && undone === COMPLETE) payload = t.sendBuffer.copyOut(seqDiff(seq, t.sndUna), len, tx, o);
  else if (len > 0) t.sendBuffer.copy(seqDiff(seq, t.sndUna), len, tx, o);
  const window = syn ? synWindow(t) : t.offerWindow();
  const ack = (flags & ACK) !== 0 ? t.rcvNxt : 0;
  tcpWrite(tx, at, t.path.farPort, t.path.guestPort, seq, ack, header, flags, window);
  const pseudo = t.path.pseudo(header + len);
  if (undone === COMPLETE) tcpSeal(tx, at, header, pseudo, payload);
  else tcpLeaveSum(tx, at, pseudo);
  t.path.commit(header + len, undone);
  t.lastAckSent = ack;
  return true;
}

/** A SYN's window is never scaled (RFC 7323 section 2.2). */
function synWindow(t: Tcb): number {
  const window = Math.min(0xffff, Math.max(0, t.user.room()));
  // When we dial, RCV.NXT is not known yet and 0 stands for it.
  const edge = seqAdd(t.rcvNxt, window);
  if (seqGt(edge, t.rcvAdv)) t.rcvAdv = edge;
  return window;
}

/**
 * The sequence number of a segment without data: the latest one sent, not SND.NXT, which a time-out takes back to what
 * the guest may have long had, and would ignore; within the window, or it would be ignored for that.
 */
export function bareSeq(t: Tcb): number {
  const edge = seqAdd(t.sndUna, t.sndWnd);
  return seqGt(t.sndMax, edge) ? edge : t.sndMax;
}

/** A bare segment outside the stream: RST, a challenge or duplicate ACK, a keepalive probe. False when a full cable has lost it. */
export function sendControl(t: Tcb, flags: number, seq: number, ack: number): boolean {
  const stamps = t.timestamps && (flags & RST) === 0;
  if ((flags & ACK) !== 0) t.lastAckSent = ack;
  const header = TCP_HEADER + (stamps ? 12 : 0);
  const at = t.path.reserve(header);
  if (at < 0) return false;
  const tx = t.path.tx;
  if (stamps) writeTimestamps(tx, at + TCP_HEADER, t.now | 0, t.tsRecent);
  const window = (flags & RST) !== 0 ? 0 : t.offerWindow();
  tcpWrite(tx, at, t.path.farPort, t.path.guestPort, seq, (flags & ACK) !== 0 ? ack : 0, header, flags, window);
  tcpSeal(tx, at, header, t.path.pseudo(header));
  t.path.commit(header);
  return true;
}
