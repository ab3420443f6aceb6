/**
 * All flows of a network, of every kind: whatever happens to a guest, a cable or the rules happens to its flows here, so
 * that no kind of flow can be forgotten.
 *
 * Theory of operation. Flows stand by the guest's address record (`Neighbour`) that they began with. Three things end
 * them from outside:
 *
 * - **The guest is gone.** Its cable has been unplugged, or its address was found to be nobody's. That may be a
 *   reconnect, so its flows wait; but time goes on (retransmissions that cannot be sent count), and after
 *   `absentSeconds` without a word from the guest its flows end. A forward's flows that began towards an absent guest
 *   wait as long.
 * - **The address changes hands.** Another MAC is another guest. The flows of the guest before end at once, before anything
 *   is sent to the new one.
 * - **The rules change.** Each flow is asked (`Flow.revisit`).
 *
 * A guest that comes back, on whatever cable, has its flows go on at once; what was owed to it on the old cable goes by
 * the new one.
 */
import type { Clock } from "../../core/clock.ts";
import type { Trace } from "../../core/trace.ts";
import type { Neighbour, NeighbourWatcher } from "../../proto/neighbours.ts";
import { leaveAll, NO_METERS } from "../rules/meters.ts";
import type { RuleGate } from "../rules/rule-gate.ts";
import type { CloseReason } from "./close-reason.ts";
import { CLOSED_FLOW, type Flow, type GuestError } from "./flow.ts";

/** The stack's, as far as the registry needs it. */
interface Surroundings {
  readonly clock: Clock;
  readonly trace: Trace;
  wake(): void;
}

/** A protocol's tables, of every kind of flow that it has. */
export interface FlowFinder {
  /** The flow between a guest's port and the far end whose address stands at `farAt`; ports as above. */
  find(guest: Neighbour, buf: Uint8Array, farAt: number, ports: number): Flow | null;
}

export class FlowRegistry implements NeighbourWatcher {
  readonly #env: Surroundings;
  readonly #absentMs: number;
  readonly #byGuest: Map<Neighbour, Set<Flow>> = new Map();
  /** Guests with flows and without a cable, and when their flows end: the earliest first. */
  readonly #absent: Map<Neighbour, number> = new Map();
  /** By IP's number of the protocol. */
  readonly #finders: Map<number, FlowFinder> = new Map();
  /** Told of a guest that has a (new) cable, after its flows may go on. */
  readonly #returned: (guest: Neighbour) => void;

  /** Flows of a guest that is gone end after `absentSeconds`. `returned` is told of a guest that is back. */
  constructor(env: Surroundings, absentSeconds: number, returned: (guest: Neighbour) => void) {
    this.#env = env;
    this.#absentMs = absentSeconds * 1000;
    this.#returned = returned;
  }

  /** A protocol's tables are there, under IP's number of it. */
  serve(proto: number, finder: FlowFinder): void {
    this.#finders.set(proto, finder);
  }

  /** A flow has begun: it is in its table and counts. */
  enter(flow: Flow): void {
    const { guest } = flow;
    let flows = this.#byGuest.get(guest);
    if (flows === undefined) this.#byGuest.set(guest, (flows = new Set()));
    flows.add(flow);
    if (guest.link === null) this.#miss(guest);
  }

  /** Users are told of a new flow. */
  opened(flow: Flow): void {
    const { proto, direction, farName: host } = flow;
    this.#env.trace.event({ type: "flow-open", proto, ...flow.ends, host, direction });
  }

  /** A flow is over: it has left its table. Counts no longer, and users are told. */
  leave(flow: Flow, reason: CloseReason): void {
    flow.flowState = CLOSED_FLOW;
    leaveAll(flow.meters);
    flow.meters = NO_METERS;
    const { guest, proto, bytesUp, bytesDown, farName: host } = flow;
    const flows = this.#byGuest.get(guest);
    if (flows?.delete(flow) && flows.size === 0) {
      this.#byGuest.delete(guest);
      this.#absent.delete(guest);
    }
    if (!flow.listed) return;
    const { rtt, retransmissions } = flow.counts;
    const counted = proto === "tcp" ? { bytesUp, bytesDown, retransmissions, rtt } : { bytesUp, bytesDown };
    this.#env.trace.event({ type: "flow-close", proto, ...flow.ends, host, ...counted, reason });
  }

  /** All of them, guest by guest. */
  *[Symbol.iterator](): IterableIterator<Flow> {
    for (const flows of this.#byGuest.values()) yield* flows;
  }

  /** The rules have changed: what may not go on ends. */
  revisit(gate: RuleGate): void {
    for (const flow of [...this]) {
      if (flow.flowState === CLOSED_FLOW) continue;
      const reason = flow.revisit(gate);
      if (reason !== null) flow.close(reason);
    }
  }

  /**
   * A guest says why a packet from the address at `farAt` did not arrive: the flow that the packet was of decides.
   * `ports` has the guest's in its upper half, `seq` is TCP's, `mtu` comes with "too-big". False when there is no such flow.
   */
  guestError(
    proto: number,
    guest: Neighbour,
    buf: Uint8Array,
    farAt: number,
    ports: number,
    seq: number,
    error: GuestError,
    mtu: number,
  ): boolean {
    const finder = this.#finders.get(proto);
    return finder?.find(guest, buf, farAt, ports)?.guestError(error, seq, mtu) ?? false;
  }

  // What becomes of guests (NeighbourWatcher)

  inUse(guest: Neighbour): boolean {
    return this.#byGuest.has(guest);
  }

  left(guest: Neighbour): void {
    if (this.#byGuest.has(guest)) this.#miss(guest);
  }

  came(guest: Neighbour): void {
    this.#absent.delete(guest);
    this.#returned(guest);
  }

  replaced(guest: Neighbour): void {
    this.#end(guest, "replaced");
  }

  forgotten(guest: Neighbour): void {
    this.#end(guest, "guest-gone");
  }

  /** When the next guest has been gone long enough. */
  pollAt(): number {
    for (const until of this.#absent.values()) return until;
    return Number.POSITIVE_INFINITY;
  }

  poll(now: number): void {
    for (const [guest, until] of this.#absent) {
      if (until > now) return;
      this.#end(guest, "guest-gone");
    }
  }

  /** The network closes. */
  close(): void {
    for (const flow of [...this]) flow.close("network closed");
  }

  #miss(guest: Neighbour): void {
    if (this.#absent.has(guest)) return;
    this.#absent.set(guest, this.#env.clock.now() + this.#absentMs);
    if (this.#absent.size === 1) this.#env.wake();
  }

  #end(guest: Neighbour, reason: CloseReason): void {
    this.#absent.delete(guest);
    const flows = this.#byGuest.get(guest);
    if (flows === undefined) return;
    for (const flow of [...flows]) flow.close(reason);
  }
}
