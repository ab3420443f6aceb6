/**
 * The bytes that the connections of all networks in a process hold together: bytes that wait for guests and for hosts,
 * and bytes that arrived ahead of a gap.
 *
 * Each network has caps of its own, but a thousand networks at their caps would hold far more than a process can. So
 * they share a budget by the rule by which connections share their network's (dynamic thresholds): each network may
 * hold a quarter of the free bytes, and `LEAST` bytes in any case, which are set aside for as many networks as there
 * may be. A few networks may hold much each, many may hold little each, and a network that holds more than a quarter of
 * the free bytes gets no more.
 *
 * This rule bounds new bytes, but not bytes already under way: a window that was offered, a host's read that brings
 * more than expected, and the least that each connection may hold. So when the budget is exceeded, its owner is told
 * and ends the network that holds most. A network that holds little is never that one.
 */

/** Bytes that each network may hold in any case. */
const LEAST = 65_536;
/** The least part of the budget that is shared by quarters, however many networks there may be. */
const LEAST_SHARED = 0.25;

export class ByteBudget {
  readonly most: number;
  /** Bytes that all networks hold. */
  used = 0;
  readonly #shared: number;
  readonly #shares: Set<ByteShare> = new Set();
  readonly #onExceeded: () => void;

  /**
   * `most` is in bytes. `holders` is the greatest number of networks. `onExceeded` is called whenever bytes are added
   * beyond `most`, from inside the code that adds them, so it must not end a network at once.
   */
  constructor(most: number = Number.POSITIVE_INFINITY, holders = 0, onExceeded: () => void = () => {}) {
    this.most = most;
    this.#shared = Math.max(most - holders * LEAST, LEAST_SHARED * most);
    this.#onExceeded = onExceeded;
  }

  /** The share of a new network. */
  share(): ByteShare {
    const share = new ByteShare(this);
    this.#shares.add(share);
    return share;
  }

  get exceeded(): boolean {
    return this.used > this.most;
  }

  /** The share that holds most; null when there is none. */
  fullest(): ByteShare | null {
    let fullest: ByteShare | null = null;
    for (const share of this.#shares) if (fullest === null || share.held > fullest.held) fullest = share;
    return fullest;
  }

  /** How many bytes one network may hold now. */
  get each(): number {
    return Math.max(LEAST, (this.#shared - this.used) / 4);
  }

  /** Counts `more` bytes; a negative number counts them as released. */
  note(more: number): void {
    this.used += more;
    if (more > 0 && this.used > this.most) this.#onExceeded();
  }

  forget(share: ByteShare): void {
    this.#shares.delete(share);
  }
}

/** The bytes that one network holds of the budget. */
export class ByteShare {
  held = 0;
  readonly #budget: ByteBudget;
  #over = false;

  constructor(budget: ByteBudget) {
    this.#budget = budget;
  }

  /** Whether others share the budget. */
  get limited(): boolean {
    return this.#budget.most !== Number.POSITIVE_INFINITY;
  }

  /** Counts `more` bytes; a negative number counts them as released. */
  note(more: number): void {
    if (this.#over) return;
    this.held += more;
    this.#budget.note(more);
  }

  /** How many more bytes the network may hold; negative when it holds too many. */
  get room(): number {
    return this.#budget.each - this.held;
  }

  /** Whether the network may hold so many bytes more. */
  fits(more: number): boolean {
    return more <= this.room;
  }

  /** Releases all bytes; later calls of `note` have no effect. */
  close(): void {
    this.note(-this.held);
    this.#over = true;
    this.#budget.forget(this);
  }
}

/** A share of an unlimited budget, for a network that shares with no other. */
export function unshared(): ByteShare {
  return new ByteBudget().share();
}
