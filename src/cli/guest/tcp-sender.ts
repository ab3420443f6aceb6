/**
 * The sending half of a connection: which bytes are sent and sent again, and when.
 *
 * Theory of operation. `una` ≤ `nxt` ≤ `max`: the first sequence number not acknowledged, the next to send, and the
 * first never sent. The queue's first byte has the number `una`. A time-out goes back to `una` (go-back-N, RFC 5681
 * section 3.1). Three duplicate acknowledgements start recovery. With SACK, the holes below the highest sacked byte
 * are sent as the pipe allows (RFC 6675, simplified); without SACK, one hole for each partial acknowledgement
 * (NewReno, RFC 6582). A closed window is probed with one byte (RFC 9293 section 3.8.6.1). The FIN has the sequence
 * number behind the queue's last byte.
 */
import { seqAdd, seqDiff, seqGe, seqGt, seqLe, seqLt, seqMax } from "../../wire/seq.ts";
import { ByteQueue } from "./byte-queue.ts";

/** Milliseconds. RFC 6298 asks for a second, but on a virtual cable a fifth of that is long. */
const RTO_MIN_MS = 200;
const RTO_MAX_MS = 60_000;
const RTO_FIRST_MS = 1_000;
/** Time-outs in a row before the connection is given up (RFC 9293 section 3.8.3, R2). */
const MAX_RETRIES = 12;

export interface SenderStats {
  segments: number;
  retransmissions: number;
  fastRetransmits: number;
  timeouts: number;
  probes: number;
}

export class TcpSender {
  readonly stats: SenderStats = { segments: 0, retransmissions: 0, fastRetransmits: 0, timeouts: 0, probes: 0 };
  readonly queue: ByteQueue = new ByteQueue();
  /** The payload of a full segment, in bytes. */
  mss = 536;
  /** Whether both ends permit SACK. */
  sack = false;
  /** The peer's window in bytes. */
  window = 0;
  maxWindow = 0;
  una: number;
  nxt: number;
  max: number;
  /** The user writes no more: a FIN follows the queued bytes. */
  ending = false;
  finAcked = false;
  rtoAt: number = Number.POSITIVE_INFINITY;
  persistAt: number = Number.POSITIVE_INFINITY;
  readonly #send: (seq: number, payload: Uint8Array, fin: boolean) => void;
  #cwnd = 0;
  #ssthresh: number = Number.MAX_SAFE_INTEGER;
  #srtt = -1;
  #rttvar = 0;
  #rto: number = RTO_FIRST_MS;
  #retries = 0;
  #probes = 0;
  #duplicates = 0;
  #recovering = false;
  /** Recovery ends when this number is acknowledged, and no new recovery starts below it (RFC 6582 section 3.2). */
  #recover: number;
  /** Everything below this number has been retransmitted in this recovery. */
  #highRetransmitted = 0;
  /** The sacked ranges, disjoint and ascending. */
  #sacked: [number, number][] = [];
  /** Without timestamps one segment at a time is timed, never a retransmitted one (RFC 6298 section 3). */
  #timedSeq = 0;
  #timedAt = -1;

  constructor(iss: number, send: (seq: number, payload: Uint8Array, fin: boolean) => void) {
    this.una = iss;
    this.nxt = iss;
    this.max = iss;
    this.#recover = iss;
    this.#send = send;
  }

  /** The SYN has been acknowledged. Sets the initial window (RFC 6928). */
  start(ack: number, window: number, rtt: number, now: number): void {
    this.una = ack;
    this.setWindow(window);
    this.#measure(ack, rtt, now);
    this.#retries = 0;
    this.rtoAt = Number.POSITIVE_INFINITY;
    this.#cwnd = Math.min(10 * this.mss, Math.max(2 * this.mss, 14_600));
  }

  /** Notes that the SYN was sent, or sent again. */
  sentSyn(now: number): void {
    if (this.max !== this.una) this.stats.retransmissions++;
    this.nxt = seqAdd(this.una, 1);
    this.max = this.nxt;
    this.rtoAt = now + this.#rto;
  }

  /** Whether sent bytes are not acknowledged yet. */
  get inFlight(): boolean {
    return this.nxt !== this.una;
  }

  /**
   * The sequence number of a bare acknowledgement: the last one that the peer accepts. It is not SND.NXT, which a
   * time-out takes back: if both ends had gone back, each would drop the other's acknowledgements as too old, for
   * ever. It is not beyond the window either, where a probe may have been.
   */
  ackSeq(): number {
    const edge = seqMax(seqAdd(this.una, this.window), this.nxt);
    return seqLt(edge, this.max) ? edge : this.max;
  }

  get finSent(): boolean {
    return this.ending && seqDiff(this.max, this.una) > this.queue.length;
  }

