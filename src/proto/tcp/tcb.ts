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
 * send again, `timers.ts` when, `expiry.ts` what then; `segment.ts` writes it. This file holds the state and what changes it
 * without a word on the wire; `endpoint.ts` is the block with the calls of its user.
 *
 *     SND.UNA ≤ SND.NXT ≤ SND.MAX      sent and unacknowledged, next to send, ever sent
 *     send buffer: byte 0 is the one after SND.UNA's (the SYN counts before it)
 *     RCV.NXT .. rcvAdv                 expected next, right edge ever offered: it never moves back (section 3.8.6.2.1)
 *
 * Sequence numbers are signed 32-bit integers, see `wire/seq.ts`. Times are milliseconds.
 */
import { seqAdd, seqDiff } from "../../wire/seq.ts";
import type { TcpOptions } from "../../wire/tcp-options.ts";
import { Assembler } from "./assembler.ts";
import { Congestion } from "./congestion.ts";
import { RttEstimator } from "./rtt.ts";
import { Scoreboard } from "./scoreboard.ts";
import { type ChunkPool, SendBuffer } from "./send-buffer.ts";
import { CLOSED, ESTABLISHED, RETRANSMIT, type TcpPath, type TcpUser, TIME_WAIT } from "./types.ts";

/** 2·MSL (RFC 9293 section 3.4.2) for a link where no segment can be older than its queues: not minutes. */
const TIME_WAIT_MS = 1_000;
/** Silence after which a guest is probed (RFC 1122 section 4.2.3.6). */
export const KEEPALIVE_IDLE: number = 2 * 3_600_000;
/**
 * The same while its bytes wait for a host that does not take them. A guest with more to send probes the window that is
 * shut at least so often, and gives up one day without a word: then nothing else would tell that the bytes are nobody's.
 */
const KEEPALIVE_HELD = 120_000;
/** A segment costs its headers and its handling whatever it carries (CVE-2019-11479). */
export const MIN_MSS = 64;
/** RFC 9293 section 3.7.1: without an MSS option, 536. */
const DEFAULT_MSS = 536;
/** RFC 6298 section 5.7: the time-out after a SYN had to be sent again; RFC 5681 section 3.1 has it start with one segment. */
const RTO_AFTER_SYN = 3_000;
/** Half of the least receive buffer there is: a step of the window that is worth telling (RFC 9293 section 3.8.6.2.2). */
const LARGE_STEP = 32_768;
/** By so much may rounding up the window field exceed the room. */
const ROUNDING = 4_096;

export abstract class Tcb {
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
  /** TIME-WAIT's end, or when the next keepalive probe may be due. */
  lifeAt: number = Number.POSITIVE_INFINITY;
  /** When the guest has last said something. */
  heardAt = 0;
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

  /** Forgets everything without a word on the wire. */
  drop(): void {
    this.state = CLOSED;
    this.timerAt = Number.POSITIVE_INFINITY;
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
    this.timerAt = Number.POSITIVE_INFINITY;
    this.lifeAt = now + TIME_WAIT_MS;
  }

  finish(): void {
    this.drop();
    this.user.onClosed();
  }

  /** The guest is alive: keepalive starts anew. */
  heard(now: number): void {
    this.probes = 0;
    this.heardAt = now;
    if (this.state !== TIME_WAIT) this.lifeAt = now + KEEPALIVE_HELD;
  }

  /**
   * The window field and the edge it stands for. Nothing is taken back, and small steps are not shown (RFC 9293 section
   * 3.8.6.2.2).
   */
  offerWindow(): number {
    const room = this.user.room();
    const offered = this.offered();
    const unit = 1 << this.rcvScale;
    let units = Math.floor(room / unit);
    if (room - offered < this.windowStep()) {
      // The field rounds down, the edge must not: it is rounded up. To a guest that lives on roundings, sending less than
      // a unit at a time to a host that reads nothing, it is shown by less than a unit too low (RFC 7323 section 2.4). What
      // has been offered is taken all the same: a segment that is under way may end there.
      units = room > -ROUNDING ? Math.ceil(offered / unit) : Math.floor(offered / unit);
    }
    // Never below zero: the field has no sign, and the guest would read the widest window there is.
    const field = Math.max(0, Math.min(0xffff, units));
    const edge = seqAdd(this.rcvNxt, field * unit);
    if (seqDiff(edge, this.rcvAdv) > 0) this.rcvAdv = edge;
    return field;
  }

  /**
   * Bytes that the guest may still send within what it was offered. A FIN needs no window, and what waited behind a hole
   * may lie beyond an edge that was taken back since: both put RCV.NXT beyond the edge.
   */
  offered(): number {
    return Math.max(0, seqDiff(this.rcvAdv, this.rcvNxt));
  }

  /** A gain of the window that is worth telling. */
  windowStep(): number {
    return Math.min(this.ourMss, LARGE_STEP);
  }

  /** All it has to say is what has arrived: that may go with what it says next. */
  owesOnlyAck(): boolean {
    return this.ackPending && this.state >= ESTABLISHED && this.sendBuffer.length === 0;
  }

  /** Whether our FIN has been acknowledged. */
  finAcked(): boolean {
    return this.finSent && seqDiff(this.sndUna, seqAdd(this.finSeq, 1)) >= 0;
  }

  /** RST to the guest, and forget. */
  abstract abort(): void;

  /** The guest does not answer: RST, and the user is told. */
  abstract giveUp(): void;
}
