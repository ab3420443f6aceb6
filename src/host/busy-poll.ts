/**
 * Keeps the event loop awake for some microseconds after traffic, if more is likely to follow at once.
 *
 * A request and its answer pass us in two turns of the event loop, tens of microseconds apart. A process that sleeps
 * between them is woken for each: an interrupt to another processor, which may have to leave a halt. On a virtual
 * machine that costs more than all the work for the packet. So for `micros` after a packet the loop does not sleep, but
 * asks the kernel again and again, as network drivers (`net.core.busy_poll`) and hypervisors (`halt_poll_ns`) do.
 *
 * That is worth its processor time only if packets have lately followed each other closely. It gains nothing under bulk
 * traffic, where a later turn carries more: neither where many bytes pass, nor where many small datagrams come together.
 * So polling begins when two packets were less than `NEAR` apart, and not while more than `BULK` passes, or while more
 * than `MANY` packets come together. Occasional traffic never makes it spin, nor does an idle guest.
 */

/**
 * Milliseconds between two packets. The gap includes the wake-up that polling would save, so it may be several
 * `micros`.
 */
const NEAR = 0.2;
/**
 * Packets that are no further apart, in milliseconds, came by one wake-up. Beyond so many of one wake-up they count, since
 * an answer may be reported twice; and so many that count in a millisecond are bulk traffic.
 */
const TOGETHER = 0.01;
const FEW = 4;
const MANY = 16;
/** Bytes a millisecond (0.4 Gbit/s), and the interval in which they are counted. */
const BULK = 50_000;
const LOOK_MILLIS = 1;

/** The parts of the process that polling needs; tests have their own. */
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
  /** When a packet last came, in milliseconds. */
  #last = Number.NEGATIVE_INFINITY;
  #polling = false;
  /**
   * When bytes were last counted, how many had passed by then, how many packets have come together since, and whether
   * that was bulk traffic.
   */
  #looked = Number.NEGATIVE_INFINITY;
  #before = 0;
  #together = 0;
  /** How many packets have come together up to now. */
  #train = 0;
  #bulk = false;

  /** `micros`: how long to poll after a packet; 0 never polls. `moved`: how many bytes have passed in all. */
  constructor(micros: number, moved: () => number, loop: Loop = NODE) {
    this.#millis = micros / 1000;
    this.#moved = moved;
    this.#loop = loop;
  }

  /** A packet has come from a guest or a host. */
  stir(): void {
    if (this.#millis === 0) return;
    const now = this.#loop.now();
    const gap = now - this.#last;
    const near = gap < NEAR;
    if (gap >= TOGETHER) this.#train = 0;
    else if (++this.#train >= FEW) this.#together++;
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
    const millis = now - this.#looked;
    this.#bulk = moved - this.#before > BULK * millis || this.#together > MANY * millis;
    this.#before = moved;
    this.#together = 0;
    this.#looked = now;
  }
}
