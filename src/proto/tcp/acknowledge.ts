/** Handles a segment's ACK field, window and SACK blocks (RFC 9293 section 3.10.7.4, fifth check). */
import type { DropReason } from "../../core/trace.ts";
import { seqAdd, seqDiff, seqGt, seqLe, seqLt, seqMax } from "../../wire/seq.ts";
import { RST, SYN, tcpAck, tcpFlags, tcpWindow } from "../../wire/tcp.ts";
import type { TcpOptions } from "../../wire/tcp-options.ts";
import { challenge } from "./challenge.ts";
import { output } from "./output.ts";
import { duplicateAck, probeAnswered, recoveryAdvanced, undoTimeout } from "./recovery.ts";
import { sendControl } from "./segment.ts";
import { setBack } from "./set-back.ts";
import type { Tcb } from "./tcb.ts";
import { restartTimer, stopTimer } from "./timers.ts";
import { CLOSED, CLOSING, FIN_WAIT_1, FIN_WAIT_2, LAST_ACK, PERSIST, SYN_RECEIVED } from "./types.ts";

/** A round trip longer than this, in milliseconds, is an echo of something else. */
const MAX_RTT = 600_000;

/**
 * `seq` and `size` are the segment's own, FIN counted. `inWindow` is false for old segments: their acknowledgement
 * still counts, and their window only together with it. Returns why the segment is dropped, or null.
 */
export function acknowledge(
  t: Tcb,
  buf: Uint8Array,
  at: number,
  options: TcpOptions,
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
    synAcknowledged(t, windowOf(t, buf, at), seq, ack, now);
  }
  if (seqGt(ack, t.sndMax)) {
    challenge(t);
    return "tcp-window";
  }
  if (seqLt(ack, t.sndUna)) {
    if (setBack(t, now)) return "tcp-set-back";
    // RFC 5961 section 5.2: older than any window that ever was, so the segment is not from this connection.
    if (seqDiff(t.sndUna, ack) > t.maxWnd) {
      challenge(t);
      return "tcp-window";
    }
    return null;
  }
  t.fromPast = 0;
  const wasWindow = t.sndWnd;
  const newWindow = windowOf(t, buf, at);
  // A segment that acknowledges more than any before is newer, whatever its sequence number, and SND.WND counts from
  // there. With the earlier window, which counted from less, we would send beyond what the guest has ever allowed.
  if (ack !== t.sndUna || (inWindow && (seqLt(t.sndWl1, seq) || (t.sndWl1 === seq && seqLe(t.sndWl2, ack))))) {
    t.sndWnd = newWindow;
    t.sndWl1 = seqMax(t.sndWl1, seq);
    t.sndWl2 = ack;
    if (newWindow > t.maxWnd) t.maxWnd = newWindow;
  }
  let news = false;
  for (let k = 0; t.sack && k < options.sackCount; k++) {
    if (t.scoreboard.add(options.sack[2 * k]!, options.sack[2 * k + 1]!, t.sndUna, t.sndMax)) news = true;
  }
  if (t.probing) probeAnswered(t, options, ack, size);
  if (ack !== t.sndUna) {
    advance(t, options, ack, now);
    return null;
  }
  if (t.sndWnd === 0) t.retries = 0;
  else if (t.timerKind === PERSIST && wasWindow < t.sndWnd) windowReopened(t);
  // With SACK only a new report makes a duplicate (RFC 6675 section 2); other ACKs answer duplicated segments. While
  // the window is shut an equal ACK answers a probe, and only probes may be sent.
  if (t.sndMax !== t.sndUna && t.sndWnd > 0 && (t.sack ? news : size === 0 && newWindow === wasWindow)) {
    duplicateAck(t);
    output(t, now);
  }
  return null;
}

/**
 * The window that a segment offers. A SYN's is never scaled, not even a simultaneous open's SYN-ACK (RFC 7323 section
 * 2.2).
 */
function windowOf(t: Tcb, buf: Uint8Array, at: number): number {
  return tcpWindow(buf, at) << ((tcpFlags(buf, at) & SYN) === 0 ? t.sndScale : 0);
}

function synAcknowledged(t: Tcb, window: number, seq: number, ack: number, now: number): void {
  t.sndWnd = window;
  t.maxWnd = Math.max(t.maxWnd, window);
  t.sndWl1 = seq;
  t.sndWl2 = ack;
  if (t.timedAt >= 0) t.rtt.sample(now - t.timedAt);
  t.timedAt = -1;
  t.sndUna = seqAdd(t.iss, 1);
  if (seqLt(t.sndNxt, t.sndUna)) t.sndNxt = t.sndUna;
  stopTimer(t);
  t.enterEstablished(now);
}

/**
 * The window that was shut is open again. The guest may have dropped the byte that probed it: start over at SND.UNA.
 */
function windowReopened(t: Tcb): void {
  t.retries = 0;
  t.persistBackoff = 0;
  stopTimer(t);
  t.sndNxt = t.sndUna;
}

function advance(t: Tcb, options: TcpOptions, ack: number, now: number): void {
  const acked = seqDiff(ack, t.sndUna);
  measure(t, options, ack, now);
  if (t.timedOut) undoTimeout(t, options);
  t.retries = 0;
  t.persistBackoff = 0;
  t.sndUna = ack;
  if (seqLt(t.sndNxt, ack)) t.sndNxt = ack;
  t.scoreboard.advance(ack);
  if (t.recovering) recoveryAdvanced(t, ack, acked);
  else {
    t.dupAcks = 0;
    // Kept from falling 2^31 behind, where comparisons would be reversed.
    if (seqGt(ack, t.recover)) t.recover = ack;
  }
  const finCounted = t.finAcked() ? 1 : 0;
  const bytes = Math.min(acked - finCounted, t.sendBuffer.length);
  if (bytes > 0) {
    t.sendBuffer.consume(bytes);
    if (!t.recovering) t.congestion.onAck(bytes);
  }
  restartTimer(t, now);
  if (finCounted === 1) ourFinAcked(t, now);
  if (bytes > 0 && t.state !== CLOSED) t.user.onAcked();
}

/**
 * Measures by timestamps, if there are any (RFC 7323 section 4); otherwise by one segment at a time that was sent once
 * (Karn).
 */
function measure(t: Tcb, options: TcpOptions, ack: number, now: number): void {
  const timed = t.timedAt >= 0 && seqGt(ack, t.timedSeq);
  if (t.timestamps && options.timestamps && options.tsEcho !== 0) {
    const rtt = seqDiff(now | 0, options.tsEcho);
    if (rtt >= 0 && rtt < MAX_RTT) t.rtt.sample(rtt);
  } else if (timed) t.rtt.sample(now - t.timedAt);
  if (timed) t.timedAt = -1;
}

function ourFinAcked(t: Tcb, now: number): void {
  if (t.state === FIN_WAIT_1) t.state = FIN_WAIT_2;
  else if (t.state === CLOSING) t.enterTimeWait(now);
  else if (t.state === LAST_ACK) t.finish();
}
