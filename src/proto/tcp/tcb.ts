/**
 * The transmission control block (RFC 9293 section 3.3.1) and its life.
 *
 * Theory of operation
 *
 * This is a NAT's endpoint. Its peer is a guest on a cable whose round trip is microseconds; its user is a flow with a
 * host socket. Two roles: *passive*, for a guest that dials out (`offer` takes its SYN and says nothing; `accept` sends
 * the SYN-ACK once the host has connected), and *active*, for a forward (`connect`).
 *
 * The block never does I/O. It writes segments through `TcpPath` and tells its user what happened through `TcpUser`.
 * `input.ts` handles what arrives, `output.ts` decides what to send, this file holds the state and the timers.
 *
 *     SND.UNA ≤ SND.NXT ≤ SND.MAX      sent and unacknowledged, next to send, ever sent
 *     send buffer: byte 0 is the one after SND.UNA's (the SYN counts before it)
 *     RCV.NXT .. rcvAdv                 expected next, right edge ever offered: it never moves back (section 3.8.6.2.1)
 *
 * Sequence numbers are signed 32-bit integers, see `wire/seq.ts`. Times are milliseconds.
 */
import type { Slab } from "../../core/link.ts";
import { seqAdd, seqDiff } from "../../wire/seq.ts";
import { ACK, RST } from "../../wire/tcp.ts";
import type { TcpOptions } from "../../wire/tcp-options.ts";
import { Assembler } from "./assembler.ts";
import { Congestion } from "./congestion.ts";
import { bareSeq, output, sendControl } from "./output.ts";
import { RttEstimator } from "./rtt.ts";
import { Scoreboard } from "./scoreboard.ts";
import { type ChunkPool, SendBuffer } from "./send-buffer.ts";

export const CLOSED = 0;
/** A SYN is here, the host has not connected yet; nothing has been sent. */
export const HELD = 1;
export const SYN_SENT = 2;
export const SYN_RECEIVED = 3;
export const ESTABLISHED = 4;
export const FIN_WAIT_1 = 5;
export const FIN_WAIT_2 = 6;
export const CLOSE_WAIT = 7;
export const CLOSING = 8;
export const LAST_ACK = 9;
export const TIME_WAIT = 10;
export const STATE_NAMES: readonly string[] = [
  "CLOSED",
  "HELD",
  "SYN-SENT",
  "SYN-RECEIVED",
  "ESTABLISHED",
  "FIN-WAIT-1",
  "FIN-WAIT-2",
  "CLOSE-WAIT",
  "CLOSING",
  "LAST-ACK",
  "TIME-WAIT",
];

/** How segments get to the guest. */
export interface TcpPath {
  readonly tx: Uint8Array;
  readonly localPort: number;
  readonly remotePort: number;
  /** Room for a segment of `len` bytes, addressed already; its offset in `tx`, or -1 when the cable is full. */
  reserve(len: number): number;
  /** The segment at the last reserve, of `len` bytes, is complete. */
  commit(len: number): void;
  /** The sum of the pseudo-header for a segment of `len` bytes. */
  pseudo(len: number): number;
}

/** What the endpoint's user is told. None of these is called from inside a call of the user's own. */
export interface TcpUser {
  /** Payload in order, within the window that `room` allowed. */
  deliver(slab: Slab, at: number, len: number): void;
  /** The guest has sent FIN, after all its data. */
  onFin(): void;
  onEstablished(): void;
  /** Acknowledgements made room in the send buffer. */
  onAcked(): void;
  /** The connection is over in disorder: the guest reset it, or went silent. */
  onAborted(reason: "reset" | "timeout"): void;
  /** The block is CLOSED in order: forget it. */
  onClosed(): void;
  /** Bytes of window that may be offered beyond RCV.NXT. */
  room(): number;
}

