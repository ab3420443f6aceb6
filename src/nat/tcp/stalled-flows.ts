/**
 * Connections that have something to send and cannot: their guest's cable is full, or the guest has none. They go on when
 * the cable has room, or the guest is found, and nobody asks in between.
 */
import type { Link } from "../../core/link.ts";
import type { Neighbour } from "../../proto/neighbours.ts";
import type { NatContext } from "../context.ts";

/** A connection, as far as it can be stalled. */
export interface StalledFlow {
  readonly guest: Neighbour;
  /** Sends what may go now, and sets its timers. */
  goOn(now: number): void;
}

export class StalledFlows {
  /** They found the cable full; the longest waiting first. */
  readonly #blocked: Set<StalledFlow> = new Set();
  /** Their guest is not known, or its cable is gone. */
  readonly #unresolved: Set<StalledFlow> = new Set();
  readonly #env: Pick<NatContext, "clock" | "resolve">;

  constructor(env: Pick<NatContext, "clock" | "resolve">) {
    this.#env = env;
  }

  /** The flow has found its guest's cable full. */
  blocked(flow: StalledFlow): void {
    this.#blocked.add(flow);
  }

  /** The flow's guest is not known, or its cable is gone. */
  unresolved(flow: StalledFlow): void {
    this.#unresolved.add(flow);
    this.#env.resolve(flow.guest);
  }

  /** A guest has been found. */
  resolved(guest: Neighbour): void {
    this.#goOn(this.#unresolved, guest);
  }

  /** A guest is on another cable than before: what the earlier one had no room for goes, too. */
  moved(guest: Neighbour): void {
    this.#goOn(this.#unresolved, guest);
    this.#goOn(this.#blocked, guest);
  }

  /**
   * A cable has room: whoever found it full goes on, the longest waiting first. Who fills it again goes behind those that
   * have not had their turn yet, and they keep their places: of two that could each fill the cable both are served.
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
