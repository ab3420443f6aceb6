/**
 * Congestion control: NewReno (RFC 5681, RFC 6582) over a link whose round trip is microseconds.
 *
 * What the window is for. Between us and the guest there is no router and no other user: what can overflow is the
 * guest's own queue, and the guest's window says what it is ready to take. So that window is to be the limit, and the
 * congestion window only has to find out where it is too generous.
 *
 * - *Initial window*: ten segments (RFC 6928). Slow start counts bytes acknowledged, without RFC 3465's limit of two
 *   segments an ACK, since guests acknowledge whole batches at once. So it doubles each round trip: 256 KiB are out
 *   within five round trips, about half a millisecond (`test/proto/tcp/congestion.test.ts` measures it). A larger first
 *   burst would save three of those and overrun the 128 to 256 descriptors of a small network card's ring.
 * - *Growth*: it goes on while the guest's window, not ours, is the limit (no RFC 7661 validation). A connection that
 *   asks and answers is at full rate by the time it has a large answer, and a burst beyond what was tried before is
 *   still one that the guest's window asked for.
 * - *After idling* it is kept. RFC 5681 section 4.1 restarts it since others may have taken the path meanwhile; here
 *   are no others.
 * - *Loss* halves it as anywhere: then a queue on the way is smaller than the guest's window.
 *
 * Whole bytes throughout: the window cuts segments.
 */
export class Congestion {
  cwnd = 0;
  ssthresh: number = Number.POSITIVE_INFINITY;
  #mss = 0;
  #cwndBefore = 0;
  #ssthreshBefore: number = Number.POSITIVE_INFINITY;
  /** Beyond the largest window a guest can offer there is nothing to gain. */
  static readonly MAX: number = 2 ** 30;

  /** Segments are to be smaller from now on. */
  shrink(mss: number): void {
    this.#mss = mss;
  }

  start(mss: number): void {
    this.#mss = mss;
    this.cwnd = Math.min(10 * mss, Math.max(2 * mss, 14_600));
  }

  onAck(acked: number): void {
    if (this.cwnd >= Congestion.MAX) return;
    if (this.cwnd < this.ssthresh) this.cwnd += acked;
    else this.cwnd += Math.max(1, Math.floor((this.#mss * Math.min(acked, this.cwnd)) / this.cwnd));
  }

  /** Fast retransmit: half of what is in flight. */
  onLoss(flight: number): void {
    this.ssthresh = this.#half(flight);
    this.cwnd = this.ssthresh;
  }

  onTimeout(flight: number): void {
    this.ssthresh = this.#half(flight);
    this.cwnd = this.#mss;
  }

  /** Before a time-out that may turn out to have been a mistake. */
  remember(): void {
    this.#cwndBefore = this.cwnd;
    this.#ssthreshBefore = this.ssthresh;
  }

  /** It was one. */
  undo(): void {
    this.cwnd = Math.max(this.cwnd, this.#cwndBefore);
    this.ssthresh = Math.max(this.ssthresh, this.#ssthreshBefore);
  }

  #half(flight: number): number {
    return Math.max(Math.floor(flight / 2), 2 * this.#mss);
  }
}