/** 2·MSL (RFC 9293 section 3.4.2) for a link where no segment can be older than its queues: not minutes. */
const TIME_WAIT_MS = 1_000;
/** RFC 1122 section 4.2.3.5 R2: about this many back-offs before giving up, for SYNs and for data. */
const SYN_RETRIES = 6;
const DATA_RETRIES = 12;
/** Silence after which a guest is probed, the pause between probes, and how many go unanswered. */
const KEEPALIVE_IDLE = 2 * 3_600_000;
const KEEPALIVE_PAUSE = 75_000;
const KEEPALIVE_PROBES = 9;
const MIN_MSS = 64;
/** RFC 9293 section 3.7.1: without an MSS option, 536. */
const DEFAULT_MSS = 536;
const ASSEMBLER_LIMIT = 1_048_576;

export class Tcb {
  readonly path: TcpPath;
  readonly user: TcpUser;
  readonly sendBuffer: SendBuffer;
  readonly rtt: RttEstimator = new RttEstimator();
  readonly congestion: Congestion = new Congestion();
  readonly scoreboard: Scoreboard = new Scoreboard();
  readonly assembler: Assembler = new Assembler(ASSEMBLER_LIMIT);

  state: number = CLOSED;
  iss = 0;
  sndUna = 0;
  sndNxt = 0;
  sndMax = 0;
  sndWnd = 0;
  /** Segment that last updated the window (RFC 9293 section 3.10.7.4). */
  sndWl1 = 0;
  sndWl2 = 0;
  maxWnd = 0;
  irs = 0;
  rcvNxt = 0;
  rcvAdv = 0;
  mss: number = DEFAULT_MSS;
  /** The MSS we tell the guest. */
  ourMss = 0;
  sndScale = 0;
  rcvScale = 0;
  /** Options in force once both sides offered them. */
  scaling = false;
  sack = false;
  timestamps = false;
  tsRecent = 0;
  lastAckSent = 0;

  /** The user has called close(): FIN follows the send buffer. */
  finQueued = false;
  /** Our FIN has been sent at least once. */
  finSent = false;
  finReceived = false;
  finSeq = 0;

  /** A FIN that arrived before its turn, and where it stands. */
  peerFinKnown = false;
  peerFin = 0;

  ackPending = false;
  /** An ACK may have allowed more to be sent: `output` at the batch's end. */
  touched = false;
  dupAcks = 0;
  recovering = false;
  /** SND.MAX when recovery began (RFC 6675 "RecoveryPoint"). */
  recover = 0;
  /** Next hole to repair. */
  rexmitNext = 0;
  retries = 0;
  /** When timestamps are off: the sequence number whose acknowledgement is timed, and since when; -1 when none. */
  timedSeq = 0;
  timedAt = -1;

  /** Retransmission or persist timer; Infinity when off. */
  rexmitAt: number = Number.POSITIVE_INFINITY;
  persisting = false;
  lifeAt: number = Number.POSITIVE_INFINITY;
  probes = 0;
  /** The time of the call being served: what segments are stamped with. */
  now = 0;
  /** Time of the last challenge ACK of this connection (RFC 5961 section 7, limited per connection: CVE-2016-5696). */
  challengeAt = -1e9;
  retransmissions = 0;

  constructor(path: TcpPath, user: TcpUser, pool: ChunkPool) {
    this.path = path;
    this.user = user;
    this.sendBuffer = new SendBuffer(pool);
  }

  /** The earliest time `poll` has something to do. */
  deadline(): number {
    return Math.min(this.rexmitAt, this.lifeAt);
  }

  /** Passive: takes a guest's SYN and holds it. `ourMss` is what the link carries. */
  offer(seq: number, window: number, o: TcpOptions, iss: number, ourMss: number, rcvScale: number): void {
    this.state = HELD;
    this.#start(iss, ourMss, rcvScale);
    this.irs = seq;
    this.rcvNxt = seqAdd(seq, 1);
    this.rcvAdv = this.rcvNxt;
    this.sndWnd = window;
    this.maxWnd = window;
    this.sndWl1 = seq;
    this.sndWl2 = iss;
    this.agree(o);
  }

