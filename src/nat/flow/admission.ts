/**
 * How many flows there may be, of one guest and of all, and which flow makes room for another. A flow counts for the
 * cable that its guest was on when it began.
 *
 * - Flows that only silence ends (UDP's, ICMP's; `IdleAdmission`): the longest silent makes room, a guest's own when that
 *   guest has too many. Each cable's flows stand in a heap of their own, so that the longest silent of one guest is found
 *   as fast as that of all. The heaps are lazy (`core/deadlines`): what comes up first may have been used since, and is
 *   put back where it belongs.
 * - TCP connections (`TcpAdmission`): when too many are not established, the oldest of those goes, so that a destination
 *   that swallows SYNs, or a flood of them, keeps nobody from connecting elsewhere; and the flooder's own goes before
 *   another guest's. Its guest's next SYN dials anew. When there are too many in all, the oldest in TIME-WAIT goes, else
 *   there is no room.
 */
import { Deadlines, type Timed } from "../../core/deadlines.ts";
import type { Limits } from "../../core/limits.ts";
import type { Link } from "../../core/link.ts";
import { Quota } from "../../core/quota.ts";
import type { Trace } from "../../core/trace.ts";

export interface IdleFlow extends Timed {
  /** When silence ends it. */
  expires: number;
  /** Where it counts. Kept by `IdleAdmission`. */
  cable: Link | null;
}

export class IdleAdmission<T extends IdleFlow> {
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

/** A connection, as far as its place is concerned. */
export interface AdmittedTcp {
  readonly cable: Link | null;
  /** It makes room before it is established. */
  makeRoom(): void;
  /** Its TIME-WAIT ends early. */
  finish(): void;
}

export class TcpAdmission {
  readonly #trace: Trace;
  readonly #all: Quota;
  readonly #halfOpenQuota: Quota;
  /** Not established yet, the oldest first. */
  readonly #halfOpen: Set<AdmittedTcp> = new Set();
  /** The oldest first. */
  readonly #timeWait: Set<AdmittedTcp> = new Set();

  constructor(limits: Limits, trace: Trace) {
    this.#trace = trace;
    this.#all = new Quota(limits.tcpFlows, limits.tcpFlowsPerGuest);
    this.#halfOpenQuota = new Quota(limits.halfOpen, limits.halfOpenPerGuest);
  }

  /** Makes room for one more connection of the guest on `cable`. False, and counted, when there is none. */
  make(cable: Link | null): boolean {
    if (!this.#halfOpenQuota.allows(cable)) {
      oldest(this.#halfOpen, cable, this.#halfOpenQuota.fullFor(cable))!.makeRoom();
      this.#trace.drop("half-open-full");
    }
    if (this.#all.allows(cable)) return true;
    const finished = oldest(this.#timeWait, cable, this.#all.fullFor(cable));
    if (finished === null) {
      this.#trace.drop("flow-table-full");
      return false;
    }
    finished.finish();
    return true;
  }

  /** It has begun, and is not established. */
  enter(flow: AdmittedTcp): void {
    this.#all.take(flow.cable);
    this.#halfOpenQuota.take(flow.cable);
    this.#halfOpen.add(flow);
  }

  established(flow: AdmittedTcp): void {
    if (this.#halfOpen.delete(flow)) this.#halfOpenQuota.give(flow.cable);
  }

  /** It is in TIME-WAIT. */
  finished(flow: AdmittedTcp): void {
    this.#timeWait.add(flow);
  }

  /** It has left the table. */
  leave(flow: AdmittedTcp): void {
    this.#all.give(flow.cable);
    this.#timeWait.delete(flow);
    this.established(flow);
  }
}

/** The oldest of a guest's own; if it has none, and need not make room itself, of all. */
function oldest(flows: ReadonlySet<AdmittedTcp>, cable: Link | null, own: boolean): AdmittedTcp | null {
  let first: AdmittedTcp | null = null;
  for (const flow of flows) {
    if (flow.cable === cable) return flow;
    first ??= flow;
  }
  return own ? null : first;
}
