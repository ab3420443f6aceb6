/** A segment arrives (RFC 9293 section 3.10.7), step by step in the RFC's order, with RFC 5961's stricter checks. */
import type { Slab } from "../../core/link.ts";
import type { DropReason } from "../../core/trace.ts";
import { seqAdd, seqDiff, seqGe, seqGt, seqLe, seqLt } from "../../wire/seq.ts";
import { ACK, FIN, RST, SYN, tcpAck, tcpFlags, tcpHeaderLength, tcpSeq, tcpWindow } from "../../wire/tcp.ts";
import { tcpOptions, tcpReadOptions } from "../../wire/tcp-options.ts";
import { bareSeq, output, sendControl } from "./output.ts";
import {
  CLOSE_WAIT,
  CLOSED,
  CLOSING,
  ESTABLISHED,
  FIN_WAIT_1,
  FIN_WAIT_2,
  HELD,
  LAST_ACK,
  SYN_RECEIVED,
  SYN_SENT,
  type Tcb,
} from "./tcb.ts";

/** The options of the segment being handled: written and read within one `input` call. */
const options = tcpOptions();

/** Least time between two challenge ACKs of one connection. */
const CHALLENGE_MS = 500;

/** The memory of bytes that came out of the assembler: their own, so there is nothing to pin. */
class OwnedSlab implements Slab {
  bytes: Uint8Array = new Uint8Array(0);
  readonly scarce = false;
  pin(): void {}
  unpin(): void {}
}

/**
 * Handles a checked segment at `at`, `len` bytes with its header. The ACK that it calls for is left pending: `output`
 * sends one per batch, except where the peer has to learn at once. Returns why it was dropped, or null.
 */
export function input(t: Tcb, slab: Slab, at: number, len: number, now: number): DropReason | null {
  const buf = slab.bytes;
  const flags = tcpFlags(buf, at);
  t.now = now;
  switch (t.state) {
    case CLOSED:
      return "tcp-no-flow";
    case HELD:
      return held(t, flags, tcpSeq(buf, at));
    case SYN_SENT:
      return synSent(t, buf, at, flags, now);
    default:
      return synchronized(t, slab, at, len, flags, now);
  }
}

/** Nothing has been sent yet: a repeated SYN waits like the first, a RST ends the wait. */
function held(t: Tcb, flags: number, seq: number): DropReason | null {
  if ((flags & RST) !== 0 && (seq === t.rcvNxt || seq === t.irs)) {
    t.drop();
    t.user.onAborted("reset");
    return null;
  }
  return "tcp-window";
}

/** Section 3.10.7.3. */
function synSent(t: Tcb, buf: Uint8Array, at: number, flags: number, now: number): DropReason | null {
  const ack = tcpAck(buf, at);
  const acceptable = (flags & ACK) !== 0 && seqGt(ack, t.iss) && seqLe(ack, t.sndMax);
  if ((flags & ACK) !== 0 && !acceptable) {
    if ((flags & RST) === 0) sendControl(t, RST, ack, 0);
    return "tcp-window";
  }
  if ((flags & RST) !== 0) {
    if (!acceptable) return "tcp-window";
    t.drop();
    t.user.onAborted("reset");
    return null;
  }
  if ((flags & SYN) === 0) return "tcp-window";
  tcpReadOptions(buf, at, options);
  t.irs = tcpSeq(buf, at);
  t.rcvNxt = seqAdd(t.irs, 1);
  t.rcvAdv = t.rcvNxt;
  t.agree(options);
  t.sndWnd = tcpWindow(buf, at);
  t.maxWnd = t.sndWnd;
  t.sndWl1 = t.irs;
  t.sndWl2 = ack;
  t.ackPending = true;
  if (!acceptable) {
    // Simultaneous open: our SYN goes again, with an ACK.
    t.state = SYN_RECEIVED;
    t.sndNxt = t.iss;
    output(t, now);
    return null;
  }
  if (t.retries === 0) t.rtt.sample(now - t.timedAt);
  t.timedAt = -1;
  t.sndUna = ack;
  t.rexmitAt = Number.POSITIVE_INFINITY;
  t.enterEstablished(now);
  return null;
}

