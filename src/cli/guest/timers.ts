import type { Clock } from "../../core/clock.ts";

/** Timers on an injected clock. There are so few that they are searched one by one. */
export class Timers {
  readonly #clock: Clock;
  readonly #pending: Set<{ at: number; run: () => void }> = new Set();
  readonly #changed: () => void;

  constructor(clock: Clock, changed: () => void) {
    this.#clock = clock;
    this.#changed = changed;
  }

  /** Calls `run` once, `millis` milliseconds from now, unless the returned function is called before. */
  after(millis: number, run: () => void): () => void {
    const timer = { at: this.#clock.now() + millis, run };
    this.#pending.add(timer);
    this.#changed();
    return () => this.#pending.delete(timer);
  }

  pollAt(): number {
    let at = Number.POSITIVE_INFINITY;
    for (const timer of this.#pending) at = Math.min(at, timer.at);
    return at;
  }

  poll(now: number): void {
    for (const timer of [...this.#pending]) {
      if (timer.at <= now && this.#pending.delete(timer)) timer.run();
    }
  }
}

/** Polls a guest at its next deadline, by a real timer. Returns a function that stops this. */
export function runOnTimers(guest: {
  readonly clock: Clock;
  onPollAt: (() => void) | null;
  pollAt(): number;
  poll(now: number): void;
}): () => void {
  let timer: NodeJS.Timeout | undefined;
  let timerAt = Number.POSITIVE_INFINITY;
  const arm = (): void => {
    const at = guest.pollAt();
    if (at >= timerAt) return;
    clearTimeout(timer);
    timerAt = at;
    timer = setTimeout(fire, Math.max(0, Math.ceil(at - guest.clock.now())));
  };
  const fire = (): void => {
    timerAt = Number.POSITIVE_INFINITY;
    guest.poll(guest.clock.now());
    arm();
  };
  guest.onPollAt = arm;
  arm();
  return () => {
    guest.onPollAt = null;
    clearTimeout(timer);
  };
}
