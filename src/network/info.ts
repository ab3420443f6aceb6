/** What a network tells when it is asked: its counters, leases, and what its rules say. */
import type { DropReason } from "../core/trace.ts";
import type { Explanation } from "../nat/rules/rule-gate.ts";
import type { Lease as StackLease } from "../proto/dhcp.ts";

export interface NetworkStats {
  /** From guests to the network. */
  readonly framesIn: number;
  readonly bytesIn: number;
  /** To guests. */
  readonly framesOut: number;
  readonly bytesOut: number;
  /** What is held now. */
  readonly tcpFlows: number;
  readonly udpFlows: number;
  /** Echo identifiers that guests ping with. */
  readonly icmpFlows: number;
  readonly timers: number;
  /** Bytes sent to guests or waiting, not yet acknowledged. */
  readonly sendBytes: number;
  /** Bytes from guests that hosts have not taken yet. */
  readonly receiveBytes: number;
  /** Bytes from guests that came before their turn. */
  readonly outOfOrderBytes: number;
  /** Packets and connections dropped since the start, by reason. */
  readonly drops: Readonly<Record<DropReason, number>>;
}

/** An address that a guest has by DHCP. */
export interface Lease {
  readonly ip: string;
  readonly mac: string;
  /** What the guest calls itself, fit for use as a DNS name; null if it did not say. */
  readonly hostname: string | null;
  /** When it ends unless the guest renews it; null when it does not (BOOTP). In JSON: ISO 8601. */
  readonly expires: Date | null;
}

/** A lease by the wall's clock; `now` is the time by the network's. */
export function wallLease({ expires, ...lease }: StackLease, now: number): Lease {
  return { ...lease, expires: Number.isFinite(expires) ? new Date(Date.now() + expires - now) : null };
}

/** What rules say about a flow; `dns` about the query for its name, null where there is none. */
export interface FlowExplanation extends Explanation {
  readonly flow: string;
  readonly dns: Explanation | null;
}
