/**
 * Bytes from guests that hosts have not taken yet, of all connections.
 *
 * The windows that guests are offered narrow as these become many: of what is left each may be offered a quarter. What
 * comes within windows that were offered before is dropped once its guest has as much as one may, or all have as much as
 * all may, and comes again. A connection whose host takes what it is given is spared: a segment at a time is always let through.
 * The same holds where the network has its part of what the process may hold.
 */

import { type ByteShare, unshared } from "../../core/byte-budget.ts";
import type { Limits } from "../../core/limits.ts";
import type { Link } from "../../core/link.ts";
import { Quota } from "../../core/quota.ts";

/** The largest window without scaling (RFC 9293 section 3.1). */
const LEAST_WINDOW = 0xffff;

/** A connection, as far as it concerns this. */
export interface Receiver {
  readonly cable: Link | null;
  /** Bytes that its host has not taken, as last heard. */
  waiting: number;
}

export class ReceiveBudget {
  readonly #quota: Quota;
  readonly #bytes: ByteShare;
  #window: number;
  #crowded = false;
  readonly #most: number;
  readonly #mostEach: number;

  constructor({ receiveBytes, receiveBytesPerGuest }: Limits, bytes: ByteShare = unshared()) {
    this.#most = receiveBytes;
    this.#mostEach = receiveBytesPerGuest;
    this.#bytes = bytes;
    this.#quota = new Quota(receiveBytes, receiveBytesPerGuest, bytes);
    this.#window = this.#left();
  }

  /** The most that a connection may be offered now. */
  get window(): number {
    return Math.min(this.#window, Math.max(LEAST_WINDOW, this.#bytes.room / 4));
  }

  /** Whether some guest may have too much. */
  get crowded(): boolean {
    return this.#crowded || this.#bytes.room <= 0;
  }

  get used(): number {
    return this.#quota.used;
  }

  /** Whether more from a connection of the guest on `cable` is too much. */
  full(cable: Link | null): boolean {
    return !this.#quota.allows(cable) || this.#bytes.room <= 0;
  }

  /** So many bytes of a connection wait for its host now. */
  note(flow: Receiver, waiting: number): void {
    const more = waiting - flow.waiting;
    if (more === 0) return;
    flow.waiting = waiting;
    this.#quota.take(flow.cable, more);
    this.#window = this.#left();
    this.#crowded = this.#quota.used >= Math.min(this.#most, this.#mostEach);
  }

  #left(): number {
    return Math.max(LEAST_WINDOW, (this.#most - this.#quota.used) / 4);
  }
}
