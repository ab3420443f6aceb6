/** Unpredictable numbers: ISNs, ports, DNS and IP identifiers. The host's is cryptographic, a test's is seeded. */
export interface Random {
  /** A whole number of 32 bits, unsigned. */
  u32(): number;
}

/** The same numbers for the same seed (mulberry32): for what must be repeatable, never for what must not be guessed. */
export class SeededRandom implements Random {
  #state: number;

  constructor(seed = 1) {
    this.#state = seed | 0;
  }

  u32(): number {
    this.#state = (this.#state + 0x6d2b79f5) | 0;
    let t = Math.imul(this.#state ^ (this.#state >>> 15), 1 | this.#state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return (t ^ (t >>> 14)) >>> 0;
  }
}
