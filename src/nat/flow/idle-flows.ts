/**
 * Flows that nothing but silence ends (UDP's, ICMP's): how many there may be, of a guest and of all, and that the
 * longest silent makes room for another, a guest's own when it is that guest who has too many.
 *
 * Each cable's flows stand in a heap of their own, so that the longest silent of one guest is found as fast as that of
 * all. A flow counts for the cable that its guest was on when it began. The heaps are lazy (`core/deadlines`): what
 * comes up first may have been used since, and is put back where it belongs.
 */
import { Deadlines, type Timed } from "../../core/deadlines.ts";
import type { Link } from "../../core/link.ts";

export interface IdleFlow extends Timed {
  /** When silence ends it. */
  expires: number;
  /** Where it counts. Kept by `IdleFlows`. */
  cable: Link | null;
}

export class IdleFlows<T extends IdleFlow> {
  readonly #most: number;
  readonly #mostEach: number;
  /** A cable without flows has no heap. */
  readonly #heaps: Map<Link | null, Deadlines<T>> = new Map();
  #size = 0;

  constructor(most: number, mostEach: number) {
    this.#most = most;
    this.#mostEach = mostEach;
  }

  get size(): number {
    return this.#size;
  }

  /** The earliest time at which one may have been silent long enough. */
  next(): number {
    let earliest = Number.POSITIVE_INFINITY;
    for (const heap of this.#heaps.values()) earliest = Math.min(earliest, heap.next());
    return earliest;
  }

  /** The flow that has to go before another of the guest's on `cable` begins; null when there is room. */
  surplus(cable: Link | null): T | null {
    const own = this.#heaps.get(cable);
    if (own !== undefined && own.size >= this.#mostEach) return this.#first(own, Number.MAX_VALUE);
    if (this.#size < this.#most) return null;
    let longest: T | null = null;
    for (const heap of this.#heaps.values()) {
      const first = this.#first(heap, Number.MAX_VALUE)!;
      if (longest === null || first.expires < longest.expires) longest = first;
    }
    return longest;
  }

  /** A flow of the guest's on `cable` has begun. True if it is the first of that cable's to end. */
  enter(flow: T, cable: Link | null, expires: number): boolean {
    let heap = this.#heaps.get(cable);
    if (heap === undefined) this.#heaps.set(cable, (heap = new Deadlines()));
    flow.cable = cable;
    flow.expires = expires;
    this.#size++;
    return heap.schedule(flow, expires);
  }

  /** It has been used. True if its end has come nearer and it is now the first of its cable's to end. */
  used(flow: T, expires: number): boolean {
    flow.expires = expires;
    return expires < flow.heapTime && this.#heaps.get(flow.cable)!.schedule(flow, expires);
  }

  /** It is over. */
  leave(flow: T): void {
    if (flow.heapIndex < 0) return;
    const heap = this.#heaps.get(flow.cable)!;
    heap.remove(flow);
    this.#size--;
    if (heap.size === 0) this.#heaps.delete(flow.cable);
  }

  /** One that has been silent long enough; null when there is none. The caller ends it. */
  due(now: number): T | null {
    for (const heap of this.#heaps.values()) {
      const first = this.#first(heap, now);
      if (first !== null) return first;
    }
    return null;
  }

  /** The first of a heap to end, if that is at `by` or before. */
  #first(heap: Deadlines<T>, by: number): T | null {
    for (let flow = heap.first; flow !== null && flow.heapTime <= by; flow = heap.first) {
      if (flow.expires <= flow.heapTime) return flow;
      heap.remove(flow);
      heap.schedule(flow, flow.expires);
    }
    return null;
  }
}
