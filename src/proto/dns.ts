/**
 * The DNS forwarder behind the virtual name server (10.0.2.3): guests' queries of any record type go to the host's
 * resolvers as they are, and the answers come back as they are. Nothing is cached and nothing rewritten, so what works
 * on the host (split DNS, DNSSEC, record types yet to come) works in the guest.
 *
 * What it does see to: one well-formed question per query, a bound on queries under way, answers no larger than the
 * client takes over UDP (the client then asks again over TCP, see `dns-tcp.ts`), and an answer in the end whatever
 * happens upstream. Queries are told apart by their callback, not by ID and port: a client may ask for A and AAAA with
 * one ID from one port, as GRUB does.
 */
import type { Clock } from "../core/clock.ts";
import type { Limits } from "../core/config.ts";
import type { HostDns } from "../core/host-net.ts";
import type { Trace } from "../core/trace.ts";
import {
  DNS_AXFR,
  DNS_IXFR,
  DNS_NOERROR,
  DNS_NOTIMP,
  DNS_REFUSED,
  DNS_SERVFAIL,
  DNS_UDP_SIZE,
  dnsCheck,
  dnsIsResponse,
  dnsOpcode,
  dnsQname,
  dnsQtype,
  dnsRcode,
  dnsReply,
  dnsTruncate,
  dnsUdpSize,
} from "../wire/dns.ts";

export { dnsTcpService } from "./dns-tcp.ts";

/** Larger answers are cut even when the client would take them: fragments are where answers get lost and forged. */
const MAX_UDP_ANSWER = 1232;
/** No query that we forward needs more; it bounds what a guest can make us hold. */
const MAX_QUERY = 4096;

/** Is given the whole answer, which is its own to keep. */
export type DnsRespond = (answer: Uint8Array) => void;

export class DnsForwarder {
  /** Longer messages are malformed, in bytes. */
  readonly maxQuery: number = MAX_QUERY;
  readonly #host: HostDns;
  readonly #limits: Limits;
  readonly #clock: Clock;
  readonly #trace: Trace;
  #inFlight = 0;

  constructor(host: HostDns, limits: Limits, clock: Clock, trace: Trace) {
    this.#host = host;
    this.#limits = limits;
    this.#clock = clock;
    this.#trace = trace;
  }

  /** Queries that wait for the host. */
  get inFlight(): number {
    return this.#inFlight;
  }

  /**
   * One UDP payload from a guest. `respond` is called at most once, possibly before this returns, with an answer that
   * fits the client. Malformed messages, and all when too many are under way, are dropped: the client asks again.
   */
  queryUdp(bytes: Uint8Array, at: number, len: number, respond: DnsRespond): void {
    if (!this.#acceptable(bytes, at, len)) return;
    if (this.#inFlight >= this.#limits.dnsInFlight) this.#trace.drop("dns-busy");
    else this.#ask(bytes.slice(at, at + len), false, respond);
  }

  /**
   * One message from a guest's TCP connection, without its length. False when it is malformed and will have no answer;
   * otherwise `respond` is called once, possibly before this returns.
   */
  queryTcp(bytes: Uint8Array, at: number, len: number, respond: DnsRespond): boolean {
    if (!this.#acceptable(bytes, at, len)) return false;
    if (this.#inFlight >= this.#limits.dnsInFlight) {
      this.#trace.drop("dns-busy");
      respond(dnsReply(bytes, at, len, DNS_SERVFAIL));
    } else {
      this.#ask(bytes.slice(at, at + len), true, respond);
    }
    return true;
  }

  #acceptable(bytes: Uint8Array, at: number, len: number): boolean {
    if (len <= this.maxQuery && dnsCheck(bytes, at, len) && !dnsIsResponse(bytes, at)) return true;
    this.#trace.drop("dns-malformed");
    return false;
  }

  #ask(query: Uint8Array, tcp: boolean, respond: DnsRespond): void {
    const refusal = refusalOf(query);
    if (refusal !== DNS_NOERROR) {
      respond(dnsReply(query, 0, query.length, refusal));
      return;
    }
    const asked = this.#clock.now();
    this.#inFlight++;
    this.#host.query(query, tcp, (found) => {
      this.#inFlight--;
      const usable = found !== null && dnsCheck(found, 0, found.length);
      const answer = usable ? found : dnsReply(query, 0, query.length, DNS_SERVFAIL);
      this.#trace.event({
        type: "dns",
        name: dnsQname(query, 0),
        qtype: dnsQtype(query, 0),
        rcode: dnsRcode(answer, 0),
        millis: this.#clock.now() - asked,
      });
      respond(tcp || fits(query, answer) ? answer : dnsTruncate(answer, 0, answer.length));
    });
  }
}

/** In place of the host's resolvers where guests reach nothing: a query is a way out, too (RFC 1035 section 4.1.1: REFUSED). */
export const REFUSING_DNS: HostDns = {
  query: (query, _tcp, onAnswer) => onAnswer(dnsReply(query, 0, query.length, DNS_REFUSED)),
  close() {},
};

/** The rcode for what a forwarder of single questions cannot do; NOERROR when it can. */
function refusalOf(query: Uint8Array): number {
  if (dnsOpcode(query, 0) !== 0) return DNS_NOTIMP;
  const type = dnsQtype(query, 0);
  // Zone transfers are answered by many messages (RFC 5936 section 2.2), which one query and one answer cannot carry.
  return type === DNS_AXFR || type === DNS_IXFR ? DNS_REFUSED : DNS_NOERROR;
}

function fits(query: Uint8Array, answer: Uint8Array): boolean {
  if (answer.length <= DNS_UDP_SIZE) return true;
  return answer.length <= Math.min(dnsUdpSize(query, 0, query.length), MAX_UDP_ANSWER);
}
