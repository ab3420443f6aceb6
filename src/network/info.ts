/** The information that a network gives on request: its counters, leases, and the verdicts of its rules. */
import type { DropReason } from "../core/trace.ts";
import type { Explanation } from "../nat/rules/rule-gate.ts";
import type { Lease as StackLease } from "../proto/dhcp.ts";

/** Counters since the network began, and the flows and bytes that it holds now. */
export interface NetworkStats {
  /** Frames and bytes from guests to the network. */
  readonly framesIn: number;
  readonly bytesIn: number;
  /** Frames and bytes from the network to guests. */
  readonly framesOut: number;
  readonly bytesOut: number;
  /** Flows of each protocol that are open now. */
  readonly tcpFlows: number;
  readonly udpFlows: number;
  /** Echo identifiers with which guests ping. */
  readonly icmpFlows: number;
  /** Pending time-outs of flows. */
  readonly timers: number;
  /** Bytes on their way to guests: waiting, or sent and not yet acknowledged. */
  readonly sendBytes: number;
  /** Bytes from guests that hosts have not taken yet. */
  readonly receiveBytes: number;
  /** Bytes from guests that arrived ahead of a gap. */
  readonly outOfOrderBytes: number;
  /** Packets and connections dropped since the network began, by reason. */
  readonly drops: Readonly<Record<DropReason, number>>;
}

/** An address that a guest has by DHCP. */
export interface Lease {
  readonly ip: string;
  readonly mac: string;
  /** The name that the guest has sent by DHCP, made fit for DNS; null if it sent none. */
  readonly hostname: string | null;
  /** When the lease ends, unless the guest renews it; null when it never ends (BOOTP). In JSON: ISO 8601. */
  readonly expires: Date | null;
}

/** A lease with its end by the wall clock. `now` is the time by the network's clock. */
export function wallLease({ expires, ...lease }: StackLease, now: number): Lease {
  return { ...lease, expires: Number.isFinite(expires) ? new Date(Date.now() + expires - now) : null };
}

/** The verdict of the rules on a flow. `dns` is their verdict on the query for its name; null where there is none. */
export interface FlowExplanation extends Explanation {
  readonly flow: string;
  readonly dns: Explanation | null;
}