  /** Passive: the host has connected. */
  accept(now: number): void {
    if (this.state !== HELD) return;
    this.state = SYN_RECEIVED;
    output(this, now);
  }

  /** Active: dials the guest. */
  connect(iss: number, ourMss: number, rcvScale: number, now: number): void {
    this.state = SYN_SENT;
    this.#start(iss, ourMss, rcvScale);
    output(this, now);
  }

  #start(iss: number, ourMss: number, rcvScale: number): void {
    this.iss = iss;
    this.sndUna = iss;
    this.sndNxt = iss;
    this.sndMax = iss;
    this.recover = iss;
    this.ourMss = ourMss;
    this.rcvScale = rcvScale;
  }

  /** Takes over what the guest's SYN or SYN-ACK offered. */
  agree(o: TcpOptions): void {
    const offered = o.mss === 0 ? DEFAULT_MSS : Math.max(o.mss, MIN_MSS);
    this.scaling = o.windowScale >= 0;
    this.sndScale = this.scaling ? o.windowScale : 0;
    if (!this.scaling) this.rcvScale = 0;
    this.sack = o.sackPermitted;
    this.timestamps = o.timestamps;
    if (o.timestamps) this.tsRecent = o.tsValue;
    // The MSS counts no options (RFC 6691): what each segment carries of them comes off the payload.
    this.mss = Math.max(1, Math.min(offered, this.ourMss) - (o.timestamps ? 12 : 0));
    this.congestion.start(this.mss);
  }

  /** A segment was too big for the way (RFC 1191 section 6.4): what is not acknowledged goes again, in smaller ones. */
  shrinkMss(mss: number, now: number): void {
    const payload = Math.max(MIN_MSS, mss) - (this.timestamps ? 12 : 0);
    if (payload >= this.mss || this.state === CLOSED) return;
    this.mss = payload;
    this.congestion.shrink(payload);
    if (this.state === HELD || this.state === SYN_SENT || this.state === SYN_RECEIVED) return;
    this.sndNxt = this.sndUna;
    this.timedAt = -1;
    output(this, now);
  }

  /** Free room that the user may fill; it is asked to stop at zero, not forced. */
  send(bytes: Uint8Array, at: number, len: number, now: number): void {
    if (this.state === CLOSED || this.finQueued) return;
    this.sendBuffer.append(bytes, at, len);
    output(this, now);
  }

  /** No more data from the user: FIN after what is queued. */
  close(now: number): void {
    if (this.finQueued || this.state === CLOSED) return;
    this.finQueued = true;
    output(this, now);
  }

  /** RST to the guest, and forget. */
  abort(): void {
    if (this.state === HELD) sendControl(this, RST | ACK, 0, this.rcvNxt);
    else if (this.state !== CLOSED && this.state !== TIME_WAIT && this.state !== SYN_SENT)
      sendControl(this, RST | ACK, bareSeq(this), this.rcvNxt);
    this.drop();
  }

  /** Forgets everything without a word on the wire. */
  drop(): void {
    this.state = CLOSED;
    this.touched = false;
    this.rexmitAt = Number.POSITIVE_INFINITY;
    this.lifeAt = Number.POSITIVE_INFINITY;
    this.ackPending = false;
    this.sendBuffer.clear();
    this.assembler.clear();
    this.scoreboard.clear();
  }

  enterEstablished(now: number): void {
    this.state = ESTABLISHED;
    this.retries = 0;
    this.heard(now);
    this.user.onEstablished();
  }

  enterTimeWait(now: number): void {
    this.state = TIME_WAIT;
    this.rexmitAt = Number.POSITIVE_INFINITY;
    this.lifeAt = now + TIME_WAIT_MS;
  }

  finish(): void {
    this.drop();
    this.user.onClosed();
  }

  /** The guest is alive: keepalive starts anew. */
  heard(now: number): void {
    this.probes = 0;
    if (this.state !== TIME_WAIT) this.lifeAt = now + KEEPALIVE_IDLE;
  }

  /** The window field and the edge it stands for. Nothing is taken back; small steps are not shown (RFC 9293 section 3.8.6.2.2). */
  offerWindow(): number {
    const room = Math.max(0, this.user.room());
    const offered = seqDiff(this.rcvAdv, this.rcvNxt);
    const max = 0xffff * 2 ** this.rcvScale;
    let window = offered;
    if (room - offered >= Math.min(this.ourMss, room / 2 + 1)) window = Math.min(room, max);
    window = Math.max(window, offered);
    // The field rounds down; the edge must not: round up what has been offered before.
    const unit = 2 ** this.rcvScale;
    const field = Math.min(0xffff, window === offered ? Math.ceil(window / unit) : Math.floor(window / unit));
    const edge = seqAdd(this.rcvNxt, field * unit);
    if (seqDiff(edge, this.rcvAdv) > 0) this.rcvAdv = edge;
    return field;
  }

  /** The host's socket has drained: tell the guest if it saw a closed or much smaller window (section 3.8.6.2.2). */
  windowOpened(now: number): void {
    if (this.state < ESTABLISHED || this.state >= CLOSE_WAIT || this.finReceived) return;
    const gain = this.user.room() - seqDiff(this.rcvAdv, this.rcvNxt);
    if (gain >= 2 * this.ourMss || (gain > 0 && seqDiff(this.rcvAdv, this.rcvNxt) < this.ourMss)) {
      this.ackPending = true;
      output(this, now);
    }
  }

  poll(now: number): void {
    this.now = now;
    if (this.lifeAt <= now) {
      if (this.state === TIME_WAIT) {
        this.finish();
        return;
      }
      if (this.probes >= KEEPALIVE_PROBES) {
        this.giveUp();
        return;
      }
      // Keepalive (RFC 9293 section 3.8.4): a segment just before the window draws an ACK.
      this.probes++;
      this.lifeAt = now + KEEPALIVE_PAUSE;
      sendControl(this, ACK, seqAdd(this.sndUna, -1), this.rcvNxt);
    }
    if (this.rexmitAt <= now) this.#expired(now);
  }

  #expired(now: number): void {
    this.rexmitAt = Number.POSITIVE_INFINITY;
    if (this.persisting || (this.sndWnd === 0 && this.state >= ESTABLISHED)) {
      // Zero-window probe (section 3.8.6.1): for as long as the guest acknowledges, however long its reader sleeps.
      if (++this.retries > DATA_RETRIES) {
        this.giveUp();
        return;
      }
      this.persisting = true;
      this.rtt.backOff();
      this.sndNxt = this.sndUna;
      output(this, now, true);
      return;
    }
    const syn = this.state === SYN_SENT || this.state === SYN_RECEIVED;
    if (++this.retries > (syn ? SYN_RETRIES : DATA_RETRIES)) {
      this.giveUp();
      return;
    }
    // RFC 6298 section 5.5, RFC 5681 section 3.1: back off, one segment, and forget what SACK said (RFC 2018 section 8).
    this.rtt.backOff();
    this.timedAt = -1;
    this.congestion.onTimeout(seqDiff(this.sndMax, this.sndUna));
    this.recovering = false;
    this.dupAcks = 0;
    this.scoreboard.clear();
    this.recover = this.sndMax;
    this.sndNxt = this.sndUna;
    // A cable that is full has lost nothing: the try does not count, so a stopped machine keeps its connections.
    if (!output(this, now) && !syn) this.retries--;
  }

  giveUp(): void {
    this.abort();
    this.user.onAborted("timeout");
  }

  /** Whether our FIN has been acknowledged. */
  finAcked(): boolean {
    return this.finSent && seqDiff(this.sndUna, seqAdd(this.finSeq, 1)) >= 0;
  }
}
