/**
 * The transmission control block (RFC 9293 section 3.3.1) and its life.
 *
 * Theory of operation
 *
 * This is a NAT's endpoint. Its peer is a guest on a cable whose round trip is microseconds; its user is a flow with a
 * host socket. It has one of two roles: *passive*, for a guest that dials out (`offer` takes its SYN and sends nothing;
 * `accept` sends the SYN-ACK once the host has connected), or *active*, for a forward (`connect`).
 *
 * The block never does I/O. It writes segments through `TcpPath` and reports events to its user through `TcpUser`.
 * `input.ts` handles arriving segments and `acknowledge.ts` their ACKs; `output.ts` decides what to send, and
 * `recovery.ts` what to send again; `timers.ts` sets the timers, `expiry.ts` handles their end, and `segment.ts` writes
 * segments. This file holds the state, and the changes to it that send nothing; `endpoint.ts` adds the calls of the
 * user.
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
import type { GuestChunks } from "./chunk-pool.ts";
import { Congestion } from "./congestion.ts";
import { RttEstimator } from "./rtt.ts";
import { Scoreboard } from "./scoreboard.ts";
import { SendBuffer } from "./send-buffer.ts";
import { CLOSED, ESTABLISHED, RETRANSMIT, type TcpPath, type TcpUser, TIME_WAIT } from "./types.ts";

/**
 * 2·MSL in milliseconds (RFC 9293 section 3.4.2). On this link a segment can be no older than its queues, so a second
 * does instead of minutes.
 */
const TIME_WAIT_MS = 1_000;
/** Milliseconds of silence after which a guest is probed (RFC 1122 section 4.2.3.6). */
export const KEEPALIVE_IDLE: number = 2 * 3_600_000;
/**
 * The same, while bytes of the guest wait for a host that does not take them. A guest with more to send probes the
 * closed window at least this often, and after some time gives up without a word. Then only our probe finds out that
 * nobody needs the bytes any more.
 */
const KEEPALIVE_HELD = 120_000;
/** The least MSS that is accepted: even a tiny segment costs its headers and its handling (CVE-2019-11479). */
export const MIN_MSS = 64;
/** The MSS of a guest that sends no MSS option (RFC 9293 section 3.7.1). */
const DEFAULT_MSS = 536;
/**
 * The RTO in milliseconds after a SYN had to be sent again (RFC 6298 section 5.7). RFC 5681 section 3.1 then has the
 * connection start with one segment.
 */
const RTO_AFTER_SYN = 3_000;
/**
 * A step of the window, in bytes, that is always worth telling (RFC 9293 section 3.8.6.2.2): half of the smallest
 * receive buffer.
 */
