/** What was dropped: a counter for each reason, and a summary of the last second for those who listen. */
import { DROP_REASONS, type DropReason } from "../core/trace.ts";

/** At most one summary of a reason in so many milliseconds, so that a flood of drops is no flood of events. */
const WINDOW = 1000;

/** Drops for one reason within a second. */
export interface DropSummary {
  readonly reason: DropReason;
  /** Packets and connections dropped since the last summary. */
  readonly count: number;
  /** Since the network's start. */
  readonly total: number;
}

export class Drops {
  readonly #counts: Record<DropReason, number> = Object.fromEntries(DROP_REASONS.map((r) => [r, 0])) as never;
  /** As they were when the window began. */
  #before: Readonly<Record<DropReason, number>> | null = null;
  readonly #listening: () => boolean;
  readonly #tell: (drop: DropSummary) => void;
  #timer: NodeJS.Timeout | null = null;

  /** `tell` is called from a timer, and only for what was dropped while `listening`. */
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

  /** Tells what a window that has not ended holds, and ends it. */
  flush(): void {
    const before = this.#before;
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
    this.#before = null;
    if (before === null) return;
    // The listeners' own calls may drop more: that is the next window's.
    const now = this.counts();
    for (const reason of DROP_REASONS) {
      const count = now[reason] - before[reason];
      if (count > 0) this.#tell({ reason, count, total: now[reason] });
    }
  }
}
