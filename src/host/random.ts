/** The host's cryptographic generator. A call for each number costs a microsecond; so 256 are taken at a time. */
import { randomFillSync } from "node:crypto";
import type { Random } from "../core/random.ts";

const POOL = 256;

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
    // Bytes that have been given out stay nowhere.
    this.#pool[i] = 0;
    return value;
  }
}
