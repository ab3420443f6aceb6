/** The host's cryptographic generator. A call takes some microseconds, so a thousand numbers are fetched at a time. */
import { randomFillSync } from "node:crypto";
import type { Random } from "../core/random.ts";

const POOL = 1_024;

export class HostRandom implements Random {
  readonly #pool: Uint32Array = new Uint32Array(POOL);
  #left = 0;

  u32(): number {
    if (this.#left === 0) {
      randomFillSync(this.#pool);
      this.#left = POOL;
    }
    const i = --this.#left;
    const value = this.#pool[i]!;
    // Random bytes that have been given out are erased.
    this.#pool[i] = 0;
    return value;
  }
}
