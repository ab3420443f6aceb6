/** The types of `onFlow`: the description of a flow, and the answers. */
import type { Duplex } from "node:stream";
import type { Endpoint } from "../core/address.ts";
import { parseIp } from "./addresses.ts";
import { ConfigError } from "./errors.ts";

/**
 * A flow that is about to begin: a TCP connection, the datagrams from one UDP port to one address and port, pings to
 * one address, or a DNS query.
 */
export interface Flow {
  /** The protocol; "icmp" is echo (ping), "dns" a query to the DNS server. */
  readonly proto: "tcp" | "udp" | "icmp" | "dns";
  /** The guest's address and port; port 0 for ICMP. */
  readonly guest: Endpoint;
  /** The destination; for a DNS query, the DNS server. Port 0 for ICMP. */
  readonly remote: Endpoint;
  /**
   * The name, in lower case, that guests have last resolved to the remote address; for a DNS query, the name asked
   * for. Undefined when there is none.
   */
  readonly host: string | undefined;
  /** All names that guests have resolved to that address, the latest first. */
  readonly hosts: readonly string[];
  /** The record type that a DNS query asks for: 1 is A, 28 is AAAA (RFC 1035 section 3.2.2). 0 for other flows. */
  readonly qtype: number;
  /** Aborted when the answer can no longer count: the time is over and the flow refused, or the network has closed. */
  readonly signal: AbortSignal;
}

/**
 * Takes a flow over: the guest's bytes are read from `socket`, and bytes written to it go to the guest. For TCP,
 * `socket` is a stream of bytes (a `GuestSocket`). Otherwise it is in object mode: a Buffer for each datagram; for
 * each echo request, whose data is read, and its reply, whose data is written; or for a DNS query, read once, and its
 * answer, written once.
 */
export type FlowTaker = (socket: Duplex, flow: Flow) => void;

/** The answer of `onFlow`. */
export type FlowVerdict =
  /** The flow goes on as it would without `onFlow`. */
  | "allow"
  /** The same as `{ deny: "reset" }`. */
  | "deny"
  /**
   * "reset": TCP gets a RST, UDP and ICMP an ICMP error, and a DNS query the answer REFUSED. "icmp": TCP gets an ICMP
   * error ("administratively prohibited") as well. "drop": the guest gets nothing.
   */
  | { readonly deny: "reset" | "icmp" | "drop" }
  /**
   * The flow goes to this IP address instead, seen from the host, or to one that `listenGuest` serves. The port stays
   * the same unless given. A DNS query goes to the resolver there.
   */
  | { readonly redirect: { readonly host: string; readonly port?: number } }
  | FlowTaker;

/**
 * Asked about every new flow of guests. The flow waits for the answer for up to `onFlowTimeout`, and the guest hears
 * nothing meanwhile. Throwing, rejecting, an invalid answer and none in time count as "deny", and the event
 * `flowError` reports them.
 */
export type OnFlow = (flow: Flow) => FlowVerdict | Promise<FlowVerdict>;

/**
 * Checks the answer of `onFlow` about a flow to `port`. A redirect without a port gets that one. Throws
 * `ConfigError`.
 */
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
