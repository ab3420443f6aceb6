/**
 * Connections that have something to send and cannot, because their guest's cable is full or the guest has no cable.
 * They go on when the cable has room or the guest is found; nothing polls them in between.
 */
import type { Link } from "../../core/link.ts";
import type { Neighbour } from "../../proto/neighbours.ts";
import type { NatContext } from "../context.ts";

/** A connection, as far as stalling is concerned. */
export interface StalledFlow {
  readonly guest: Neighbour;
  /** Sends what may go now, and sets its timers. */
  goOn(now: number): void;
}

export class StalledFlows {
  /** Flows that found their cable full, the longest waiting first. */
  readonly #blocked: Set<StalledFlow> = new Set();
  /** Flows whose guest has no known MAC or cable. */
  readonly #unresolved: Set<StalledFlow> = new Set();
  readonly #env: Pick<NatContext, "clock" | "resolve">;

  constructor(env: Pick<NatContext, "clock" | "resolve">) {
    this.#env = env;
  }

  /** The flow has found its guest's cable full. */
  blocked(flow: StalledFlow): void {
    this.#blocked.add(flow);
  }

  /** The flow's guest has no known MAC or cable. */
  unresolved(flow: StalledFlow): void {
    this.#unresolved.add(flow);
    this.#env.resolve(flow.guest);
  }

  /** A guest has been found. */
  resolved(guest: Neighbour): void {
    this.#goOn(this.#unresolved, guest);
  }

  /** A guest is on another cable than before. Its flows that found the earlier cable full go on, too. */
  moved(guest: Neighbour): void {
    this.#goOn(this.#unresolved, guest);
    this.#goOn(this.#blocked, guest);
  }

  /**
   * A cable has room: the flows that found it full go on, the longest waiting first. A flow that fills it again goes to
   * the back, behind flows that have not had their turn. So of two flows that could each fill the cable both are
   * served.
   */
  writable(link: Link, now: number): void {
    for (const flow of this.#blocked) {
      if (flow.guest.link !== link) continue;
      this.#blocked.delete(flow);
      flow.goOn(now);
      if (this.#blocked.has(flow)) return;
    }
  }

  /** The flow is over. */
  forget(flow: StalledFlow): void {
    this.#blocked.delete(flow);
    this.#unresolved.delete(flow);
  }

  #goOn(flows: Set<StalledFlow>, guest: Neighbour): void {
    if (flows.size === 0) return;
    const now = this.#env.clock.now();
    for (const flow of [...flows]) {
      if (flow.guest !== guest) continue;
      flows.delete(flow);
      flow.goOn(now);
    }
  }
}
