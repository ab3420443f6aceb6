/**
 * Handles a segment that arrives (RFC 9293 section 3.10.7), in the order of the RFC's steps, with RFC 5961's stricter
 * checks.
 */
import type { Slab } from "../../core/link.ts";
import type { DropReason } from "../../core/trace.ts";
import { seqAdd, seqDiff, seqGe, seqGt, seqLe, seqLt } from "../../wire/seq.ts";
import { ACK, FIN, RST, SYN, tcpAck, tcpFlags, tcpHeaderLength, tcpSeq, tcpWindow } from "../../wire/tcp.ts";
import { tcpOptions, tcpReadOptions } from "../../wire/tcp-options.ts";
import { acknowledge } from "./acknowledge.ts";
import { challenge, mayChallenge } from "./challenge.ts";
import { output } from "./output.ts";
import { sendAck, sendControl } from "./segment.ts";
import { setBack } from "./set-back.ts";
import type { Tcb } from "./tcb.ts";
import { stopTimer } from "./timers.ts";
import {
  CLOSE_WAIT,
  CLOSED,
  CLOSING,
  ESTABLISHED,
  FIN_WAIT_1,
  FIN_WAIT_2,
  HELD,
  SYN_RECEIVED,
  SYN_SENT,
  TIME_WAIT,
} from "./types.ts";

/** This many old segments in a row do not come from a line that reorders. */
const MANY_OLD = 64;
/** The options of the segment being handled: written and read within one `input` call. */
const options = tcpOptions();

/** The memory of bytes from the assembler. They are copies, so there is nothing to pin. */
class OwnedSlab implements Slab {
  bytes: Uint8Array = new Uint8Array(0);
  readonly scarce = false;
  pin(): void {}
  unpin(): void {}
}

/**
 * Handles a checked segment of `len` bytes at `at`, its header included. The ACK that it needs is left pending:
 * `output` sends one for each batch, unless the peer has to learn something at once. Returns why the segment was
 * dropped, or null.
 */
export function input(t: Tcb, slab: Slab, at: number, len: number, now: number): DropReason | null {
  const buf = slab.bytes;
  const flags = tcpFlags(buf, at);
  t.now = now;
  switch (t.state) {
    case CLOSED:
      return "tcp-no-flow";
    case HELD:
      return held(t, buf, at, flags);
    case SYN_SENT:
      return synSent(t, buf, at, flags, now);
    default:
      return synchronized(t, slab, at, len, flags, now);
  }
}

/**
 * Nothing has been sent yet. A repeated SYN waits like the first; a SYN with another number replaces it, since the
 * guest has started anew; a RST ends the wait.
 */
