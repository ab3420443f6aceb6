/** The shape of `onFlow`: what it is told about a flow, and what it may answer. */
import type { Duplex } from "node:stream";
import type { Endpoint } from "../core/address.ts";
import { parseIp } from "./addresses.ts";
import { ConfigError } from "./errors.ts";

/** A flow that wants to begin: a TCP connection, what a UDP port says to one address and port, pings of one address, a DNS query. */
export interface Flow {
  readonly proto: "tcp" | "udp" | "icmp" | "dns";
  /** Port 0 with ICMP. */
  readonly guest: Endpoint;
  /** Where it wants to go; a DNS query to the DNS server. Port 0 with ICMP. */
  readonly remote: Endpoint;
  /** The name by which guests had the remote address resolved last, in lower case; of a DNS query the name asked for. */
  readonly host: string | undefined;
  /** All the names that led to that address, the latest first. */
  readonly hosts: readonly string[];
  /** What a DNS query asks for: 1 is A, 28 AAAA (RFC 1035 section 3.2.2). 0 for other flows. */
  readonly qtype: number;
  /** Aborted when the answer comes too late: the flow was refused meanwhile, or the network has closed. */
  readonly signal: AbortSignal;
}

/**
 * Takes a flow over: what the guest says can be read, what is written goes to the guest. TCP is a stream of bytes (a
 * `GuestSocket`); the others are in object mode, a Buffer for each datagram, echo request (whose data is read, and whose
 * reply's data is written) or DNS message (of which one is read and one written).
 */
export type FlowTaker = (socket: Duplex, flow: Flow) => void;

/** What becomes of a flow. */
export type FlowVerdict =
  /** What would have become of it without `onFlow`. */
  | "allow"
  /** `{ deny: "reset" }` */
  | "deny"
  /**
   * "reset": TCP gets a RST, UDP and ICMP an ICMP error, DNS is REFUSED. "icmp": an ICMP error ("administratively
   * prohibited") for TCP as well. "drop": silence.
   */
  | { readonly deny: "reset" | "icmp" | "drop" }
  /** As if the guest had dialled this address of the host's world (an IP address), or one that `listenGuest` serves. A DNS query goes to the resolver there. */
  | { readonly redirect: { readonly host: string; readonly port?: number } }
  | FlowTaker;

/**
 * Asked about every new flow of the guests'. The flow waits for the answer, with nothing sent to the guest, for
 * `onFlowTimeout` at the most. Throwing, rejecting and not answering are "deny"; the event `flowError` tells of it.
 */
export type OnFlow = (flow: Flow) => FlowVerdict | Promise<FlowVerdict>;

/** Checks what `onFlow` has answered about a flow to `port`; a redirect's port is then the given or the same one. Throws `ConfigError`. */
export function checkVerdict(verdict: FlowVerdict, port: number): Exclude<FlowVerdict, "deny"> {
  if (verdict === "allow" || typeof verdict === "function") return verdict;
  if (verdict === "deny") return { deny: "reset" };
  if (typeof verdict === "object" && verdict !== null) {
    if ("deny" in verdict && ["reset", "icmp", "drop"].includes(verdict.deny)) return { deny: verdict.deny };
    if ("redirect" in verdict && typeof verdict.redirect === "object" && verdict.redirect !== null) {
      const host = parseIp(String(verdict.redirect.host));
      const to = verdict.redirect.port ?? port;
      if (host !== null && Number.isInteger(to) && to >= 0 && to <= 65_535) return { redirect: { host, port: to } };
    }
  }
  const expectation =
    'expected "allow", "deny", { deny: "reset" | "icmp" | "drop" }, { redirect: { host: IP, port } } or a function';
  throw new ConfigError("onFlow", verdict, expectation);
}
