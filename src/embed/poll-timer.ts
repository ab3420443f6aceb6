/**
 * The one real timer that drives a stack. It is set anew when the stack's next deadline becomes earlier. When the
 * deadline becomes later, the timer fires as set, and then looks for the next deadline.
 */
import type { Clock } from "../core/clock.ts";

/** The longest delay of Node's timers, in milliseconds. */
const MAX_DELAY = 2 ** 31 - 1;

/** A stack, as its timer sees it. */
export interface Polled {
  /** Called when `pollAt()` has become earlier. */
  onPollAt: (() => void) | null;
  pollAt(): number;
  poll(now: number): void;
}

export class PollTimer {
  readonly #stack: Polled;
  readonly #clock: Clock;
  #timer: NodeJS.Timeout | null = null;
  #at: number = Number.POSITIVE_INFINITY;

  constructor(stack: Polled, clock: Clock) {
    this.#stack = stack;
    this.#clock = clock;
    stack.onPollAt = () => this.#arm();
  }

  close(): void {
    this.#stack.onPollAt = null;
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
  }

  #arm(): void {
    const at = this.#stack.pollAt();
    if (at >= this.#at) return;
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#at = at;
    const delay = Math.min(Math.max(0, Math.ceil(at - this.#clock.now())), MAX_DELAY);
    this.#timer = setTimeout(() => this.#fire(), delay);
  }

  #fire(): void {
    this.#timer = null;
    this.#at = Number.POSITIVE_INFINITY;
    try {
      this.#stack.poll(this.#clock.now());
    } finally {
      this.#arm();
    }
  }
}
