/**
 * Keeps the event loop awake for some microseconds after traffic, if more is likely to come at once.
 *
 * A request and its answer pass us in two turns of the event loop, tens of microseconds apart. A process that sleeps
 * between them is woken for each: an interrupt to another processor, which may have to come out of a halt. On a virtual
 * machine that costs more than all that is done with the packet. So for `micros` after a packet the loop does not sleep,
 * but asks the kernel again and again, as network drivers (`net.core.busy_poll`) and hypervisors (`halt_poll_ns`) do.
 *
 * That is only worth its processor time where the gap was short lately, and nothing is gained where there is much to
 * carry: then a turn that comes later carries more. So it begins when two packets were less than `NEAR` apart, and not
 * while more than `BULK` passes. Traffic that comes now and then never makes it spin, nor does an idle guest.
 */

/** Milliseconds. A gap contains the wake-up, which spinning would save: so it may be a few times `micros`. */
const NEAR = 0.2;
/** Bytes a millisecond, 0.4 Gbit/s, and how often that is looked at. */
const BULK = 50_000;
const LOOK_MILLIS = 1;

/** The parts of the process that it needs; tests have their own. */
export interface Loop {
  /** Milliseconds with fractions, monotonic. */
  now(): number;
  /** Calls `run` in the next turn, which then does not wait for events. */
  next(run: () => void): void;
}

const NODE: Loop = { now: () => performance.now(), next: (run) => void setImmediate(run) };

export class BusyPoll {
  readonly #millis: number;
  readonly #moved: () => number;
  readonly #loop: Loop;
  readonly #turn: () => void = () => this.#poll();
  /** When something last happened. */
  #last = Number.NEGATIVE_INFINITY;
  #polling = false;
  /** When bytes were last looked at, how many had passed by then, and what came of it. */
  #looked = Number.NEGATIVE_INFINITY;
  #before = 0;
  #bulk = false;

  /** `micros`: how long after a packet; 0 never polls. `moved`: bytes that have passed in all. */
  constructor(micros: number, moved: () => number, loop: Loop = NODE) {
    this.#millis = micros / 1000;
    this.#moved = moved;
    this.#loop = loop;
  }

  /** A guest or a host has said something. */
  stir(): void {
    if (this.#millis === 0) return;
    const now = this.#loop.now();
    const near = now - this.#last < NEAR;
    this.#last = now;
    if (now - this.#looked >= LOOK_MILLIS) this.#look(now);
    if (this.#polling || !near || this.#bulk) return;
    this.#polling = true;
    this.#loop.next(this.#turn);
  }

  #poll(): void {
    if (!this.#bulk && this.#loop.now() - this.#last < this.#millis) this.#loop.next(this.#turn);
    else this.#polling = false;
  }

  #look(now: number): void {
    const moved = this.#moved();
    this.#bulk = moved - this.#before > BULK * (now - this.#looked);
    this.#before = moved;
    this.#looked = now;
  }
}
