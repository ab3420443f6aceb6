/**
 * Room for TCP connections: how many there may be, of a guest and of all, and which one goes for another.
 *
 * When too many are not established, the oldest of those goes, so that a destination that swallows SYNs, or a flood of
 * them, keeps nobody from connecting elsewhere; and the flooder's own before another guest's. Its guest's next SYN dials
 * anew. When there are too many in all, the oldest in TIME-WAIT goes, else there is no room. A connection counts for the
 * cable that its guest was on when it began.
 */

import type { Limits } from "../../core/limits.ts";
import type { Link } from "../../core/link.ts";
import { Quota } from "../../core/quota.ts";
import type { Trace } from "../../core/trace.ts";
import type { TcpFlow } from "./tcp-flow.ts";

export class TcpAdmission {
  readonly #trace: Trace;
  readonly #all: Quota;
  readonly #halfOpenQuota: Quota;
  /** Not established yet, the oldest first. */
  readonly #halfOpen: Set<TcpFlow> = new Set();
  /** The oldest first. */
  readonly #timeWait: Set<TcpFlow> = new Set();

  constructor(limits: Limits, trace: Trace) {
    this.#trace = trace;
    this.#all = new Quota(limits.tcpFlows, limits.tcpFlowsPerGuest);
    this.#halfOpenQuota = new Quota(limits.halfOpen, limits.halfOpenPerGuest);
  }

  /** Makes room for one more connection of the guest on `cable`. False, and counted, when there is none. */
  make(cable: Link | null): boolean {
    if (!this.#halfOpenQuota.allows(cable)) {
      oldest(this.#halfOpen, cable, this.#halfOpenQuota.fullFor(cable))!.forget();
      this.#trace.drop("half-open-full");
    }
    if (this.#all.allows(cable)) return true;
    const finished = oldest(this.#timeWait, cable, this.#all.fullFor(cable));
    if (finished === null) {
      this.#trace.drop("flow-table-full");
      return false;
    }
    finished.tcb.finish();
    return true;
  }

  /** It has begun, and is not established. */
  enter(flow: TcpFlow): void {
    this.#all.take(flow.cable);
    this.#halfOpenQuota.take(flow.cable);
    this.#halfOpen.add(flow);
  }

  established(flow: TcpFlow): void {
    if (this.#halfOpen.delete(flow)) this.#halfOpenQuota.give(flow.cable);
  }

  /** It is in TIME-WAIT. */
  finished(flow: TcpFlow): void {
    this.#timeWait.add(flow);
  }

  /** It has left the table. */
  leave(flow: TcpFlow): void {
    this.#all.give(flow.cable);
    this.#timeWait.delete(flow);
    this.established(flow);
  }
}

/** The oldest of a guest's own; if it has none, and need not make room itself, of all. */
function oldest(flows: ReadonlySet<TcpFlow>, cable: Link | null, own: boolean): TcpFlow | null {
  let first: TcpFlow | null = null;
  for (const flow of flows) {
    if (flow.cable === cable) return flow;
    first ??= flow;
  }
  return own ? null : first;
}
