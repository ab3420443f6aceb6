/**
 * A bad line on purpose: delay, jitter, loss, duplication, reordering and a rate limit between guests and the network.
 *
 * Theory of operation. The first rule that matches a frame decides. A frame that is neither lost nor due at once is
 * copied into a queue, which is ordered by departure; one timer serves the queue. A rate is a virtual line that is busy
 * until the last frame has left it; delay and jitter come on top. Reordered frames overtake others: they leave without
 * the delay, as netem's do. Randomness is seeded, so a run can be repeated. Queues are limited in bytes; frames beyond
 * that are lost, as on a real line, and counted.
 */
import type { Clock } from "../core/clock.ts";
import { COMPLETE, type Link, type Slab } from "../core/link.ts";
import type { Random } from "../core/random.ts";
import type { FrameTap } from "../core/tap.ts";
import type { Trace } from "../core/trace.ts";
import { finished } from "./undone.ts";

/** What happens to one kind of traffic. Shares are from 0 to 1. */
export interface ImpairmentRule {
  /** Which frames the rule is about; null for all. */
  readonly filter: ((buf: Uint8Array, at: number, len: number) => boolean) | null;
  /** The direction of frames: from the guest, to the guest, or both. */
  readonly direction: "up" | "down" | "both";
  /** Delay in milliseconds. */
  readonly delay: number;
  /** The most that the delay varies by, up or down, in milliseconds; evenly distributed. */
  readonly jitter: number;
  readonly loss: number;
  readonly duplicate: number;
  readonly reorder: number;
  /** Bits per second; Infinity for no limit. */
  readonly rate: number;
}

/** Where frames from guests go on to, behind the tap. */
export interface ImpairmentTarget {
  deliver(link: Link, slab: Slab, at: number, len: number): void;
  batchEnd(link: Link): void;
}

export interface ImpairmentEnv {
  readonly target: ImpairmentTarget;
  readonly clock: Clock;
  readonly random: Random;
  readonly trace: Trace;
}

interface Held {
  readonly at: number;
  readonly order: number;
  readonly link: Link;
  readonly up: boolean;
  readonly frame: Uint8Array;
}

/** The virtual line of a rule's rate: one for each direction and cable. */
interface Line {
  busyUntil: number;
}

const QUEUE_BYTES = 4 * 1_048_576;
const U32 = 0x1_0000_0000;

export class Impairment implements FrameTap {
  readonly active = true;
  readonly byFrame = true;
  readonly #rules: readonly ImpairmentRule[];
  readonly #env: ImpairmentEnv;
  readonly #lines: Map<Link, Line[]> = new Map();
  /** Held frames, a heap by departure. */
  readonly #held: Held[] = [];
  #bytes = 0;
  #order = 0;
  #timer: NodeJS.Timeout | null = null;
  #timerAt: number = Number.POSITIVE_INFINITY;
  /** The frame being committed is one that has been held and is now released. */
  #releasing = false;

  constructor(rules: readonly ImpairmentRule[], env: ImpairmentEnv) {
    this.#rules = rules;
    this.#env = env;
  }

  /** How many frames are held. */
  get size(): number {
    return this.#held.length;
  }

  incoming(link: Link, slab: Slab, at: number, len: number, undone: number): boolean {
    if (undone === COMPLETE) return this.#passes(link, true, slab.bytes, at, len);
    this.#inPieces(link, slab, at, len, undone);
    return false;
  }

  /** A frame that will be cut into segments is treated piece by piece, as on a wire. */
  #inPieces(link: Link, slab: Slab, at: number, len: number, undone: number): void {
    const frames = finished(slab.bytes, at, len, undone);
    if (frames === null) return this.#env.trace.drop("offload-malformed");
    for (const frame of frames) {
      if (this.#passes(link, true, frame, 0, frame.length))
        this.#env.target.deliver(link, ownSlab(frame), 0, frame.length);
    }
  }

  outgoing(link: Link, bytes: Uint8Array, at: number, len: number): boolean {
    return this.#releasing || this.#passes(link, false, bytes, at, len);
  }

  /** A cable is gone, and its held frames with it. */
  detached(link: Link): void {
    this.#lines.delete(link);
    const rest = this.#held.filter((held) => held.link !== link);
    this.#held.length = 0;
    this.#bytes = 0;
    for (const held of rest) this.#push(held);
  }

  /** Releases all frames at once: the line is good again. */
  close(): void {
    this.#release(Number.POSITIVE_INFINITY);
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
  }

