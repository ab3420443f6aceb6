import type { ByteShare } from "./byte-budget.ts";

/**
 * How much of something is held, in all and by each guest. A guest is what is on one cable, since it calls itself by any
 * MAC it likes; what nobody's cable is known for counts together, as null's.
 */
export class Quota {
  readonly #most: number;
  readonly #mostEach: number;
  readonly #bytes: ByteShare | null;
  readonly #held: Map<object | null, number> = new Map();
  #used = 0;

  /** `bytes`: what is held is bytes, and counts there as well. */
  constructor(most: number, mostEach: number, bytes: ByteShare | null = null) {
    this.#most = most;
    this.#mostEach = mostEach;
    this.#bytes = bytes;
  }

  get used(): number {
    return this.#used;
  }

  of(guest: object | null): number {
    return this.#held.get(guest) ?? 0;
  }

  /** The guest that has most, `guest` itself if nobody has more. */
  fullest(guest: object | null): object | null {
    let fullest = guest;
    let most = guest === null ? 0 : this.of(guest);
    for (const [each, held] of this.#held) {
      if (each === null || held <= most) continue;
      fullest = each;
      most = held;
    }
    return fullest;
  }

  /** All together have as much as they may. */
  get full(): boolean {
    return this.#used >= this.#most;
  }

  /** The guest has as much as one may. */
  fullFor(guest: object | null): boolean {
    return this.of(guest) >= this.#mostEach;
  }

  /** The guest, or all, have more than they may: where what is taken shows its size only afterwards. */
  over(guest: object | null): boolean {
    return this.#used > this.#most || this.of(guest) > this.#mostEach;
  }

  /** Whether more fits, of the guest's and of all. */
  allows(guest: object | null): boolean {
    return !this.full && !this.fullFor(guest);
  }

  /** The caller has made room. */
  take(guest: object | null, amount: number = 1): void {
    this.#used += amount;
    this.#bytes?.note(amount);
    const held = this.of(guest) + amount;
    if (held === 0) this.#held.delete(guest);
    else this.#held.set(guest, held);
  }

  give(guest: object | null, amount: number = 1): void {
    this.take(guest, -amount);
  }
}