function held(t: Tcb, buf: Uint8Array, at: number, flags: number): DropReason | null {
  const seq = tcpSeq(buf, at);
  if ((flags & RST) !== 0 && (seq === t.rcvNxt || seq === t.irs)) {
    t.drop();
    t.user.onAborted("reset");
    return null;
  }
  if ((flags & (SYN | ACK | RST | FIN)) !== SYN || seq === t.irs) return "tcp-window";
  tcpReadOptions(buf, at, options);
  t.syn(seq, tcpWindow(buf, at), options);
  return null;
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
  // The window that our SYN offered counts from the guest's own SYN: data may follow right behind its SYN-ACK.
  const offered = seqDiff(t.rcvAdv, t.rcvNxt);
  t.rcvNxt = seqAdd(t.irs, 1);
  t.rcvAdv = seqAdd(t.rcvNxt, offered);
  t.agree(options);
  t.sndWnd = tcpWindow(buf, at);
  t.maxWnd = t.sndWnd;
  t.sndWl1 = t.irs;
  t.sndWl2 = acceptable ? ack : t.iss;
  t.ackPending = true;
  if (!acceptable) {
    // Simultaneous open: our SYN is sent again, with an ACK.
    t.state = SYN_RECEIVED;
    t.sndNxt = t.iss;
    output(t, now);
    return null;
  }
  if (t.timedAt >= 0) t.rtt.sample(now - t.timedAt);
  t.timedAt = -1;
  t.sndUna = ack;
  stopTimer(t);
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

  // PAWS (RFC 7323 section 5.3): an old timestamp is an old segment. RSTs are judged by their sequence number alone. A
  // segment without a timestamp is believed, as it is by most stacks, although section 3.2 would rather drop it. That a
  // connection may idle for the 24 days after which timestamps turn round (section 5.5) cannot be: keepalive asks for
  // one every two hours.
  if (t.timestamps && options.timestamps && (flags & (RST | SYN)) === 0 && seqLt(options.tsValue, t.tsRecent)) {
    // Where nothing else comes any more, and nothing is in them, within the limit of challenges: two ends out of step
    // would never stop.
    if (size > 0 || t.fromPast < MANY_OLD || mayChallenge(t)) t.ackPending = true;
    return setBack(t, now) ? "tcp-set-back" : "tcp-paws";
  }

  // First: the sequence number (section 3.10.7.4).
  const offset = seqDiff(seq, t.rcvNxt);
  const window = seqDiff(t.rcvAdv, t.rcvNxt);
  if ((flags & RST) !== 0) return reset(t, offset, window);
  if ((flags & SYN) !== 0) return synInWindow(t, buf, at, flags, now);
  const end = offset + size + (flags & FIN);
  if (
    end < 0 ||
    (end === 0 && offset < 0) ||
    offset > window ||
    (offset >= window && size > 0 && window > 0) ||
    (window === 0 && offset > 0)
  ) {
    // Old, or beyond the window: an ACK tells the guest where we are. A keepalive probe ends here too. One without
    // anything in it is answered within the limit of challenges, or two ends out of step would never stop.
    if (end > offset || mayChallenge(t)) t.ackPending = true;
    if (end > 0 || (flags & ACK) === 0) return "tcp-window";
    t.heard(now);
    if (t.state === TIME_WAIT && (flags & FIN) !== 0) t.enterTimeWait(now);
    if (t.state === SYN_RECEIVED) return "tcp-window";
    return acknowledge(t, buf, at, options, seq, size, now, false);
  }
  if ((flags & ACK) === 0) return "tcp-malformed";

  // RFC 7323 section 4.3: the timestamp to echo is the one of the segment that the last ACK asked for.
  if (options.timestamps && seqLe(seq, t.lastAckSent) && seqGe(options.tsValue, t.tsRecent))
    t.tsRecent = options.tsValue;
  t.heard(now);

  const dropped = acknowledge(t, buf, at, options, seq, size + (flags & FIN), now, true);
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
  const room = Math.max(0, seqDiff(t.rcvAdv, seq));
  t.ackPending = true;
  if (size > room) {
    size = room;
    fin = false;
    if (room === 0) return "tcp-window";
  }
  if (seq !== t.rcvNxt) {
    // Out of order: a duplicate ACK at once (RFC 5681 section 4.2), with the hole in its SACK option.
    if (size > 0) t.assembler.insert(seq, buf, data, size);
    if (fin) {
      t.peerFin = seqAdd(seq, size);
      t.peerFinKnown = true;
    }
    sendAck(t, now);
    return null;
  }
  if (size > 0) {
    t.rcvNxt = seqAdd(t.rcvNxt, size);
    t.user.deliver(slab, data, size);
  }
  const filled = !t.assembler.empty;
  if (filled) drainAssembler(t);
  // Nobody may be left who could take it: then the user has ended the connection.
  if ((t.state as number) === CLOSED) return null;
  if (filled) {
    // The hole is filled: say so at once.
    sendAck(t, now);
  }
  if (fin || (t.peerFinKnown && t.peerFin === t.rcvNxt)) finArrived(t, now);
  return null;
}

function drainAssembler(t: Tcb): void {
  for (let bytes = t.assembler.take(t.rcvNxt); bytes !== null; bytes = t.assembler.take(t.rcvNxt)) {
    const slab = new OwnedSlab();
    slab.bytes = bytes;
    t.rcvNxt = seqAdd(t.rcvNxt, bytes.length);
    t.user.deliver(slab, 0, bytes.length);
  }
}

/**
 * RFC 5961 section 3.2: only the exact sequence number resets; one within the window is challenged. In TIME-WAIT it has
 * nothing left to do, and could only harm bytes that the host has yet to read (RFC 1337 section 3).
 */
function reset(t: Tcb, offset: number, window: number): DropReason | null {
  if (t.state === TIME_WAIT) return "tcp-window";
  if (offset === 0) {
    t.drop();
    t.user.onAborted("reset");
    return null;
  }
  if (offset > 0 && offset < window) challenge(t);
  return "tcp-window";
}

/**
 * RFC 5961 section 4.2. Who repeats the first SYN has lost our SYN-ACK; with an ACK it is the other half of a
 * simultaneous open (RFC 9293 section 3.5, figure 7).
 */
function synInWindow(t: Tcb, buf: Uint8Array, at: number, flags: number, now: number): DropReason | null {
  const seq = tcpSeq(buf, at);
  if (t.state !== SYN_RECEIVED || seq !== t.irs) {
    challenge(t);
    return "tcp-window";
  }
  if ((flags & ACK) !== 0) {
    t.ackPending = true;
    return acknowledge(t, buf, at, options, seq, 1, now, true);
  }
  t.sndNxt = t.iss;
  output(t, now);
  return null;
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