function synchronized(t: Tcb, slab: Slab, at: number, len: number, flags: number, now: number): DropReason | null {
  const buf = slab.bytes;
  let seq = tcpSeq(buf, at);
  const header = tcpHeaderLength(buf, at);
  let data = at + header;
  let size = len - header;
  tcpReadOptions(buf, at, options);

  // PAWS (RFC 7323 section 5.3): an old timestamp is an old segment. RSTs are judged by their sequence number alone.
  if (t.timestamps && options.timestamps && (flags & (RST | SYN)) === 0 && seqLt(options.tsValue, t.tsRecent)) {
    t.ackPending = true;
    return "tcp-paws";
  }

  // First: the sequence number (section 3.10.7.4).
  const offset = seqDiff(seq, t.rcvNxt);
  const window = seqDiff(t.rcvAdv, t.rcvNxt);
  if ((flags & RST) !== 0) return reset(t, offset, window);
  if ((flags & SYN) !== 0) return synInWindow(t, seq, now);
  const end = offset + size + (flags & FIN);
  if (
    end < 0 ||
    (end === 0 && offset < 0) ||
    offset > window ||
    (offset >= window && size > 0 && window > 0) ||
    (window === 0 && offset > 0)
  ) {
    // Old, or beyond the window: an ACK tells the guest where we are. A keepalive probe ends here too.
    t.ackPending = true;
    if (end <= 0 && (flags & ACK) !== 0) t.heard(now);
    if (offset > 0) return "tcp-window";
    if (offset < 0 && end <= 0) return acknowledge(t, buf, at, seq, size, now, false);
    return "tcp-window";
  }
  if ((flags & ACK) === 0) return "tcp-malformed";

  // RFC 7323 section 4.3: the timestamp to echo is the one of the segment that the last ACK asked for.
  if (options.timestamps && seqLe(seq, t.lastAckSent) && seqGe(options.tsValue, t.tsRecent))
    t.tsRecent = options.tsValue;
  t.heard(now);

  const dropped = acknowledge(t, buf, at, seq, size + (flags & FIN), now, true);
  if (dropped !== null) return dropped;
  // `acknowledge` may have ended the connection through the user or LAST-ACK.
  if ((t.state as number) === CLOSED) return null;
  if (size === 0 && (flags & FIN) === 0) return null;
  if (t.finReceived) {
    // Anything after FIN is not data (section 3.10.7.4, seventh).
    t.ackPending = true;
    return null;
  }

  // Seventh: the data. What was received before is cut off in front, what the window does not allow behind.
  let fin = (flags & FIN) !== 0;
  if (offset < 0) {
    seq = t.rcvNxt;
    data -= offset;
    size += offset;
  }
  const room = seqDiff(t.rcvAdv, seq);
  if (size > room) {
    size = room;
    fin = false;
  }
  t.ackPending = true;
  if (seq !== t.rcvNxt) {
    // Out of order: a duplicate ACK at once (RFC 5681 section 4.2), with the hole in its SACK option.
    if (size > 0) t.assembler.insert(seq, buf, data, size);
    if (fin) {
      t.finReceived = false;
      t.peerFin = seqAdd(seq, size);
      t.peerFinKnown = true;
    }
    sendDuplicateAck(t, now);
    return null;
  }
  if (size > 0) {
    t.rcvNxt = seqAdd(t.rcvNxt, size);
    t.user.deliver(slab, data, size);
  }
  if (!t.assembler.empty) {
    drainAssembler(t);
    // The hole is filled: say so at once.
    sendDuplicateAck(t, now);
  }
  if (fin || (t.peerFinKnown && t.peerFin === t.rcvNxt)) finArrived(t, now);
  return null;
}

