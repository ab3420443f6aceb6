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
 * `input.ts` handles what arrives and `acknowledge.ts` its ACK, `output.ts` decides what to send, `recovery.ts` what to
 * send again, `timers.ts` when. This file holds the state and its beginning and end.
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
import { expired, RETRANSMIT, stopTimer } from "./timers.ts";

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
  /** False while the guest has no cable. Then nothing can be sent, but time goes on. */
  readonly reachable: boolean;
  readonly farPort: number;
  readonly guestPort: number;
  /** Room for a segment of `len` bytes, addressed already; its offset in `tx`, or -1 when the cable is full. */
  reserve(len: number): number;
  /**
   * What may be left undone in the next segment: 0 for nothing, 1 for its checksum; more means also that a segment may be
   * so many bytes long, headers from TCP's on, and is cut later. 0 when left out.
   */
  offload?(): number;
  /** The segment at the last reserve, of `len` bytes, stands there; what is `undone` is as in `core/link` (0 when left out). */
  commit(len: number, undone?: number): void;
  /** The sum of the pseudo-header for a segment of `len` bytes. */
  pseudo(len: number): number;
  /** The RST that ends the connection found no room. The guest may never ask again: it has to go all the same. */
  resetLost(seq: number, ack: number): void;
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
/** Silence after which a guest is probed, the pause between probes, and how many go unanswered. */
const KEEPALIVE_IDLE = 2 * 3_600_000;
const KEEPALIVE_PAUSE = 75_000;
const KEEPALIVE_PROBES = 9;
/** A segment costs its headers and its handling whatever it carries (CVE-2019-11479). */
const MIN_MSS = 64;
/** RFC 9293 section 3.7.1: without an MSS option, 536. */
const DEFAULT_MSS = 536;
/** RFC 6298 section 5.7: the time-out after a SYN had to be sent again; RFC 5681 section 3.1 has it start with one segment. */
const RTO_AFTER_SYN = 3_000;
/** Half of the least receive buffer there is: a step of the window that is worth telling (RFC 9293 section 3.8.6.2.2). */
const LARGE_STEP = 32_768;
/** By so much may rounding up the window field exceed the room. */
const ROUNDING = 4_096;

export class Tcb {
  readonly path: TcpPath;
  readonly user: TcpUser;
  readonly sendBuffer: SendBuffer;
  readonly rtt: RttEstimator = new RttEstimator();
  readonly congestion: Congestion = new Congestion();
  readonly scoreboard: Scoreboard = new Scoreboard();
  readonly assembler: Assembler;

  state: number = CLOSED;
  iss = 0;
  sndUna = 0;
  sndNxt = 0;
  sndMax = 0;
  sndWnd = 0;
  /** The user's own limit of what may be under way, bytes. */
  flightLimit: number = Number.POSITIVE_INFINITY;
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
  /** The shift of the windows we offer: what we would like, and what has been agreed. */
  ourScale = 0;
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
  // Recovery: see recovery.ts.
  dupAcks = 0;
  recovering = false;
  /** SND.MAX when recovery began (RFC 6675 "RecoveryPoint"). */
  recover = 0;
  /** Next hole to repair, and SND.MAX when the latest repair left. */
  rexmitNext = 0;
  rexmitMark = 0;
  /** A probe is under way; what an ACK must cover to answer it, and whether it sent something again. */
  probing = false;
  probeEnd = 0;
  probeAgain = false;
  /** A time-out may have been a mistake; the timestamp of what it sent. */
  timedOut = false;
  timedOutStamp = 0;
  /** Expiries in a row without an answer. */
  retries = 0;
  /** When timestamps are off: the sequence number whose acknowledgement is timed, and since when; -1 when none. */
  timedSeq = 0;
  timedAt = -1;

  /** When the sending side's timer runs out, Infinity when off; what it means stands in timers.ts. */
  timerAt: number = Number.POSITIVE_INFINITY;
  timerKind: number = RETRANSMIT;
  persistBackoff = 0;
  /** TIME-WAIT's end, or the next keepalive probe. */
  lifeAt: number = Number.POSITIVE_INFINITY;
  probes = 0;
  /** The time of the call being served: what segments are stamped with. */
  now = 0;
  /** Challenge ACKs since a time: see challenge.ts. */
  challengeAt = -1e9;
  challenges = 0;
  retransmissions = 0;
  /** Segments from the past since the last one of the present, and since when: see set-back.ts. */
  fromPast = 0;
  pastSince = 0;

  constructor(path: TcpPath, user: TcpUser, pool: ChunkPool) {
    this.path = path;
    this.user = user;
    this.sendBuffer = new SendBuffer(pool);
    this.assembler = new Assembler(pool.outOfOrder);
  }

  /** The earliest time `poll` has something to do. */
  deadline(): number {
    return Math.min(this.timerAt, this.lifeAt);
  }

  /** Passive: takes a guest's SYN and holds it. `ourMss` is what the link carries. */
  offer(seq: number, window: number, o: TcpOptions, iss: number, ourMss: number, ourScale: number): void {
    this.state = HELD;
    this.#start(iss, ourMss, ourScale);
    this.syn(seq, window, o);
  }

  /** A SYN, or in HELD another one in its place. */
  syn(seq: number, window: number, o: TcpOptions): void {
    this.irs = seq;
    this.rcvNxt = seqAdd(seq, 1);
    this.rcvAdv = this.rcvNxt;
    this.sndWnd = window;
    this.maxWnd = window;
    this.sndWl1 = seq;
    this.sndWl2 = this.iss;
    this.agree(o);
  }

