/** Counts drops by their reason, and tells listeners about those of the last second. */
import { userFailed } from "../attach/user-errors.ts";
import { DROP_REASONS, type DropReason } from "../core/trace.ts";

/** Milliseconds. Each reason has at most one summary in this time, so that a flood of drops is no flood of events. */
const WINDOW = 1000;

/** The drops for one reason within a second. */
export interface DropSummary {
  /** The reason, one of those in docs/drop-reasons.md. */
  readonly reason: DropReason;
  /** How many packets and connections were dropped since the last summary. */
  readonly count: number;
  /** How many were dropped for this reason since the network's start. */
  readonly total: number;
}

export class Drops {
  readonly #counts: Record<DropReason, number> = Object.fromEntries(DROP_REASONS.map((r) => [r, 0])) as never;
  /** The counts at the beginning of the window; null outside of one. */
  #before: Readonly<Record<DropReason, number>> | null = null;
  readonly #listening: () => boolean;
  readonly #tell: (drop: DropSummary) => void;
  #timer: NodeJS.Timeout | null = null;

  /**
   * `tell` is called from a timer. It hears only of drops in windows that began while `listening` was true. If it throws
   * about one reason, it is told of the others nevertheless.
   */
  constructor(listening: () => boolean, tell: (drop: DropSummary) => void) {
    this.#listening = listening;
    this.#tell = tell;
  }

  add(reason: DropReason): void {
    if (this.#timer === null && this.#listening()) {
      this.#before = { ...this.#counts };
      this.#timer = setTimeout(() => this.flush(), WINDOW).unref();
    }
    this.#counts[reason]++;
  }

  counts(): Record<DropReason, number> {
    return { ...this.#counts };
  }

  /** Tells of the drops in the current window, and ends that window. */
  flush(): void {
    const before = this.#before;
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
    this.#before = null;
    if (before === null) return;
    // If the listeners cause more drops, those belong to the next window.
    const now = this.counts();
    for (const reason of DROP_REASONS) {
      const count = now[reason] - before[reason];
      if (count > 0) this.#tellOf({ reason, count, total: now[reason] });
    }
  }

  #tellOf(drop: DropSummary): void {
    try {
      this.#tell(drop);
    } catch (error) {
      userFailed(error);
    }
  }
}
