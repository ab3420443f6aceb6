/**
 * Somebody who is asked about every new flow before anything is done for it. What a flow is: a TCP connection, what a
 * UDP port says to one address and port, what is pinged at one address, one DNS query.
 */
import type { Endpoint } from "./address.ts";
import type { HostTcp, HostTcpEvents } from "./host-net.ts";
import type { DropReason } from "./trace.ts";

/** A flow that wants to begin. */
export interface GatedFlow {
  readonly proto: "tcp" | "udp" | "icmp" | "dns";
  /** Port 0 with ICMP. */
  readonly guest: Endpoint;
  /** Where it wants to go, by the guest's words: a DNS query's is the DNS server. Port 0 with ICMP. */
  readonly remote: Endpoint;
  /** Names by which the guest had the remote address resolved, the latest first; of a query the name asked for and its aliases. */
  readonly hosts: readonly string[];
  /** What a DNS query asks for; 0 for others. */
  readonly qtype: number;
}

/** What becomes of a flow. */
export type Ruling =
  /** What would have become of it without a gate. */
  | { readonly action: "allow" }
  /** RST, ICMP "administratively prohibited" or silence. A DNS query is answered REFUSED, with `told` as its Extended DNS Error, or not at all. Counted as `reason` ("denied"). */
  | {
      readonly action: "deny";
      readonly how: "reset" | "icmp" | "drop";
      readonly reason?: DropReason;
      readonly told?: string;
    }
  /** As if the guest had dialled `to`, an address of the host's world. A DNS query goes to the resolver there. */
  | { readonly action: "redirect"; readonly to: Endpoint }
  /** A DNS query is answered: the name has no such records (RFC 2308 section 2.2). Never said of others. */
  | { readonly action: "empty" }
  /** The flow ends within the process. */
  | { readonly action: "take"; readonly taker: Taker };

/** Where a flow that is taken over ends. One of the two is called. */
export interface Taker {
  stream(events: HostTcpEvents): HostTcp;
  /** `send` takes payloads to the guest as long as the flow is there; `ended` is told when the taker wants no more. */
  datagrams(send: (bytes: Uint8Array) => void, ended: () => void): DatagramEnd;
}

/** The near end of a flow of datagrams. */
export interface DatagramEnd {
  /** A payload from the guest, valid during the call only. */
  receive(bytes: Uint8Array, at: number, len: number): void;
  /** The flow is over. */
  close(): void;
}

export interface FlowGate {
  /** Whether it wants to be asked. Once it does it always will. */
  readonly active: boolean;
  /** Calls `done` once, never from inside this call. The flow waits until then. */
  judge(flow: GatedFlow, done: (ruling: Ruling) => void): void;
}