  /** Passive: the host has connected. */
  accept(now: number): void {
    if (this.state !== HELD) return;
    this.state = SYN_RECEIVED;
    output(this, now);
  }

  /** Active: dials the guest. */
  connect(iss: number, ourMss: number, ourScale: number, now: number): void {
    this.state = SYN_SENT;
    this.#start(iss, ourMss, ourScale);
    output(this, now);
  }

  #start(iss: number, ourMss: number, ourScale: number): void {
    this.iss = iss;
    this.sndUna = iss;
    this.sndNxt = iss;
    this.sndMax = iss;
    this.recover = iss;
    this.ourMss = ourMss;
    this.ourScale = ourScale;
  }

  /** Takes over what the guest's SYN or SYN-ACK offered. */
  agree(o: TcpOptions): void {
    const offered = o.mss === 0 ? DEFAULT_MSS : Math.max(o.mss, MIN_MSS);
    this.scaling = o.windowScale >= 0;
    this.sndScale = this.scaling ? o.windowScale : 0;
    this.rcvScale = this.scaling ? this.ourScale : 0;
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
    if (this.state !== CLOSED && this.state !== TIME_WAIT && this.state !== SYN_SENT) {
      const seq = this.state === HELD ? 0 : bareSeq(this);
      if (!sendControl(this, RST | ACK, seq, this.rcvNxt)) this.path.resetLost(seq, this.rcvNxt);
    }
    this.drop();
  }

  /** Forgets everything without a word on the wire. */
  drop(): void {
    this.state = CLOSED;
    stopTimer(this);
    this.lifeAt = Number.POSITIVE_INFINITY;
    this.ackPending = false;
    this.sendBuffer.clear();
    this.assembler.clear();
    this.scoreboard.clear();
  }

  enterEstablished(now: number): void {
    this.state = ESTABLISHED;
    if (this.retries > 0) {
      this.congestion.cwnd = this.mss;
      if (this.rtt.srtt < 0) this.rtt.rto = RTO_AFTER_SYN;
    }
    this.retries = 0;
    this.heard(now);
    this.user.onEstablished();
  }

  enterTimeWait(now: number): void {
    this.state = TIME_WAIT;
    stopTimer(this);
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

  /**
   * The window field and the edge it stands for. Nothing is taken back, and small steps are not shown (RFC 9293 section
   * 3.8.6.2.2).
   */
  offerWindow(): number {
    const room = this.user.room();
    const offered = this.#offered();
    const unit = 1 << this.rcvScale;
    let units = Math.floor(room / unit);
    if (room - offered < this.windowStep()) {
      // The field rounds down, the edge must not: it is rounded up. A guest that lives on roundings, sending less than
      // a unit at a time to a host that reads nothing, gets its edge back by less than a unit (RFC 7323 section 2.4).
      units = room > -ROUNDING ? Math.ceil(offered / unit) : Math.floor(offered / unit);
    }
    // Never below zero: the field has no sign, and the guest would read the widest window there is.
    const field = Math.max(0, Math.min(0xffff, units));
    const edge = seqAdd(this.rcvNxt, field * unit);
    if (room <= -ROUNDING || seqDiff(edge, this.rcvAdv) > 0) this.rcvAdv = edge;
    return field;
  }

  /**
   * Bytes that the guest may still send within what it was offered. A FIN needs no window, and what waited behind a hole
   * may lie beyond an edge that was taken back since: both put RCV.NXT beyond the edge.
   */
  #offered(): number {
    return Math.max(0, seqDiff(this.rcvAdv, this.rcvNxt));
  }

  /** A gain of the window that is worth telling. */
  windowStep(): number {
    return Math.min(this.ourMss, LARGE_STEP);
  }

  /** The host's socket has drained: tell the guest if it may be waiting (section 3.8.6.2.2). */
  windowOpened(now: number): void {
    if (this.state < ESTABLISHED || this.state >= CLOSE_WAIT || this.finReceived) return;
    const offered = this.#offered();
    const gain = this.user.room() - offered;
    if (gain >= this.windowStep() && (gain >= offered || gain >= 2 * this.ourMss)) {
      this.ackPending = true;
      output(this, now);
    }
  }

  /** All it has to say is what has arrived: that may go with what it says next. */
  owesOnlyAck(): boolean {
    return this.ackPending && this.state >= ESTABLISHED && this.sendBuffer.length === 0;
  }

  poll(now: number): void {
    this.now = now;
    if (this.lifeAt <= now) {
      if (this.state === TIME_WAIT) {
        this.finish();
        return;
      }
      this.lifeAt = now + KEEPALIVE_PAUSE;
      if (this.sndMax === this.sndUna) this.keepAlive();
      if (this.state === CLOSED) return;
    }
    if (this.timerAt <= now) expired(this, now);
  }

  /** RFC 9293 section 3.8.4: when nothing is under way, a segment just before the window draws an ACK. */
  private keepAlive(): void {
    if (this.probes >= KEEPALIVE_PROBES) {
      this.giveUp();
      return;
    }
    this.probes++;
    sendControl(this, ACK, seqAdd(this.sndUna, -1), this.rcvNxt);
  }

  /** The guest does not answer: RST, and the host's side is told. */
  giveUp(): void {
    this.abort();
    this.user.onAborted("timeout");
  }

  /** Whether our FIN has been acknowledged. */
  finAcked(): boolean {
    return this.finSent && seqDiff(this.sndUna, seqAdd(this.finSeq, 1)) >= 0;
  }
}
