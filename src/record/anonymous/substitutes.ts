/** Substitutes for values: always the same one for a value, and, if possible, none that occurs in the recording. */
import type { Random } from "../../core/random.ts";

const TRIES = 400;

export class Substitutes {
  readonly #random: Random;
  readonly #seen: Set<string> = new Set();
  readonly #others: Map<string, string> = new Map();
  readonly #used: Set<string> = new Set();
  #sealed = false;

  constructor(random: Random) {
    this.#random = random;
  }

  /** How many values have been collected. */
  get size(): number {
    return this.#seen.size;
  }

  /** Ends the collecting of values: from now on each has a substitute. */
  seal(): void {
    this.#sealed = true;
  }

  below(limit: number): number {
    return this.#random.u32() % limit;
  }

  /**
   * The substitute of a value. `propose` makes a random candidate, or null for one that must not be used. After many
   * failures the value stays.
   */
  of(value: string, propose: (value: string) => string | null): string {
    if (!this.#sealed) {
      this.#seen.add(value);
      return value;
    }
    const known = this.#others.get(value);
    if (known !== undefined) return known;
    const other = this.#find(value, propose);
    this.#others.set(value, other);
    this.#used.add(other);
    return other;
  }

  #find(value: string, propose: (value: string) => string | null): string {
    let spare: string | null = null;
    for (let i = 0; i < TRIES; i++) {
      const other = propose(value);
      if (other === null || this.#used.has(other)) continue;
      if (!this.#seen.has(other)) return other;
      spare = other;
    }
    return spare ?? value;
  }
}

export function hexOf(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

export function bytesOf(hex: string): Uint8Array {
  return Uint8Array.from(hex.match(/../g) ?? [], (byte) => Number.parseInt(byte, 16));
}
