/**
 * A flow gate: it is asked about every new flow before anything is done for the flow. A flow is a TCP connection, the
 * datagrams between a UDP port and one far address and port, the echo requests to one address, or one DNS query.
 */
import type { Endpoint } from "./address.ts";
import type { HostTcp, HostTcpEvents } from "./host-net.ts";
import type { DropReason } from "./trace.ts";

/** A flow that wants to begin. */
export interface GatedFlow {
  readonly proto: "tcp" | "udp" | "icmp" | "dns";
  /** The guest's end; port 0 with ICMP. */
  readonly guest: Endpoint;
  /** The destination that the guest addressed; the DNS server for a DNS query. Port 0 with ICMP. */
  readonly remote: Endpoint;
  /**
   * Names that the guest resolved to the remote address, the latest first. For a query: the name asked for, and its
   * aliases.
   */
  readonly hosts: readonly string[];
  /** The type that a DNS query asks for; 0 for other flows. */
  readonly qtype: number;
}

/** The decision about a flow. */
export type Ruling =
  /** The flow goes on as if there were no gate. */
  | { readonly action: "allow" }
  /**
   * The guest gets a RST, ICMP "administratively prohibited", or nothing. A DNS query is answered REFUSED, with `told`
   * as its Extended DNS Error, or not at all. The drop is counted as `reason` (default "denied").
   */
  | {
      readonly action: "deny";
      readonly how: "reset" | "icmp" | "drop";
      readonly reason?: DropReason;
      readonly told?: string;
    }
  /**
   * The flow goes on as if the guest had dialled `to`, an address as the host sees it. A DNS query goes to the resolver
   * there.
   */
  | { readonly action: "redirect"; readonly to: Endpoint }
  /** A DNS query is answered: the name has no such records (RFC 2308 section 2.2). Only for DNS queries. */
  | { readonly action: "empty" }
  /** The flow ends within the process. */
  | { readonly action: "take"; readonly taker: Taker };

/** The end of a flow within the process. Either `stream` or `datagrams` is called. */
export interface Taker {
  stream(events: HostTcpEvents): HostTcp;
  /** `send` passes payloads to the guest while the flow is open. The taker calls `ended` when it wants no more. */
  datagrams(send: (bytes: Uint8Array) => void, ended: () => void): DatagramEnd;
}

/** The taker's end of a flow of datagrams. */
export interface DatagramEnd {
  /** A payload from the guest, valid during the call only. */
  receive(bytes: Uint8Array, at: number, len: number): void;
  /** The flow is over. */
  close(): void;
}

export interface FlowGate {
  /** Whether the gate wants to be asked. Once true, always true. */
  readonly active: boolean;
  /** Calls `done` once, never from inside this call. The flow waits until then. */
  judge(flow: GatedFlow, done: (ruling: Ruling) => void): void;
}
