/**
 * One flow: what a guest and a far end say to each other by one protocol, and one life from its first packet to its end.
 *
 * Theory of operation. A flow is in one of four states, and goes through them in this order only:
 *
 *     PENDING --ruled--> OPEN   --close--> CLOSED
 *        |    --ruled--> DENIED --close--> CLOSED
 *        +----------------------- close--> CLOSED
 *
 * | state   | what it means                                          | what is allowed |
 * |---------|--------------------------------------------------------|-----------------|
 * | PENDING | a rule or `onFlow` decides (`decision.ts`); no socket  | hold the first packets, close |
 * | OPEN    | it has its socket, service or taker                    | send both ways, be told of errors, close |
 * | DENIED  | a datagram flow that was refused: remembered, no socket | refuse packets, close |
 * | CLOSED  | in no table, no socket, no meter                       | nothing; a TCP host socket may still deliver what it holds |
 *
 * Without rules and without `onFlow` a flow begins OPEN. TCP has no DENIED: a refused connection is CLOSED at once,
 * and while PENDING its endpoint is HELD (`proto/tcp`).
 *
 * The registry (`registry.ts`) is told when a flow begins and when it is over, and is the only way to walk over all of
 * them: whatever concerns flows of every kind (a cable, a MAC, rules, the API's list) goes through it. A flow belongs to
 * the guest that it began with: an address that changes hands ends it.
 *
 * The packet path does not come here. Each kind of flow has one class with its fields in one order, is found in a table of
 * its own, and is handled by its own functions from there on.
 */
import { type Endpoint, endpointText, type IpAddress } from "../../core/address.ts";
import type { Link } from "../../core/link.ts";
import type { Neighbour } from "../../proto/neighbours.ts";
import { type Meter, NO_METERS } from "../rules/meters.ts";
import type { RuleGate } from "../rules/rule-gate.ts";
import type { CloseReason } from "./close-reason.ts";

export const PENDING = 0;
export const OPEN = 1;
export const DENIED = 2;
export const CLOSED_FLOW = 3;
export type FlowState = typeof PENDING | typeof OPEN | typeof DENIED | typeof CLOSED_FLOW;

export const NO_NAMES: readonly string[] = [];

/**
 * A guest's ICMP error about a packet: nobody has the port, the packet is too big, or it was lost for another reason.
 */
export type GuestError = "refused" | "too-big" | "lost";

/** A flow's counters, as the API lists them. */
export interface FlowCounts {
  /** TCP: the state's name in RFC 9293, or HELD before the host has connected. Other protocols: "". */
  readonly state: string;
  /** TCP: smoothed round trip to the guest in milliseconds; -1 when not measured. */
  readonly rtt: number;
  readonly retransmissions: number;
}

const NO_COUNTS: FlowCounts = { state: "", rtt: -1, retransmissions: 0 };

export abstract class Flow {
  heapIndex = -1;
  heapTime = 0;
  /** One of the four states. */
  flowState: FlowState = OPEN;
  /** The guest's cable when the flow began. The flow counts for this cable for as long as it lives. */
  cable: Link | null;
  bytesUp = 0;
  bytesDown = 0;
  /** The meters that count the flow until it ends, and pace it. */
  meters: readonly Meter[] = NO_METERS;
  readonly proto: "tcp" | "udp" | "icmp";
  /** "out" if the guest began the flow, "in" if somebody else did. */
  readonly direction: "in" | "out";
  readonly guest: Neighbour;
  /** The guest's port; for an echo, its identifier. */
  readonly guestPort: number;
  /** Names by which the guest knew the far end when the flow began, the latest first. */
  readonly names: readonly string[];
  /** The far end as the guest knows it. A UDP mapping has several: this is the one that the guest spoke with last. */
  abstract readonly far: IpAddress;
  /** The far end's port; 0 for an echo. */
  abstract readonly farPort: number;

  constructor(
    proto: "tcp" | "udp" | "icmp",
    direction: "in" | "out",
    guest: Neighbour,
    guestPort: number,
    names: readonly string[],
  ) {
    this.proto = proto;
    this.direction = direction;
    this.guest = guest;
    this.guestPort = guestPort;
    this.names = names;
    this.cable = guest.link;
  }

  /** Ends the flow, once, and tells both sides as `reason` demands (`close-reason.ts`). */
  abstract close(reason: CloseReason): void;

  /**
   * A guest's ICMP error says why a packet of this flow did not arrive. `seq` is TCP's sequence number; `mtu` (bytes)
   * comes with "too-big". False when the packet cannot have been this flow's.
   */
  abstract guestError(error: GuestError, seq: number, mtu: number): boolean;

  /** The name by which the guest knows the far end; null when there is none. */
  get farName(): string | null {
    return this.names[0] ?? null;
  }

  /** Whether users see the flow. A judged ping is not listed: users see the flow of its identifier instead. */
  get listed(): boolean {
    return true;
  }

  /** The rules have changed: null when the flow may go on, otherwise why it ends. */
  revisit(gate: RuleGate): CloseReason | null {
    if (this.flowState === DENIED) return "denied";
    // The flow still waits for a decision, which the new rules will make.
    if (this.flowState === PENDING && gate.asks) return null;
    const { direction, proto, guest, guestPort, far, farPort, names } = this;
    return gate.permits(direction, proto, guest, guestPort, far, farPort, names) ? null : "denied";
  }

  /** The guest's end. */
  get guestEnd(): Endpoint {
    return { host: this.guest.address.text, port: this.proto === "icmp" ? 0 : this.guestPort };
  }

  get farEnd(): Endpoint {
    return { host: this.far.text, port: this.farPort };
  }

  /** Both ends as text: `IP:PORT`, or the address alone for an echo. */
  get ends(): { guest: string; remote: string } {
    if (this.proto === "icmp") return { guest: this.guest.address.text, remote: this.far.text };
    return { guest: endpointText(this.guestEnd), remote: endpointText(this.farEnd) };
  }

  get counts(): FlowCounts {
    return NO_COUNTS;
  }

  /** The flow's state at `now` in words, one line a subject, for people who look for a fault. Changes nothing. */
  describe(_now: number): readonly string[] {
    return [];
  }
}
