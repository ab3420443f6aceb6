/**
 * A network's throughput over the last ten minutes, so that a plot has a past when somebody opens it or comes back to
 * it.
 *
 * A sample is taken each second, from the first request on, until nobody has asked for as long as the samples reach
 * back: a process without viewers is not woken.
 */
import type { Network } from "../network.ts";

const EVERY_MILLIS = 1_000;
const KEPT = 600;

/** Throughput since the previous sample. */
export interface Sample {
  /** How many milliseconds ago the sample ended. */
  readonly ago: number;
  /** Bits a second from guests, and to guests. */
  readonly up: number;
  readonly down: number;
}

export class History {
  readonly #network: Network;
  /** Sample `n` stands at `n` modulo `KEPT`. */
  readonly #at: Float64Array = new Float64Array(KEPT);
  readonly #up: Float64Array = new Float64Array(KEPT);
  readonly #down: Float64Array = new Float64Array(KEPT);
  #taken = 0;
  #timer: NodeJS.Timeout | null = null;
  #asked = 0;
  #last = { at: 0, bytesIn: 0, bytesOut: 0 };

  constructor(network: Network) {
    this.#network = network;
  }

  /** The oldest first. */
  samples(): Sample[] {
    const now = performance.now();
    this.#asked = now;
    if (this.#timer === null) this.#begin(now);
    const samples: Sample[] = [];
    for (let n = Math.max(0, this.#taken - KEPT); n < this.#taken; n++) {
      const i = n % KEPT;
      const ago = now - this.#at[i]!;
      if (ago < KEPT * EVERY_MILLIS)
        samples.push({ ago: Math.round(ago), up: Math.round(this.#up[i]!), down: Math.round(this.#down[i]!) });
    }
    return samples;
  }

  close(): void {
    if (this.#timer !== null) clearInterval(this.#timer);
    this.#timer = null;
  }

  #begin(now: number): void {
    const { bytesIn, bytesOut } = this.#network.stats();
    this.#last = { at: now, bytesIn, bytesOut };
    this.#timer = setInterval(() => this.#sample(), EVERY_MILLIS).unref();
  }

  #sample(): void {
    const now = performance.now();
    const { bytesIn, bytesOut } = this.#network.stats();
    const seconds = (now - this.#last.at) / 1000;
    const i = this.#taken++ % KEPT;
    this.#at[i] = now;
    this.#up[i] = ((bytesIn - this.#last.bytesIn) * 8) / seconds;
    this.#down[i] = ((bytesOut - this.#last.bytesOut) * 8) / seconds;
    this.#last = { at: now, bytesIn, bytesOut };
    if (now - this.#asked > KEPT * EVERY_MILLIS) this.close();
  }
}
