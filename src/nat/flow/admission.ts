/**
 * How many flows there may be, of one guest and of all, and which flow makes room for another. A flow counts for the
 * cable that its guest was on when the flow began.
 *
 * - Flows that only silence ends (UDP's and ICMP's; `IdleAdmission`): the flow that has been silent longest makes room.
 *   If one guest has too many, that is one of its own. Each cable's flows stand in a heap of their own, so the longest
 *   silent flow of one guest is found as fast as that of all. The heaps are lazy (`core/deadlines`): a flow that comes
 *   up first may have been used since it was put there, and is then put back in its place.
 * - TCP connections (`TcpAdmission`): when too many are not established, the oldest of those goes. So a destination
 *   that swallows SYNs, or a flood of SYNs, keeps nobody from connecting elsewhere. The flooding guest's own
 *   connections go before another guest's. The guest's next SYN dials anew. When there are too many connections in all,
 *   the oldest one in TIME-WAIT goes; if there is none, the new connection is refused.
 */
import { Deadlines, type Timed } from "../../core/deadlines.ts";
import type { Limits } from "../../core/limits.ts";
import type { Link } from "../../core/link.ts";
import { Quota } from "../../core/quota.ts";
import type { Trace } from "../../core/trace.ts";

export interface IdleFlow extends Timed {
  /** The time at which silence ends the flow. */
  expires: number;
  /** The cable that the flow counts for. Kept by `IdleAdmission`. */
  cable: Link | null;
}

export class IdleAdmission<T extends IdleFlow> {
  readonly #most: number;
  readonly #mostEach: number;
  /** A heap for each cable that has flows. */
  readonly #heaps: Map<Link | null, Deadlines<T>> = new Map();
  #size = 0;

  constructor(most: number, mostEach: number) {
    this.#most = most;
    this.#mostEach = mostEach;
  }

  get size(): number {
    return this.#size;
  }

  /** The earliest time at which a flow may have been silent long enough. */
  next(): number {
    let earliest = Number.POSITIVE_INFINITY;
    for (const heap of this.#heaps.values()) earliest = Math.min(earliest, heap.next());
    return earliest;
  }

  /** The flow that has to end before another flow of the guest on `cable` begins; null when there is room. */
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

  /** A flow of the guest on `cable` has begun. True if it is the next of that cable's flows to end. */
  enter(flow: T, cable: Link | null, expires: number): boolean {
    let heap = this.#heaps.get(cable);
    if (heap === undefined) this.#heaps.set(cable, (heap = new Deadlines()));
    flow.cable = cable;
    flow.expires = expires;
    this.#size++;
    return heap.schedule(flow, expires);
  }

  /**
   * A flow has been used. True if its end is now earlier than before and it is the next of its cable's flows to end.
   */
  used(flow: T, expires: number): boolean {
    flow.expires = expires;
    return expires < flow.heapTime && this.#heaps.get(flow.cable)!.schedule(flow, expires);
  }

  /** A flow has ended. */
  leave(flow: T): void {
    if (flow.heapIndex < 0) return;
    const heap = this.#heaps.get(flow.cable)!;
    heap.remove(flow);
    this.#size--;
    if (heap.size === 0) this.#heaps.delete(flow.cable);
  }

  /** A flow that has been silent long enough; null when there is none. The caller ends it. */
  due(now: number): T | null {
    for (const heap of this.#heaps.values()) {
      const first = this.#first(heap, now);
      if (first !== null) return first;
    }
    return null;
  }

  /** The next flow of a heap to end, if it ends at `by` or before. */
  #first(heap: Deadlines<T>, by: number): T | null {
    for (let flow = heap.first; flow !== null && flow.heapTime <= by; flow = heap.first) {
      if (flow.expires <= flow.heapTime) return flow;
      heap.remove(flow);
      heap.schedule(flow, flow.expires);
    }
    return null;
  }
}

/** A TCP connection, as far as admission is concerned. */
export interface AdmittedTcp {
  readonly cable: Link | null;
  /** Ends the connection, which is not established, so that another one fits. */
  makeRoom(): void;
  /** Ends the connection's TIME-WAIT early. */
  finish(): void;
}

export class TcpAdmission {
  readonly #trace: Trace;
  readonly #all: Quota;
  readonly #halfOpenQuota: Quota;
  /** Connections that are not established, the oldest first. */
  readonly #halfOpen: Set<AdmittedTcp> = new Set();
  /** Connections in TIME-WAIT, the oldest first. */
  readonly #timeWait: Set<AdmittedTcp> = new Set();

  constructor(limits: Limits, trace: Trace) {
    this.#trace = trace;
    this.#all = new Quota(limits.tcpFlows, limits.tcpFlowsPerGuest);
    this.#halfOpenQuota = new Quota(limits.halfOpen, limits.halfOpenPerGuest);
  }

  /**
   * Makes room for one more connection of the guest on `cable`. False, and counted as a drop, when there is no room.
   */
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

  /** A connection has begun; it is not established yet. */
  enter(flow: AdmittedTcp): void {
    this.#all.take(flow.cable);
    this.#halfOpenQuota.take(flow.cable);
    this.#halfOpen.add(flow);
  }

  established(flow: AdmittedTcp): void {
    if (this.#halfOpen.delete(flow)) this.#halfOpenQuota.give(flow.cable);
  }

  /** A connection has entered TIME-WAIT. */
  finished(flow: AdmittedTcp): void {
    this.#timeWait.add(flow);
  }

  /** A connection has left the table. */
  leave(flow: AdmittedTcp): void {
    this.#all.give(flow.cable);
    this.#timeWait.delete(flow);
    this.established(flow);
  }
}

/** The oldest of a guest's own connections. If it has none, the oldest of all guests', unless only its `own` may go. */
function oldest(flows: ReadonlySet<AdmittedTcp>, cable: Link | null, own: boolean): AdmittedTcp | null {
  let first: AdmittedTcp | null = null;
  for (const flow of flows) {
    if (flow.cable === cable) return flow;
    first ??= flow;
  }
  return own ? null : first;
}
