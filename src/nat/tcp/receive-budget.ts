/**
 * Bytes from guests that hosts have not taken yet, over all connections.
 *
 * The more such bytes there are, the smaller the windows that guests are offered: each connection may be offered a
 * quarter of what is left. Segments may still arrive within windows that were offered earlier. They are dropped once
 * their guest has as much as one guest may, or all guests as much as all may, and the guest retransmits them. A
 * connection whose host takes its bytes is spared: one segment at a time always passes. The same holds when this
 * network has used up its share of the process's memory.
 */

import { type ByteShare, unshared } from "../../core/byte-budget.ts";
import type { Limits } from "../../core/limits.ts";
import type { Link } from "../../core/link.ts";
import { Quota } from "../../core/quota.ts";

/** The largest window without scaling (RFC 9293 section 3.1). */
const LEAST_WINDOW = 0xffff;

/** A connection, as far as this budget is concerned. */
export interface Receiver {
  readonly cable: Link | null;
  /** Bytes that the connection's host has not taken, as last noted. */
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

  /** The largest window that a connection may be offered now, in bytes. */
  get window(): number {
    return Math.min(this.#window, Math.max(LEAST_WINDOW, this.#bytes.room / 4));
  }

  /** Whether some guest may have more than its share. */
  get crowded(): boolean {
    return this.#crowded || this.#bytes.room <= 0;
  }

  get used(): number {
    return this.#quota.used;
  }

  /** Whether another segment from a connection of the guest on `cable` would be too much. */
  full(cable: Link | null): boolean {
    return !this.#quota.allows(cable) || this.#bytes.room <= 0;
  }

  /** This many bytes of a connection wait for its host now. */
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
