/**
 * All flows of a network, of every kind. Each event of a guest, a cable or the rules reaches its flows through here, so
 * no kind of flow can be forgotten.
 *
 * Theory of operation. Flows stand by the guest's address record (`Neighbour`) that they began with. Three things end
 * them from outside:
 *
 * - **The guest is gone.** Its cable has been unplugged, or nobody answers at its address any more. The guest may
 *   reconnect, so its flows stay; their timers go on (retransmissions that cannot be sent count). After `absentSeconds`
 *   without a packet from the guest its flows end. A forward's flow that began while its guest was absent waits as
 *   long.
 * - **The address changes hands.** Another MAC is another guest. The earlier guest's flows end at once, before anything
 *   is sent to the new one.
 * - **The rules change.** Each flow is judged again (`Flow.revisit`).
 *
 * When a guest comes back, on whatever cable, its flows go on at once. Segments that the old cable had no room for go
 * out by the new one.
 */
import type { Clock } from "../../core/clock.ts";
import type { Trace } from "../../core/trace.ts";
import type { Neighbour, NeighbourWatcher } from "../../proto/neighbours.ts";
import { leaveAll, NO_METERS } from "../rules/meters.ts";
import type { RuleGate } from "../rules/rule-gate.ts";
import type { CloseReason } from "./close-reason.ts";
import { CLOSED_FLOW, type Flow, type GuestError } from "./flow.ts";

/** The parts of the stack that the registry needs. */
interface Surroundings {
  readonly clock: Clock;
  readonly trace: Trace;
  wake(): void;
}

/** Finds flows in a protocol's tables, of every kind that the protocol has. */
export interface FlowFinder {
  /**
   * The flow between a guest's port and the far end whose address stands at `farAt`. `ports`: the guest's in the upper
   * half.
   */
  find(guest: Neighbour, buf: Uint8Array, farAt: number, ports: number): Flow | null;
}

export class FlowRegistry implements NeighbourWatcher {
  readonly #env: Surroundings;
  readonly #absentMs: number;
  readonly #byGuest: Map<Neighbour, Set<Flow>> = new Map();
  /** Guests that have flows and no cable, each with the time at which its flows end, the earliest first. */
  readonly #absent: Map<Neighbour, number> = new Map();
  /** The finder of each protocol, by the protocol's number in IP. */
  readonly #finders: Map<number, FlowFinder> = new Map();
  /** Called when a guest has a cable again or another one, after its flows may go on. */
  readonly #returned: (guest: Neighbour) => void;

  /** `absentSeconds`: how long a guest's flows outlast the guest. `returned` is called when a guest is back. */
  constructor(env: Surroundings, absentSeconds: number, returned: (guest: Neighbour) => void) {
    this.#env = env;
    this.#absentMs = absentSeconds * 1000;
    this.#returned = returned;
  }

  /** Enters the tables of the protocol that has this number in IP. */
  serve(proto: number, finder: FlowFinder): void {
    this.#finders.set(proto, finder);
  }

  /** A flow has begun: it stands in its table, and counts from now on. */
  enter(flow: Flow): void {
    const { guest } = flow;
    let flows = this.#byGuest.get(guest);
    if (flows === undefined) this.#byGuest.set(guest, (flows = new Set()));
    flows.add(flow);
    if (guest.link === null) this.#miss(guest);
  }

  /** Tells users of a new flow. */
  opened(flow: Flow): void {
    const { proto, direction, farName: host } = flow;
    this.#env.trace.event({ type: "flow-open", proto, ...flow.ends, host, direction });
  }

  /** A flow has ended and has left its table: it no longer counts, and users are told. */
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

  /** All flows, guest by guest. */
  *[Symbol.iterator](): IterableIterator<Flow> {
    for (const flows of this.#byGuest.values()) yield* flows;
  }

  /** The rules have changed: ends each flow that they no longer allow. */
  revisit(gate: RuleGate): void {
    for (const flow of [...this]) {
      if (flow.flowState === CLOSED_FLOW) continue;
      const reason = flow.revisit(gate);
      if (reason !== null) flow.close(reason);
    }
  }

  /**
   * A guest's ICMP error says why a packet from the address at `farAt` did not arrive. The flow of that packet decides
   * what to do. `ports` has the guest's port in its upper half, `seq` is TCP's, `mtu` (bytes) comes with "too-big".
   * False when there is no such flow.
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

  // What happens to guests (NeighbourWatcher)

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

  /** When the next absent guest's flows end. */
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

  /** Ends all flows, since the network closes. */
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