function sendDuplicateAck(t: Tcb, now: number): void {
  t.ackPending = true;
  output(t, now);
}

function drainAssembler(t: Tcb): void {
  for (let bytes = t.assembler.take(t.rcvNxt); bytes !== null; bytes = t.assembler.take(t.rcvNxt)) {
    const slab = new OwnedSlab();
    slab.bytes = bytes;
    t.rcvNxt = seqAdd(t.rcvNxt, bytes.length);
    t.user.deliver(slab, 0, bytes.length);
  }
}

/** RFC 5961 section 3.2: only the exact sequence number resets; one within the window is challenged. */
function reset(t: Tcb, offset: number, window: number): DropReason | null {
  if (offset === 0) {
    t.drop();
    t.user.onAborted("reset");
    return null;
  }
  if (offset > 0 && offset < window) challenge(t);
  return "tcp-window";
}

/** RFC 5961 section 4.2. A SYN that repeats the first one lost our SYN-ACK. */
function synInWindow(t: Tcb, seq: number, now: number): DropReason | null {
  if (t.state === SYN_RECEIVED && seq === t.irs) {
    t.sndNxt = t.iss;
    output(t, now);
    return null;
  }
  challenge(t);
  return "tcp-window";
}

function challenge(t: Tcb): void {
  if (t.now - t.challengeAt < CHALLENGE_MS) return;
  t.challengeAt = t.now;
  sendControl(t, ACK, bareSeq(t), t.rcvNxt);
}

/** Fifth: the ACK field. `inWindow` is false for old segments, whose ACK still counts but whose window does not. */
function acknowledge(
  t: Tcb,
  buf: Uint8Array,
  at: number,
  seq: number,
  size: number,
  now: number,
  inWindow: boolean,
): DropReason | null {
  const ack = tcpAck(buf, at);
  if (t.state === SYN_RECEIVED) {
    if (!seqGt(ack, t.sndUna) || !seqLe(ack, t.sndMax)) {
      sendControl(t, RST, ack, 0);
      return "tcp-window";
    }
    t.sndWnd = tcpWindow(buf, at) << t.sndScale;
    t.sndWl1 = seq;
    t.sndWl2 = ack;
    if (t.retries === 0 && t.timedAt >= 0) t.rtt.sample(now - t.timedAt);
    t.timedAt = -1;
    t.sndUna = seqAdd(t.iss, 1);
    if (seqLt(t.sndNxt, t.sndUna)) t.sndNxt = t.sndUna;
    t.rexmitAt = Number.POSITIVE_INFINITY;
    t.enterEstablished(now);
    if (t.finQueued) output(t, now);
  }
  if (seqGt(ack, t.sndMax)) {
    // RFC 5961 section 5.2, like an ACK that is too old.
    challenge(t);
    return "tcp-window";
  }
  if (seqLt(ack, t.sndUna)) {
    if (seqDiff(t.sndUna, ack) > Math.max(t.maxWnd, 65_535)) {
      challenge(t);
      return "tcp-window";
    }
    return null;
  }
  const wasWindow = t.sndWnd;
  const newWindow = tcpWindow(buf, at) << t.sndScale;
  if (inWindow && (seqLt(t.sndWl1, seq) || (t.sndWl1 === seq && seqLe(t.sndWl2, ack)))) {
    t.sndWnd = newWindow;
    t.sndWl1 = seq;
    t.sndWl2 = ack;
    if (newWindow > t.maxWnd) t.maxWnd = newWindow;
  }
  let news = false;
  for (let k = 0; t.sack && k < options.sackCount; k++) {
    if (t.scoreboard.add(options.sack[2 * k]!, options.sack[2 * k + 1]!, t.sndUna, t.sndMax)) news = true;
  }
  if (ack === t.sndUna) {
    if (t.persisting && t.sndWnd > 0) windowReopened(t);
    else if (t.sndMax !== t.sndUna && size === 0 && (t.sack ? news : newWindow === wasWindow)) duplicate(t, now);
    if (t.sndWnd === 0) t.retries = 0;
    if (t.sendBuffer.length > 0 || t.recovering) t.touched = true;
    return null;
  }
  advance(t, ack, now);
  return null;
}

