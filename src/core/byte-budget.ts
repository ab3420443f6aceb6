/**
 * How many bytes of connections the networks of a process hold together: what waits for guests and for hosts, and what came
 * before its turn.
 *
 * Each network has caps of its own, which a thousand networks together are far above what a process can have. So they
 * share a budget by the rule that connections share a network's (dynamic thresholds): each may have a quarter of what is
 * left, and a little in any case, which is kept back for all that there may be. Whoever comes first takes much, many take
 * little, and who holds more than a quarter of what is left is given no more.
 *
 * That bounds what is asked for, not what is under way already: a window that was offered, a host's read that brings more
 * than was expected, and the least that each connection has. So there is an end to it: when the budget is exceeded the owner
 * is told, who ends the network that holds most. A small one is never that.
 */

/** What each may have in any case. */
const LEAST = 65_536;
/** What shares are taken of, at the least, as a part of the budget. */
const LEAST_SHARED = 0.25;

export class ByteBudget {
  readonly most: number;
  /** Held by all. */
  used = 0;
  readonly #shared: number;
  readonly #shares: Set<ByteShare> = new Set();
  readonly #onExceeded: () => void;

  /** `holders`: how many there may be. `onExceeded` is called at every byte too much: it may not end anybody at once. */
  constructor(most: number = Number.POSITIVE_INFINITY, holders = 0, onExceeded: () => void = () => {}) {
    this.most = most;
    this.#shared = Math.max(most - holders * LEAST, LEAST_SHARED * most);
    this.#onExceeded = onExceeded;
  }

  /** A part of it for somebody who comes. */
  share(): ByteShare {
    const share = new ByteShare(this);
    this.#shares.add(share);
    return share;
  }

  get exceeded(): boolean {
    return this.used > this.most;
  }

  /** Who holds most; null when there is nobody. */
  fullest(): ByteShare | null {
    let fullest: ByteShare | null = null;
    for (const share of this.#shares) if (fullest === null || share.held > fullest.held) fullest = share;
    return fullest;
  }

  /** What one may hold now. */
  get each(): number {
    return Math.max(LEAST, (this.#shared - this.used) / 4);
  }

  /** So many more are held, or fewer. */
  note(more: number): void {
    this.used += more;
    if (more > 0 && this.used > this.most) this.#onExceeded();
  }

  forget(share: ByteShare): void {
    this.#shares.delete(share);
  }
}

/** What one network holds of it. */
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

  /** So many more are held, or fewer. */
  note(more: number): void {
    if (this.#over) return;
    this.held += more;
    this.#budget.note(more);
  }

  /** How much more it may hold; less than nothing when it holds too much. */
  get room(): number {
    return this.#budget.each - this.held;
  }

  /** Nothing is held any more, whatever is told from now on. */
  close(): void {
    this.note(-this.held);
    this.#over = true;
    this.#budget.forget(this);
  }
}

/** For a network that shares with nobody. */
export function unshared(): ByteShare {
  return new ByteBudget().share();
}
