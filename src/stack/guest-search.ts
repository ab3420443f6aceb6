/** Asks for guests whose MAC or cable is not known, each no more than once a second. */
import type { Clock } from "../core/clock.ts";
import type { Neighbour } from "../proto/neighbours.ts";

/** The pause between two requests for the MAC of the same silent address. */
const SOLICIT_PAUSE_MS = 1000;
const MOST_SOLICITED = 1024;

export class GuestSearch {
  readonly #clock: Clock;
  readonly #solicit: (guest: Neighbour) => void;
  readonly #solicited: Map<Neighbour, number> = new Map();

  /** `solicit` asks on all cables for a guest. */
  constructor(clock: Clock, solicit: (guest: Neighbour) => void) {
    this.#clock = clock;
    this.#solicit = solicit;
  }

  /** A packet waits for this guest: asks for it. */
  resolve(guest: Neighbour): void {
    const now = this.#clock.now();
    if (now - (this.#solicited.get(guest) ?? Number.NEGATIVE_INFINITY) < SOLICIT_PAUSE_MS) return;
    if (this.#solicited.size >= MOST_SOLICITED) this.#solicited.clear();
    this.#solicited.set(guest, now);
    this.#solicit(guest);
  }

  /** The guest has been found, or another has its address: the next request need not wait. */
  forget(guest: Neighbour): void {
    this.#solicited.delete(guest);
  }
}
