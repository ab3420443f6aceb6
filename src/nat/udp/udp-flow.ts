/** What all UDP flows have in common: a guest's port, counters, and a time at which silence ends them. */
import type { IpAddress } from "../../core/address.ts";
import type { HostIcmpError } from "../../core/host-net.ts";
import { type Neighbour, tooBig } from "../../proto/neighbours.ts";
import type { IdleFlow } from "../flow/admission.ts";
import type { CloseReason } from "../flow/close-reason.ts";
import { Flow, type GuestError } from "../flow/flow.ts";

/** RFC 4787 section 4.3 wants two minutes at least. */
export const IDLE_MS = 180_000;
export const IDLE_AFTER_DNS_MS = 10_000;
const DNS_PORT = 53;
/** The states of a flow in words. */
const DECISIONS = ["waits for a decision", "open", "refused", "closed"] as const;

/** How many milliseconds a mapping lives after its latest datagram to or from this far port. */
export function idleAfter(port: number): number {
  return port === DNS_PORT ? IDLE_AFTER_DNS_MS : IDLE_MS;
}

/** The parts of `UdpNat` that a UDP flow needs. */
export interface UdpFlowOwner {
  /** The name by which the guest knows a flow's far end now; null for none. */
  nameOf(flow: UdpFlow): string | null;
  /** The guest's view of the host address `host`. */
  guestSide(host: string, flow: UdpFlow): IpAddress;
  /** A flow has been used: silence ends it `idle` milliseconds from now. */
  used(flow: UdpFlow, idle: number): void;
  /** Sends a datagram to the flow's guest. */
  toGuest(flow: UdpFlow, src: IpAddress, srcPort: number, buf: Uint8Array, at: number, len: number): void;
  /** An ICMP error has told the host why a datagram of `len` bytes to `dst` did not arrive. */
  failed(flow: UdpFlow, error: HostIcmpError, dst: IpAddress, dstPort: number, len: number): void;
  /** The host had no room for this many datagrams. */
  lost(count: number): void;
  /** The flow has ended and has left its table. */
  left(flow: UdpFlow, reason: CloseReason): void;
}

export abstract class UdpFlow extends Flow implements IdleFlow {
  expires = 0;
  readonly nat: UdpFlowOwner;

  constructor(
    nat: UdpFlowOwner,
    direction: "in" | "out",
    guest: Neighbour,
    guestPort: number,
    names: readonly string[],
  ) {
    super("udp", direction, guest, guestPort, names);
    this.nat = nat;
  }

  override get farName(): string | null {
    return this.nat.nameOf(this);
  }

  override describe(now: number): readonly string[] {
    const end = this.expires - now;
    return [
      `guest's port ${this.guestPort}, ${DECISIONS[this.flowState]}`,
      `silence ends the mapping in ${(Math.max(0, end) / 1000).toFixed(3)} s`,
    ];
  }

  /** No error ends a flow that may serve others, too (RFC 4787 section 10). */
  guestError(error: GuestError, _seq: number, mtu: number): boolean {
    if (error === "too-big") tooBig(this.guest, mtu);
    return true;
  }

  close(reason: CloseReason): void {
    this.leave();
    this.nat.left(this, reason);
  }

  /** Removes the flow from its table and gives up its socket. */
  protected abstract leave(): void;
}
