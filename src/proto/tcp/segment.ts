/** Writes one segment to the guest: its options, window and checksum. Other files decide what is sent, and when. */
import { COMPLETE, SUM_UNDONE } from "../../core/link.ts";
import { seqAdd, seqDiff, seqGt } from "../../wire/seq.ts";
import { ACK, RST, SYN, TCP_HEADER, tcpLeaveSum, tcpSeal, tcpWrite } from "../../wire/tcp.ts";
import { writeMss, writeSack, writeSackPermitted, writeTimestamps, writeWindowScale } from "../../wire/tcp-options.ts";
import type { Tcb } from "./tcb.ts";

/** SACK edges of the segment being built; used within one call only, and nothing in that call builds another segment. */
const edges = new Int32Array(8);

/** Acknowledges the bytes that have arrived, by a segment of its own. */
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
  // When we dial, we offer all options; when we answer, only those that the guest offered.
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
  else if (len > 0) t.sendBuffer.gather(seqDiff(seq, t.sndUna), len, t.path, o);
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
  // When we dial, RCV.NXT is not known yet and is 0.
  const edge = seqAdd(t.rcvNxt, window);
  if (seqGt(edge, t.rcvAdv)) t.rcvAdv = edge;
  return window;
}

/**
 * The sequence number of a segment without data: the latest one sent, and not SND.NXT. A time-out takes SND.NXT back to
 * data that the guest may have had long ago, and the guest would ignore the segment. It has to be within the window,
 * too.
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
