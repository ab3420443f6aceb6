/**
 * Congestion control: NewReno (RFC 5681, RFC 6582) over a link whose round trip is microseconds.
 *
 * What the window is for. Between us and the guest there is no router and no other traffic. Only the guest's own queue
 * can overflow, and the guest's window tells what the guest is ready to take. So the guest's window is to be the limit,
 * and the congestion window only has to find out where it is too generous.
 *
 * - *Initial window*: ten segments (RFC 6928). Slow start counts bytes acknowledged, without RFC 3465's limit of two
 *   segments an ACK, since guests acknowledge whole batches at once. So the window doubles each round trip: 256 KiB are
 *   out within five round trips, about half a millisecond (`test/proto/tcp/congestion.test.ts` measures it). A larger
 *   first burst would save three of those round trips and overrun the 128 to 256 descriptors of a small network card's
 *   ring.
 * - *Growth*: the window grows even while the guest's window is the limit (no RFC 7661 validation). So a connection
 *   with small requests and answers is at full rate by the time of its first large answer. The guest's window has asked
 *   even for a burst that is larger than any before.
 * - *After idling* the window is kept. RFC 5681 section 4.1 restarts it, because other traffic may have taken the path
 *   meanwhile; here there is no other traffic.
 * - *Loss* halves the window as anywhere: then a queue on the way is smaller than the guest's window.
 *
 * The window is counted in whole bytes, because segments are cut at its end.
 */
export class Congestion {
  cwnd = 0;
  ssthresh: number = Number.POSITIVE_INFINITY;
  #mss = 0;
  #cwndBefore = 0;
  #ssthreshBefore: number = Number.POSITIVE_INFINITY;
  /** The largest congestion window, in bytes: no guest can offer a window beyond this. */
  static readonly MAX: number = 2 ** 30;

  /** Makes segments smaller from now on. */
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

  /** Fast retransmit: the window becomes half of the bytes in flight. */
  onLoss(flight: number): void {
    this.ssthresh = this.#half(flight);
    this.cwnd = this.ssthresh;
  }

  onTimeout(flight: number): void {
    this.ssthresh = this.#half(flight);
    this.cwnd = this.#mss;
  }

  /** Saves the window before a time-out that may turn out to be a mistake. */
  remember(): void {
    this.#cwndBefore = this.cwnd;
    this.#ssthreshBefore = this.ssthresh;
  }

  /** Restores the window: the time-out was a mistake. */
  undo(): void {
    this.cwnd = Math.max(this.cwnd, this.#cwndBefore);
    this.ssthresh = Math.max(this.ssthresh, this.#ssthreshBefore);
  }

  #half(flight: number): number {
    return Math.max(Math.floor(flight / 2), 2 * this.#mss);
  }
}
