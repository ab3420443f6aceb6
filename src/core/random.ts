/**
 * Unpredictable numbers, for ISNs, ports, DNS and IP identifiers. The host's implementation is cryptographic, tests use
 * a seeded one.
 */
export interface Random {
  /** An unsigned whole number of 32 bits. */
  u32(): number;
}

/** Gives the same numbers for the same seed (mulberry32): for results that must be repeatable, never for secrets. */
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
