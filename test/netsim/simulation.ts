/**
 * Time and wire of the network simulation: everything happens on one manual clock, from one seed, so a run is the same
 * every time and a simulated minute takes a fraction of a second.
 */
import type { Clock } from "../../src/core/clock.ts";
import type { Random } from "../../src/core/random.ts";
import { seeded } from "../support/tcb-pair.ts";

/** What has deadlines: a guest, a stack. */
export interface Pollable {
  pollAt(): number;
  poll(now: number): void;
}

export interface Impairment {
  /** Probabilities per frame. */
  readonly loss?: number;
  readonly duplicate?: number;
  /** A reordered frame is held back by up to `holdBack` milliseconds more. */
  readonly reorder?: number;
  readonly holdBack?: number;
  /** One way, in milliseconds. */
  readonly delay?: number;
  /** Megabits per second; frames queue behind each other. */
  readonly rate?: number;
}

interface Event {
  readonly at: number;
  readonly order: number;
  readonly run: () => void;
}

export class Simulation implements Clock {
  readonly chance: () => number;
  readonly random: Random;
  readonly pollables: Pollable[] = [];
  /** Called after whatever happened: the fake host's turn. True as long as that made something else happen. */
  turn: () => boolean = () => false;
  readonly #events: Event[] = [];
  #order = 0;
  #now = 1_000;

  constructor(seed: number) {
    this.chance = seeded(seed);
    const words = seeded(seed ^ 0x5eed);
    this.random = { u32: () => Math.floor(words() * 0x1_0000_0000) };
  }

  now(): number {
    return this.#now;
  }

  at(time: number, run: () => void): void {
    const event = { at: time, order: this.#order++, run };
    let low = 0;
    let high = this.#events.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      const e = this.#events[middle]!;
      if (e.at < time || (e.at === time && e.order < event.order)) low = middle + 1;
      else high = middle;
    }
    this.#events.splice(low, 0, event);
  }

  /** Steps until `done()`. Throws when nothing more can happen, or after `limit` simulated milliseconds. */
  run(done: () => boolean, limit = 600_000): void {
    const until = this.#now + limit;
    while (!done()) this.#step(until);
  }

  /** Steps until the promise settles. */
  async settle<T>(promise: Promise<T>, limit = 600_000): Promise<T> {
    const until = this.#now + limit;
    let settled = false;
    const mark = () => {
      settled = true;
    };
    promise.then(mark, mark);
    for (;;) {
      // What a step has resolved is continued in microtasks, several deep.
      for (let i = 0; i < 8; i++) await null;
      if (settled) return promise;
      this.#step(until);
    }
  }

  /** Lets `millis` pass. */
  pass(millis: number): void {
    let over = false;
    this.at(this.#now + millis, () => {
      over = true;
    });
    this.run(() => over, millis + 1);
  }

  #step(until: number): void {
    let next = this.#events[0]?.at ?? Number.POSITIVE_INFINITY;
    for (const pollable of this.pollables) next = Math.min(next, pollable.pollAt());
    if (next === Number.POSITIVE_INFINITY) throw new Error(`nothing left to happen at ${this.#now} ms`);
    if (next > until) throw new Error(`not done by ${until} ms`);
    this.#now = Math.max(this.#now, next);
    while (this.#events.length > 0 && this.#events[0]!.at <= this.#now) this.#events.shift()!.run();
    for (const pollable of this.pollables) if (pollable.pollAt() <= this.#now) pollable.poll(this.#now);
    while (this.turn());
  }
}

/** One end of a wire, shaped like a guest's cable. */
export interface WireEnd {
  send(frame: Uint8Array): void;
  onFrame: ((frame: Uint8Array) => void) | null;
}

export interface WireCounts {
  sent: number;
  lost: number;
  duplicated: number;
  reordered: number;
}

/** Two ends; what one sends the other gets later, twice, or never. The impairment may be changed on the way. */
export class Wire {
  readonly a: WireEnd = { send: (frame) => this.#carry(frame, 0, this.b), onFrame: null };
  readonly b: WireEnd = { send: (frame) => this.#carry(frame, 1, this.a), onFrame: null };
  readonly counts: WireCounts = { sent: 0, lost: 0, duplicated: 0, reordered: 0 };
  impairment: Impairment;
  /** Frames for which it is true are lost. */
  filter: ((frame: Uint8Array, fromA: boolean) => boolean) | null = null;
  readonly #sim: Simulation;
  readonly #busyUntil: [number, number] = [0, 0];

  constructor(sim: Simulation, impairment: Impairment = {}) {
    this.#sim = sim;
    this.impairment = impairment;
  }

  #carry(frame: Uint8Array, side: 0 | 1, to: WireEnd): void {
    const { loss = 0, duplicate = 0, reorder = 0, holdBack = 5, delay = 1, rate } = this.impairment;
    const sim = this.#sim;
    this.counts.sent++;
    if (this.filter?.(frame, side === 0) || sim.chance() < loss) {
      this.counts.lost++;
      return;
    }
    const bytes = frame.slice();
    let at = sim.now();
    if (rate !== undefined) {
      at = Math.max(at, this.#busyUntil[side]) + (bytes.length * 8) / (rate * 1_000);
      this.#busyUntil[side] = at;
    }
    at += delay;
    if (sim.chance() < reorder) {
      this.counts.reordered++;
      at += sim.chance() * holdBack;
    }
    sim.at(at, () => to.onFrame?.(bytes));
    if (sim.chance() < duplicate) {
      this.counts.duplicated++;
      sim.at(at + sim.chance() * holdBack, () => to.onFrame?.(bytes.slice()));
    }
  }
}