const LARGE_STEP = 32_768;
/** Bytes by which rounding up the window field may exceed the room. */
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
  /** The user's own limit, in bytes, of data in flight. */
  flightLimit: number = Number.POSITIVE_INFINITY;
  /**
   * Sequence number and ACK of the segment that last updated the window: SND.WL1, SND.WL2 (RFC 9293 section 3.10.7.4).
   */
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
  /** The window shift that we want to use (`ourScale`), and the one agreed (`rcvScale`). */
  ourScale = 0;
  rcvScale = 0;
  /** Options that both sides have offered, and so are in force. */
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

  /** A FIN has arrived ahead of a gap; `peerFin` is its sequence number. */
  peerFinKnown = false;
  peerFin = 0;

  ackPending = false;
  // Recovery: see recovery.ts.
  dupAcks = 0;
  recovering = false;
  /** SND.MAX when recovery began (RFC 6675 "RecoveryPoint"). */
  recover = 0;
  /** The next hole to repair; then SND.MAX when the latest repair left. */
  rexmitNext = 0;
  rexmitMark = 0;
  /**
   * A probe is under way. `probeEnd` is the least ACK that answers it; `probeAgain` says whether it sent something
   * again.
   */
  probing = false;
  probeEnd = 0;
  probeAgain = false;
  /** The last time-out may have been a mistake. `timedOutStamp` is the timestamp of the segment that it sent. */
  timedOut = false;
  timedOutStamp = 0;
  /** How often in a row the timer ran out without an answer. */
  retries = 0;
  /**
   * Without timestamps: the sequence number whose acknowledgement is timed, and the time when it was sent; -1 when none
   * is.
   */
  timedSeq = 0;
  timedAt = -1;

  /**
   * When the sending side's timer runs out; Infinity when it is off. `timerKind` says what it is for: see timers.ts.
   */
  timerAt: number = Number.POSITIVE_INFINITY;
  timerKind: number = RETRANSMIT;
  persistBackoff = 0;
  /** The end of TIME-WAIT, or the earliest time of the next keepalive probe. */
  lifeAt: number = Number.POSITIVE_INFINITY;
  /** When the last segment came from the guest. */
  heardAt = 0;
  probes = 0;
  /** The time of the call being served, with which segments are stamped. */
  now = 0;
  /** The start of an interval, and the challenge ACKs sent in it: see challenge.ts. */
  challengeAt = -1e9;
  challenges = 0;
  retransmissions = 0;
  /**
   * How many segments came, each older than the ones before by its timestamp or ACK, since the last current one; and
   * since when: see set-back.ts.
   */
  fromPast = 0;
  pastSince = 0;

  constructor(path: TcpPath, user: TcpUser, chunks: GuestChunks) {
    this.path = path;
    this.user = user;
    this.sendBuffer = new SendBuffer(chunks);
    this.assembler = new Assembler(chunks.outOfOrder);
  }

  /** The earliest time at which `poll` has something to do. */
  deadline(): number {
    return Math.min(this.timerAt, this.lifeAt);
  }

  /** Takes a SYN; in HELD, another SYN in place of the first. */
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

  /** Takes over the options that the guest's SYN or SYN-ACK offered. */
  agree(o: TcpOptions): void {
    const offered = o.mss === 0 ? DEFAULT_MSS : Math.max(o.mss, MIN_MSS);
    this.scaling = o.windowScale >= 0;
    this.sndScale = this.scaling ? o.windowScale : 0;
    this.rcvScale = this.scaling ? this.ourScale : 0;
    this.sack = o.sackPermitted;
    this.timestamps = o.timestamps;
    if (o.timestamps) this.tsRecent = o.tsValue;
    // The MSS counts no options (RFC 6691), so the options in each segment reduce its payload.
    this.mss = Math.max(1, Math.min(offered, this.ourMss) - (o.timestamps ? 12 : 0));
    this.congestion.start(this.mss);
  }

  /** Closes the block and sends nothing. */
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

  /** Notes that the guest is alive: the keepalive interval begins anew. */
  heard(now: number): void {
    this.probes = 0;
    this.heardAt = now;
    if (this.state !== TIME_WAIT) this.lifeAt = now + KEEPALIVE_HELD;
  }

  /**
   * The window field to send; moves RCV.ADV (`rcvAdv`) to the edge that it offers. The edge never moves back, and small
   * steps are not shown (RFC 9293 section 3.8.6.2.2).
   */
  offerWindow(): number {
    const room = this.user.room();
    const offered = this.offered();
    const unit = 1 << this.rcvScale;
    let units = Math.floor(room / unit);
    if (room - offered < this.windowStep()) {
      // A window that is not a multiple of the unit must be rounded, and rounding down would move the edge back, so it
      // is rounded up. A guest could live on such roundings: it sends less than a unit at a time to a host that reads
      // nothing. It is shown an edge that is up to a unit too low (RFC 7323 section 2.4). Bytes up to the edge offered
      // before are accepted all the same, because a segment under way may end there.
      units = room > -ROUNDING ? Math.ceil(offered / unit) : Math.floor(offered / unit);
    }
    // Never negative: the field has no sign, and the guest would read it as the widest window.
    const field = Math.max(0, Math.min(0xffff, units));
    const edge = seqAdd(this.rcvNxt, field * unit);
    if (seqDiff(edge, this.rcvAdv) > 0) this.rcvAdv = edge;
    return field;
  }

  /**
   * Bytes that the guest may still send within the window that it was offered. RCV.NXT may be beyond the window's edge:
   * a FIN needs no window, and bytes that arrived ahead of a gap were accepted under an earlier edge.
   */
  offered(): number {
    return Math.max(0, seqDiff(this.rcvAdv, this.rcvNxt));
  }

  /** The least gain of the window, in bytes, that is worth telling. */
  windowStep(): number {
    return Math.min(this.ourMss, LARGE_STEP);
  }

  /** Whether only an ACK is owed: it may wait for the next data. */
  owesOnlyAck(): boolean {
    return this.ackPending && this.state >= ESTABLISHED && this.sendBuffer.length === 0;
  }

  /** Whether our FIN has been acknowledged. */
  finAcked(): boolean {
    return this.finSent && seqDiff(this.sndUna, seqAdd(this.finSeq, 1)) >= 0;
  }

  /** Sends a RST to the guest, and closes the block. */
  abstract abort(): void;

  /** Ends a connection whose guest does not answer: sends a RST and tells the user. */
  abstract giveUp(): void;
}
