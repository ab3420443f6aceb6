/**
 * The sending half of a connection: what may go out, what must go out again, and when.
 *
 * Theory of operation. `una` ≤ `nxt` ≤ `max`: acknowledged up to, next to send, ever sent. The queue's first byte is
 * `una`'s. A time-out goes back to `una` (go-back-N, RFC 5681 section 3.1); three duplicate acknowledgements start
 * recovery: with SACK the holes below the highest sacked byte are sent as the pipe allows (RFC 6675, simplified),
 * without it one per partial acknowledgement (NewReno, RFC 6582). A closed window is probed with one byte (RFC 9293
 * section 3.8.6.1). The FIN is the sequence number behind the queue's last byte.
 */
import { seqAdd, seqDiff, seqGe, seqGt, seqLe, seqLt, seqMax } from "../../wire/seq.ts";
import { ByteQueue } from "./byte-queue.ts";

/** RFC 6298 asks for a second; on a virtual cable a fifth is generous already. */
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
  /** Payload of a full segment. */
  mss = 536;
  /** Both ends permit SACK. */
  sack = false;
  /** The peer's window in bytes. */
  window = 0;
  maxWindow = 0;
  una: number;
  nxt: number;
  max: number;
  /** The user wants no more than what is queued: a FIN follows it. */
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
  /** Recovery ends when this is acknowledged; none starts below it (RFC 6582 section 3.2). */
  #recover: number;
  /** Everything below it has been retransmitted in this recovery. */
  #highRetransmitted = 0;
  /** Sacked ranges, disjoint, ascending. */
  #sacked: [number, number][] = [];
  /** One segment at a time is timed when there are no timestamps (RFC 6298 section 3: never a retransmitted one). */
  #timedSeq = 0;
  #timedAt = -1;

  constructor(iss: number, send: (seq: number, payload: Uint8Array, fin: boolean) => void) {
    this.una = iss;
    this.nxt = iss;
    this.max = iss;
    this.#recover = iss;
    this.#send = send;
  }

  /** The SYN has been acknowledged: RFC 6928's initial window. */
  start(ack: number, window: number, rtt: number, now: number): void {
    this.una = ack;
    this.setWindow(window);
    this.#measure(ack, rtt, now);
    this.#retries = 0;
    this.rtoAt = Number.POSITIVE_INFINITY;
    this.#cwnd = Math.min(10 * this.mss, Math.max(2 * this.mss, 14_600));
  }

  /** Records the SYN or its retransmission. */
  sentSyn(now: number): void {
    if (this.max !== this.una) this.stats.retransmissions++;
    this.nxt = seqAdd(this.una, 1);
    this.max = this.nxt;
    this.rtoAt = now + this.#rto;
  }

  /** Something is sent and not acknowledged. */
  get inFlight(): boolean {
    return this.nxt !== this.una;
  }

  /**
   * The number that a bare acknowledgement carries: the last one the peer accepts. Not SND.NXT, which a time-out has
   * taken back: two ends that both went back would find each other's acknowledgements too old, for ever. Not beyond the
   * window either, where a probe has been.
   */
  ackSeq(): number {
    const edge = seqMax(seqAdd(this.una, this.window), this.nxt);
    return seqLt(edge, this.max) ? edge : this.max;
  }

  get finSent(): boolean {
    return this.ending && seqDiff(this.max, this.una) > this.queue.length;
  }

  /** Sends what the peer's window and the congestion window allow, and arms the timers. */
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
      // No silly segments while more is on its way (RFC 9293 section 3.8.6.2.2).
      if (length < this.mss && length < remaining && offset > 0) break;
      this.#transmit(this.nxt, Math.max(length, 0), fin, now);
      this.nxt = seqAdd(this.nxt, Math.max(length, 0) + (fin ? 1 : 0));
    }
    this.#arm(now);
  }

  /** An acceptable acknowledgement. `rtt` in milliseconds comes from timestamps, -1 without. True if it moved `una`. */
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

  /** The retransmission timer has run out. False when the connection is to be given up. */
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

  /** The window is still closed: one byte, or the FIN, beyond it. False when nobody has answered for long. */
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

  /** RFC 6298 section 2. */
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

  /** The congestion window after new data was acknowledged. */
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

  /** True if a block says something new. Blocks beyond what was sent are not believed. */
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

  /** Unsacked ranges from `from` up to the highest sacked byte. */
  #holes(from: number): [number, number][] {
    const holes: [number, number][] = [];
    for (const [left, right] of this.#sacked) {
      if (seqLt(from, left)) holes.push([from, left]);
      from = seqMax(from, right);
    }
    return holes;
  }

  /** Bytes believed to be on the wire (RFC 6675 section 4, SetPipe, with every hole counted as lost). */
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