  /** Sends as much as the peer's window and the congestion window allow, and sets the timers. */
  output(now: number): void {
    if (this.#recovering && this.sack) this.#sendHoles(now);
    for (;;) {
      const offset = seqDiff(this.nxt, this.una);
      const remaining = this.queue.length - offset;
      if (remaining < 0) break;
      const congestion = this.#recovering && this.sack ? offset + this.#cwnd - this.#pipe() : this.#cwnd;
      const usable = Math.min(this.window, congestion) - offset;
      const length = Math.min(this.mss, remaining, usable);
      const fin = this.ending && length >= remaining && this.window > offset + remaining && !this.finAcked;
      if (length <= 0 && !fin) break;
      // Avoids silly windows: no small segment while more data follows (RFC 9293 section 3.8.6.2.2).
      if (length < this.mss && length < remaining && offset > 0) break;
      this.#transmit(this.nxt, Math.max(length, 0), fin, now);
      this.nxt = seqAdd(this.nxt, Math.max(length, 0) + (fin ? 1 : 0));
    }
    this.#arm(now);
  }

  /**
   * Takes an acceptable acknowledgement. `rtt` is in milliseconds, from timestamps, or -1 without. True if `una` has
   * moved.
   */
  acknowledged(
    ack: number,
    window: number,
    plain: boolean,
    sack: readonly number[],
    rtt: number,
    now: number,
  ): boolean {
    this.#probes = 0;
    const news = this.#addSacked(sack);
    if (seqLe(ack, this.una)) {
      const duplicate = ack === this.una && plain && this.inFlight && (this.sack ? news : window === this.window);
      if (duplicate) this.#duplicate(now);
      this.setWindow(window);
      return false;
    }
    const acked = seqDiff(ack, this.una);
    const data = Math.min(acked, this.queue.length);
    this.queue.drop(data);
    if (acked > data) this.finAcked = this.ending;
    this.una = ack;
    this.nxt = seqMax(this.nxt, ack);
    this.#sacked = this.#sacked.filter(([, right]) => seqGt(right, ack));
    this.#measure(ack, rtt, now);
    this.#retries = 0;
    this.#duplicates = 0;
    this.rtoAt = now + this.#rto;
    this.#grow(acked, now);
    this.setWindow(window);
    return true;
  }

  setWindow(window: number): void {
    this.window = window;
    this.maxWindow = Math.max(this.maxWindow, window);
  }

  /** The retransmission timer has expired. Returns false when the connection is to be given up. */
  timedOut(now: number): boolean {
    if (++this.#retries > MAX_RETRIES) return false;
    this.stats.timeouts++;
    this.#rto = Math.min(this.#rto * 2, RTO_MAX_MS);
    this.rtoAt = now + this.#rto;
    this.#ssthresh = Math.max(seqDiff(this.nxt, this.una) >> 1, 2 * this.mss);
    this.#cwnd = this.mss;
    this.#recovering = false;
    this.#recover = this.max;
    this.#duplicates = 0;
    this.#sacked = [];
    this.#timedAt = -1;
    this.nxt = this.una;
    return true;
  }

  /**
   * Probes a window that is still closed, with a byte or the FIN beyond it. False when too many probes had no answer.
   */
  probe(now: number): boolean {
    if (++this.#probes > MAX_RETRIES) return false;
    this.stats.probes++;
    this.persistAt = now + Math.min(this.#rto * 2 ** this.#probes, RTO_MAX_MS);
    const length = Math.min(1, this.queue.length);
    this.#transmit(this.una, length, length === 0, now);
    this.#timedAt = -1;
    return true;
  }

  #transmit(seq: number, length: number, fin: boolean, now: number): void {
    this.stats.segments++;
    const end = seqAdd(seq, length + (fin ? 1 : 0));
    if (seqLt(seq, this.max)) {
      this.stats.retransmissions++;
      this.#timedAt = -1;
    } else if (this.#timedAt < 0) {
      this.#timedAt = now;
      this.#timedSeq = end;
    }
    this.max = seqMax(this.max, end);
    this.#send(seq, this.queue.copy(seqDiff(seq, this.una), length), fin);
  }

  #arm(now: number): void {
    if (this.inFlight) {
      this.persistAt = Number.POSITIVE_INFINITY;
      if (this.rtoAt === Number.POSITIVE_INFINITY) this.rtoAt = now + this.#rto;
      return;
    }
    this.rtoAt = Number.POSITIVE_INFINITY;
    const waiting = this.queue.length > 0 || (this.ending && !this.finAcked);
    if (!waiting) this.persistAt = Number.POSITIVE_INFINITY;
    else if (this.persistAt === Number.POSITIVE_INFINITY) this.persistAt = now + this.#rto;
  }

  /** Updates the round-trip estimate and the time-out (RFC 6298 section 2). */
  #measure(ack: number, rtt: number, now: number): void {
    if (rtt < 0 && this.#timedAt >= 0 && seqGe(ack, this.#timedSeq)) rtt = now - this.#timedAt;
    if (seqGe(ack, this.#timedSeq)) this.#timedAt = -1;
    if (rtt < 0) return;
    if (this.#srtt < 0) {
      this.#srtt = rtt;
      this.#rttvar = rtt / 2;
    } else {
      this.#rttvar = 0.75 * this.#rttvar + 0.25 * Math.abs(this.#srtt - rtt);
      this.#srtt = 0.875 * this.#srtt + 0.125 * rtt;
    }
    this.#rto = Math.min(Math.max(this.#srtt + 4 * this.#rttvar, RTO_MIN_MS), RTO_MAX_MS);
  }

  /** Grows the congestion window after new data was acknowledged. */
  #grow(acked: number, now: number): void {
    if (this.#recovering) {
      if (seqGe(this.una, this.#recover)) {
        this.#recovering = false;
        this.#cwnd = this.#ssthresh;
      } else if (!this.sack) {
        this.#cwnd = Math.max(this.#cwnd - acked + this.mss, this.mss);
        this.#retransmitFirst(now);
      }
      return;
    }
    if (this.#cwnd < this.#ssthresh) this.#cwnd += Math.min(acked, this.mss);
    else this.#cwnd += Math.max(1, Math.floor((this.mss * this.mss) / this.#cwnd));
  }

  #duplicate(now: number): void {
    this.#duplicates++;
    if (this.#recovering) {
      if (!this.sack) this.#cwnd += this.mss;
    } else if (this.#duplicates === 3 && seqGe(this.una, this.#recover)) {
      this.stats.fastRetransmits++;
      this.#recovering = true;
      this.#recover = this.max;
      this.#ssthresh = Math.max(seqDiff(this.nxt, this.una) >> 1, 2 * this.mss);
      this.#cwnd = this.#ssthresh + (this.sack ? 0 : 3 * this.mss);
      this.#highRetransmitted = this.una;
      this.#retransmitFirst(now);
    }
  }

  #retransmitFirst(now: number): void {
    const firstSacked = this.#sacked[0]?.[0] ?? this.nxt;
    const length = Math.min(this.mss, this.queue.length, seqDiff(firstSacked, this.una));
    const fin = length >= this.queue.length && this.finSent;
    this.#transmit(this.una, Math.max(length, 0), fin, now);
    this.#highRetransmitted = seqAdd(this.una, length);
    this.rtoAt = now + this.#rto;
  }

  /** Adds SACK blocks. True if one of them is news. Blocks beyond the bytes ever sent are ignored. */
  #addSacked(edges: readonly number[]): boolean {
    let news = false;
    for (let i = 0; i + 1 < edges.length; i += 2) {
      let left = edges[i]!;
      let right = edges[i + 1]!;
      if (seqLe(right, left) || seqLe(right, this.una) || seqLt(left, this.una) || seqGt(right, this.max)) continue;
      if (this.#sacked.some(([l, r]) => seqLe(l, left) && seqGe(r, right))) continue;
      news = true;
      const apart: [number, number][] = [];
      for (const [l, r] of this.#sacked) {
        if (seqLt(r, left) || seqGt(l, right)) apart.push([l, r]);
        else {
          if (seqLt(l, left)) left = l;
          right = seqMax(r, right);
        }
      }
      apart.push([left, right]);
      this.#sacked = apart.sort((a, b) => seqDiff(a[0], b[0]));
    }
    return news;
  }

  /** The unsacked ranges from `from` up to the highest sacked byte. */
  #holes(from: number): [number, number][] {
    const holes: [number, number][] = [];
    for (const [left, right] of this.#sacked) {
      if (seqLt(from, left)) holes.push([from, left]);
      from = seqMax(from, right);
    }
    return holes;
  }

  /** How many bytes are believed to be on the wire (RFC 6675 section 4, SetPipe, with every hole counted as lost). */
  #pipe(): number {
    let pipe = seqDiff(this.nxt, this.una);
    for (const [left, right] of this.#sacked) pipe -= seqDiff(right, left);
    for (const [left, right] of this.#holes(seqMax(this.una, this.#highRetransmitted))) pipe -= seqDiff(right, left);
    return pipe;
  }

  #sendHoles(now: number): void {
    for (const [left, right] of this.#holes(seqMax(this.una, this.#highRetransmitted))) {
      let at = left;
      while (seqLt(at, right)) {
        if (this.#pipe() >= this.#cwnd) return;
        const length = Math.min(this.mss, seqDiff(right, at));
        this.#transmit(at, length, false, now);
        at = seqAdd(at, length);
        this.#highRetransmitted = at;
      }
    }
  }
}