/** The zero-window probe's byte may have been thrown away: start over at SND.UNA. */
function windowReopened(t: Tcb): void {
  t.persisting = false;
  t.retries = 0;
  t.rexmitAt = Number.POSITIVE_INFINITY;
  t.sndNxt = t.sndUna;
}

/**
 * RFC 5681 section 3.2, RFC 6675 section 5: the third duplicate, or as much reported, means loss. With SACK only an ACK
 * that reports something new is a duplicate (RFC 6675 section 2): others answer segments that the wire doubled.
 */
function duplicate(t: Tcb, now: number): void {
  t.dupAcks++;
  if (!t.recovering && (t.dupAcks >= 3 || t.scoreboard.sacked > 2 * t.mss) && seqGe(t.sndUna, t.recover)) {
    t.recovering = true;
    t.recover = t.sndMax;
    t.rexmitNext = t.sndUna;
    t.congestion.onLoss(seqDiff(t.sndMax, t.sndUna));
  }
  output(t, now);
}

function advance(t: Tcb, ack: number, now: number): void {
  const acked = seqDiff(ack, t.sndUna);
  // RTT by timestamps when there are any (RFC 7323 section 4), else by one timed segment (Karn).
  if (t.timestamps && options.timestamps && options.tsEcho !== 0) {
    const rtt = seqDiff(now | 0, options.tsEcho);
    if (rtt >= 0 && rtt < 600_000) t.rtt.sample(rtt);
  } else if (t.timedAt >= 0 && seqGt(ack, t.timedSeq)) t.rtt.sample(now - t.timedAt);
  if (t.timedAt >= 0 && seqGt(ack, t.timedSeq)) t.timedAt = -1;
  t.retries = 0;
  t.sndUna = ack;
  if (seqLt(t.sndNxt, ack)) t.sndNxt = ack;
  t.scoreboard.advance(ack);
  t.dupAcks = 0;
  if (t.recovering && seqGe(ack, t.recover)) t.recovering = false;
  else if (t.recovering && !t.sack) t.rexmitNext = ack;
  const finCounted = t.finAcked() ? 1 : 0;
  const bytes = Math.min(acked - finCounted, t.sendBuffer.length);
  if (bytes > 0) {
    t.sendBuffer.consume(bytes);
    if (!t.recovering) t.congestion.onAck(bytes);
  }
  t.persisting = false;
  t.rexmitAt = seqGt(t.sndMax, ack) ? now + t.rtt.rto : Number.POSITIVE_INFINITY;
  t.touched = true;
  if (finCounted === 1) ourFinAcked(t, now);
  if (bytes > 0 && t.state !== CLOSED) t.user.onAcked();
}

function ourFinAcked(t: Tcb, now: number): void {
  if (t.state === FIN_WAIT_1) t.state = FIN_WAIT_2;
  else if (t.state === CLOSING) t.enterTimeWait(now);
  else if (t.state === LAST_ACK) t.finish();
}

/** Eighth: the FIN bit. */
function finArrived(t: Tcb, now: number): void {
  t.peerFinKnown = false;
  t.finReceived = true;
  t.rcvNxt = seqAdd(t.rcvNxt, 1);
  t.ackPending = true;
  if (t.state === ESTABLISHED) t.state = CLOSE_WAIT;
  else if (t.state === FIN_WAIT_1) t.state = CLOSING;
  else if (t.state === FIN_WAIT_2) {
    t.enterTimeWait(now);
  }
  t.user.onFin();
}
