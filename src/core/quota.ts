import type { ByteShare } from "./byte-budget.ts";

/**
 * Counts how much of a resource is held, in all and by each guest. A guest is a cable, because a guest can use any MAC;
 * uses without a known cable count together under null.
 */
export class Quota {
  readonly #most: number;
  readonly #mostEach: number;
  readonly #bytes: ByteShare | null;
  readonly #held: Map<object | null, number> = new Map();
  #used = 0;

  /** `bytes`: a budget in which the amounts, which are then bytes, count as well. */
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

  /** The guest that holds most; `guest` itself if nobody holds more. */
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

  /** Whether all guests together hold as much as they may. */
  get full(): boolean {
    return this.#used >= this.#most;
  }

  /** Whether the guest holds as much as one may. */
  fullFor(guest: object | null): boolean {
    return this.of(guest) >= this.#mostEach;
  }

  /** Whether the guest, or all, hold more than they may: for resources whose size shows only after they are taken. */
  over(guest: object | null): boolean {
    return this.#used > this.#most || this.of(guest) > this.#mostEach;
  }

  /** Whether neither the guest nor all have reached their cap. */
  allows(guest: object | null): boolean {
    return !this.full && !this.fullFor(guest);
  }

  /** Counts `amount` as taken. The caller has checked that there is room. */
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
