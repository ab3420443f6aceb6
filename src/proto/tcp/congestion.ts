/**
 * Congestion control: NewReno (RFC 5681, RFC 6582) over a link whose round trip is microseconds.
 *
 * The guest's cable is nearly always lossless, and slow start doubles the window each round trip: from ten segments
 * (RFC 6928) the guest's own window is reached within eight round trips, less than a millisecond. So no larger initial
 * window is taken, and the window is kept after idling: the path has no other users whose load could have changed.
 */
export class Congestion {
  cwnd = 0;
  ssthresh: number = Number.POSITIVE_INFINITY;
  #mss = 0;
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
    else this.cwnd += Math.max(1, (this.#mss * Math.min(acked, this.cwnd)) / this.cwnd);
  }

  /** Fast retransmit: half of what is in flight. */
  onLoss(flight: number): void {
    this.ssthresh = Math.max(flight / 2, 2 * this.#mss);
    this.cwnd = this.ssthresh;
  }

  onTimeout(flight: number): void {
    this.ssthresh = Math.max(flight / 2, 2 * this.#mss);
    this.cwnd = this.#mss;
  }
}