  #passes(link: Link, up: boolean, buf: Uint8Array, at: number, len: number): boolean {
    const index = this.#rules.findIndex(
      (r) => (r.direction === "both" || (r.direction === "up") === up) && (r.filter?.(buf, at, len) ?? true),
    );
    if (index < 0) return true;
    const rule = this.#rules[index]!;
    if (this.#chance(rule.loss)) {
      this.#env.trace.drop("impaired");
      return false;
    }
    const now = this.#env.clock.now();
    const copies = this.#chance(rule.duplicate) ? 2 : 1;
    for (let i = 0; i < copies; i++) {
      const leaves = this.#throughLine(link, index * 2 + (up ? 1 : 0), rule.rate, len, now);
      const departure = this.#chance(rule.reorder) ? leaves : leaves + this.#delay(rule);
      if (departure <= now && copies === 1) return true;
      this.#hold(link, up, buf, at, len, departure);
    }
    return false;
  }

  #chance(share: number): boolean {
    return share > 0 && this.#env.random.u32() < share * U32;
  }

  #delay(rule: ImpairmentRule): number {
    if (rule.jitter === 0) return rule.delay;
    return Math.max(0, rule.delay + (this.#env.random.u32() / U32 - 0.5) * 2 * rule.jitter);
  }

  /** When the frame's last bit has left a line of this rate. */
  #throughLine(link: Link, index: number, rate: number, len: number, now: number): number {
    if (rate === Number.POSITIVE_INFINITY) return now;
    let lines = this.#lines.get(link);
    if (lines === undefined) {
      lines = [];
      this.#lines.set(link, lines);
    }
    lines[index] ??= { busyUntil: 0 };
    const line = lines[index];
    line.busyUntil = Math.max(now, line.busyUntil) + (len * 8000) / rate;
    return line.busyUntil;
  }

  #hold(link: Link, up: boolean, buf: Uint8Array, at: number, len: number, departure: number): void {
    if (this.#bytes + len > QUEUE_BYTES) return this.#env.trace.drop("impaired-queue");
    this.#push({ at: departure, order: this.#order++, link, up, frame: buf.slice(at, at + len) });
    this.#arm();
  }

  #arm(): void {
    const first = this.#held[0];
    if (first === undefined || first.at >= this.#timerAt) return;
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timerAt = first.at;
    this.#timer = setTimeout(
      () => {
        this.#timer = null;
        this.#timerAt = Number.POSITIVE_INFINITY;
        this.#release(this.#env.clock.now());
        this.#arm();
      },
      Math.max(0, first.at - this.#env.clock.now()),
    );
  }

  #release(now: number): void {
    const links = new Set<Link>();
    for (let held = this.#pop(now); held !== null; held = this.#pop(now)) {
      const { link, frame } = held;
      links.add(link);
      if (held.up) {
        this.#env.target.deliver(link, ownSlab(frame), 0, frame.length);
        continue;
      }
      const o = link.reserve(frame.length);
      if (o < 0) {
        this.#env.trace.drop("cable-full");
        continue;
      }
      link.tx.set(frame, o);
      this.#releasing = true;
      link.commit(frame.length);
      this.#releasing = false;
    }
    for (const link of links) {
      this.#env.target.batchEnd(link);
      link.flush();
    }
  }

  #push(held: Held): void {
    const heap = this.#held;
    this.#bytes += held.frame.length;
    let i = heap.length;
    for (; i > 0; i = (i - 1) >> 1) {
      const parent = heap[(i - 1) >> 1]!;
      if (before(parent, held)) break;
      heap[i] = parent;
    }
    heap[i] = held;
  }

  #pop(now: number): Held | null {
    const heap = this.#held;
    const first = heap[0];
    if (first === undefined || first.at > now) return null;
    const last = heap.pop()!;
    this.#bytes -= first.frame.length;
    if (heap.length === 0) return first;
    let i = 0;
    for (;;) {
      let child = 2 * i + 1;
      if (child >= heap.length) break;
      if (child + 1 < heap.length && before(heap[child + 1]!, heap[child]!)) child++;
      if (!before(heap[child]!, last)) break;
      heap[i] = heap[child]!;
      i = child;
    }
    heap[i] = last;
    return first;
  }
}

/** A frame in memory of its own, where nothing else is ever written, so it needs no pins. */
function ownSlab(bytes: Uint8Array): Slab {
  return { bytes, scarce: false, pin() {}, unpin() {} };
}

function before(a: Held, b: Held): boolean {
  return a.at < b.at || (a.at === b.at && a.order < b.order);
}
