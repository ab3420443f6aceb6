/** The retransmission time-out (RFC 6298), in milliseconds. */
const INITIAL = 1000;
/** Below the RFC's second, as Linux does: the far end is a guest on this machine, not the Internet. */
const MINIMUM = 200;
const MAXIMUM = 60_000;

export class RttEstimator {
  srtt = -1;
  rttvar = 0;
  rto: number = INITIAL;

  /** A measured round trip of data that was not retransmitted (Karn's rule is the caller's). Section 2. */
  sample(rtt: number): void {
    if (this.srtt < 0) {
      this.srtt = rtt;
      this.rttvar = rtt / 2;
    } else {
      this.rttvar += (Math.abs(this.srtt - rtt) - this.rttvar) / 4;
      this.srtt += (rtt - this.srtt) / 8;
    }
    this.rto = Math.min(MAXIMUM, Math.max(MINIMUM, this.srtt + 4 * this.rttvar));
  }

  /** The timer ran out. Section 5.5. */
  backOff(): void {
    this.rto = Math.min(MAXIMUM, this.rto * 2);
  }
}
