/**
 * The DNS forwarder behind the virtual name server (10.0.2.3): guests' questions of any record type go to the host's
 * resolvers, and the answers come back as they are. Nothing is cached and no answer rewritten, so what works on the host
 * (split DNS, DNSSEC, record types yet to come) works in the guest.
 *
 * A query is written anew: the one question, RD, AD and CD, and EDNS with its DO bit. Whatever else stands in a query or
 * behind it would go to the resolver, and under rules be a way out beside the name that they allow. EDNS is between
 * neighbours anyway (RFC 6891 section 6.2.6: options are not forwarded); a signature (TSIG) does not outlast a forwarder
 * that changes the message.
 *
 * What it does see to: one well-formed question per query, a bound on queries under way, answers no larger than the
 * client takes over UDP (the client then asks again over TCP, see `dns-tcp.ts`), and an answer in the end whatever
 * happens upstream. Queries are told apart by their callback, not by ID and port: a client may ask for A and AAAA with
 * one ID from one port, as GRUB does.
 */
import type { Endpoint, IpText } from "../core/address.ts";
import type { Clock } from "../core/clock.ts";
import type { FlowGate, Ruling, Taker } from "../core/gate.ts";
import type { HostDns } from "../core/host-net.ts";
import type { Limits } from "../core/limits.ts";
import { Quota } from "../core/quota.ts";
import type { Trace } from "../core/trace.ts";
import { get32 } from "../wire/bytes.ts";
import {
  DNS_A,
  DNS_AAAA,
  DNS_AXFR,
  DNS_IN,
  DNS_IXFR,
  DNS_MAX_MESSAGE,
  DNS_NOERROR,
  DNS_NOTIMP,
  DNS_NXDOMAIN,
  DNS_REFUSED,
  DNS_SERVFAIL,
  dnsAnew,
  dnsAnswers,
  dnsCheck,
  dnsExplained,
  dnsIsResponse,
  dnsOpcode,
  dnsQname,
  dnsQtype,
  dnsRcode,
  dnsReply,
  dnsTruncate,
  dnsUdpSize,
  EDE_BLOCKED,
} from "../wire/dns.ts";
import { ipv4ToString } from "../wire/ipv4.ts";
import { ipv6ToString } from "../wire/ipv6.ts";
import type { Names } from "./names.ts";

/** Of each answer, to whoever watches. */
const ADDRESSES_TOLD = 4;
/** Larger answers are cut even when the client would take them: fragments are where answers get lost and forged. */
const MAX_UDP_ANSWER = 1232;
/** No query that we forward needs more; it bounds what a guest can make us hold. */
const MAX_QUERY = 4096;
/** Guests come and go. */
const LOCAL_TTL_S = 10;

/** Is given the whole answer, which is its own to keep. */
export type DnsRespond = (answer: Uint8Array) => void;

/** What is known here about a name. */
export interface LocalAnswer {
  /** Whether the name exists. */
  readonly known: boolean;
  /** The data of its records of the type asked for. */
  readonly rdata: readonly Uint8Array[];
  /** The world may have this name, too, and then the world's answer counts: resolvers are asked first (false). */
  readonly worldFirst?: boolean;
}

/** The names of the network's own. */
export interface LocalNames {
  /** Null for a name of others; one that is ours to know and does not exist is not `known`. */
  answer(name: string, qtype: number): LocalAnswer | null;
}

/** Who else has to do with queries and answers. */
export interface DnsWatch {
  /** Answers for guests' names, before anybody is asked and whatever rules say; null for none. */
  readonly local: LocalNames | null;
  /** Answers for the names that the user has given, before guests' and as rules allow; null for none. */
  hosts(): LocalNames | null;
  /** Whom to ask about a name; undefined for the host's resolvers. */
  serversOf(name: string): readonly Endpoint[] | undefined;
  /** Learns from answers. */
  readonly names: Names | null;
  /** Is asked about queries while it is active. */
  readonly gate: FlowGate | null;
  /** The guest's MAC as a number, and its cable, by the address that it asks from. */
  guestOf(host: IpText): number;
  cableOf(host: IpText): object | null;
  /** Where guests of either family find this server. */
  readonly server4: Endpoint;
  readonly server6: Endpoint;
}

const NOWHERE: Endpoint = { host: "0.0.0.0", port: 0 };
const UNWATCHED: DnsWatch = {
  local: null,
  hosts: () => null,
  serversOf: () => undefined,
  names: null,
  gate: null,
  guestOf: () => 0,
  cableOf: () => null,
  server4: NOWHERE,
  server6: NOWHERE,
};

export class DnsForwarder {
  /** Longer messages are malformed, in bytes. */
  readonly maxQuery: number = MAX_QUERY;
  readonly #host: HostDns;
  readonly #clock: Clock;
  readonly #trace: Trace;
  readonly #watch: DnsWatch;
  readonly #inFlight: Quota;
  /** Those over TCP among them. */
  readonly #tcpInFlight: Quota;

  constructor(host: HostDns, limits: Limits, clock: Clock, trace: Trace, watch: DnsWatch = UNWATCHED) {
    this.#watch = watch;
    this.#host = host;
    this.#inFlight = new Quota(limits.dnsInFlight, limits.dnsInFlightPerGuest);
    this.#tcpInFlight = new Quota(limits.dnsTcpInFlight, limits.dnsTcpInFlightPerGuest);
    this.#clock = clock;
    this.#trace = trace;
  }

  /** Queries that wait for the host. */
  get inFlight(): number {
    return this.#inFlight.used;
  }

  /**
   * One UDP payload from `guest`. `respond` is called at most once, possibly before this returns, with an answer that
   * fits the client. Malformed messages, and all when too many are under way, are dropped: the client asks again.
   */
  queryUdp(bytes: Uint8Array, at: number, len: number, respond: DnsRespond, guest: Endpoint = NOWHERE): void {
    if (!this.#acceptable(bytes, at, len)) return;
    const cable = this.#watch.cableOf(guest.host);
    if (this.#inFlight.allows(cable)) this.#ask(bytes, at, len, guest, cable, false, respond);
    else this.busy();
  }

  /**
   * One message from a guest's TCP connection, without its length. False when it is malformed and will have no answer;
   * otherwise `respond` is called once, possibly before this returns.
   */
  queryTcp(bytes: Uint8Array, at: number, len: number, respond: DnsRespond, guest: Endpoint = NOWHERE): boolean {
    if (!this.#acceptable(bytes, at, len)) return false;
    const cable = this.#watch.cableOf(guest.host);
    if (this.#inFlight.allows(cable) && this.#tcpInFlight.allows(cable))
      this.#ask(bytes, at, len, guest, cable, true, respond);
    else {
      this.busy();
      respond(dnsReply(bytes, at, len, DNS_SERVFAIL));
    }
    return true;
  }

  /** Whether queries for a name are answered here: "always" whatever rules say, "ruled" as they allow; null where resolvers are asked. */
  answersHere(name: string): "always" | "ruled" | null {
    if (this.#watch.hosts()?.answer(name, DNS_A)) return "ruled";
    return this.#watch.local?.answer(name, DNS_A)?.known === true ? "always" : null;
  }

  /** Counts what is too much: a query, or a connection. */
  busy(): void {
    this.#trace.drop("dns-busy");
  }

  #acceptable(bytes: Uint8Array, at: number, len: number): boolean {
    if (len <= this.maxQuery && dnsCheck(bytes, at, len) && !dnsIsResponse(bytes, at)) return true;
    this.#trace.drop("dns-malformed");
    return false;
  }

  #ask(
    bytes: Uint8Array,
    at: number,
    len: number,
    guest: Endpoint,
    cable: object | null,
    tcp: boolean,
    respond: DnsRespond,
  ): void {
    const refusal = refusalOf(bytes, at);
    if (refusal !== DNS_NOERROR) return respond(dnsReply(bytes, at, len, refusal));
    const query = dnsAnew(bytes, at, len);
    const most = tcp ? DNS_MAX_MESSAGE : Math.min(dnsUdpSize(bytes, at, len), MAX_UDP_ANSWER);
    const { local, names, gate, guestOf, server4, server6 } = this.#watch;
    const name = dnsQname(query, 0);
    const qtype = dnsQtype(query, 0);
    const given = this.#watch.hosts()?.answer(name, qtype) ?? null;
    const own = given === null ? (local?.answer(name, qtype) ?? null) : null;
    const since = this.#clock.now();
    const fallback = own?.known === true && own.worldFirst === true ? own : null;
    const asked: Asked = { query, most, name, qtype, given, own, fallback, guest, cable, tcp, respond, since };
    this.#inFlight.take(cable);
    if (tcp) this.#tcpInFlight.take(cable);
    if (own?.known && fallback === null) return this.#answer(asked, localReply(query, own));
    if (!gate?.active) return this.#forward(asked);
    const remote = guest.host.includes(":") ? server6 : server4;
    const lower = name.toLowerCase();
    const hosts = [lower, ...(names?.aliases(guestOf(guest.host), lower, this.#clock.now()) ?? [])];
    gate.judge({ proto: "dns", guest, remote, hosts, qtype }, (ruling) => this.#ruled(asked, ruling));
  }

  #ruled(asked: Asked, ruling: Ruling): void {
    if (ruling.action === "allow") this.#forward(asked);
    // What may not be asked of the world is a guest's name alone.
    else if (asked.fallback !== null) this.#answer(asked, localReply(asked.query, asked.fallback));
    else if (ruling.action === "redirect") this.#host.query(asked.query, asked.tcp, this.#answerTo(asked), [ruling.to]);
    else if (ruling.action === "take") this.#handOver(asked, ruling.taker);
    else if (ruling.action === "empty") this.#answer(asked, dnsReply(asked.query, 0, asked.query.length, DNS_NOERROR));
    else {
      this.#trace.drop(ruling.reason ?? "denied");
      // Over UDP silence is silence; over TCP a query that is never answered would hold up those behind it.
      if (ruling.how === "drop" && !asked.tcp) this.#over(asked);
      else {
        const refused = dnsReply(asked.query, 0, asked.query.length, DNS_REFUSED);
        this.#answer(asked, ruling.told === undefined ? refused : dnsExplained(refused, EDE_BLOCKED, ruling.told));
      }
    }
  }

  #forward(asked: Asked): void {
    const { query, name, given, own, fallback, tcp } = asked;
    if (given !== null) return this.#answer(asked, localReply(query, given));
    // Addresses of the network's own without a name are nobody else's to know about.
    if (own !== null && fallback === null) return this.#answer(asked, dnsReply(query, 0, query.length, DNS_NXDOMAIN));
    const answered = this.#answerTo(asked);
    const servers = this.#watch.serversOf(name);
    if (fallback === null) return this.#host.query(query, tcp, answered, servers);
    this.#host.query(
      query,
      tcp,
      (found) => answered(found !== null && exists(found) ? found : localReply(query, fallback)),
      servers,
    );
  }

  #answerTo(asked: Asked): (found: Uint8Array | null) => void {
    return (found) => this.#answer(asked, found);
  }

  /** The first message that the taker sends is the answer. */
  #handOver(asked: Asked, taker: Taker): void {
    let open = true;
    const answer = (found: Uint8Array | null): void => {
      if (!open) return;
      open = false;
      this.#answer(asked, found);
      end.close();
    };
    const end = taker.datagrams(
      (bytes) => answer(bytes.slice()),
      () => answer(null),
    );
    end.receive(asked.query, 0, asked.query.length);
  }

  #over({ cable, tcp }: Asked): void {
    this.#inFlight.give(cable);
    if (tcp) this.#tcpInFlight.give(cable);
  }

  /** Null, and what is no answer to the query, is SERVFAIL. */
  #answer(asked: Asked, found: Uint8Array | null): void {
    const { query, most, name, qtype, guest, respond, since } = asked;
    this.#over(asked);
    const usable = found !== null && dnsCheck(found, 0, found.length);
    const answer = usable ? found : dnsReply(query, 0, query.length, DNS_SERVFAIL);
    const now = this.#clock.now();
    const { names, guestOf } = this.#watch;
    names?.answered(guestOf(guest.host), answer, now);
    this.#trace.event({
      type: "dns",
      guest: guest.host,
      name,
      qtype,
      rcode: dnsRcode(answer, 0),
      millis: now - since,
      addresses: addressesIn(answer),
    });
    respond(answer.length <= most ? answer : dnsTruncate(answer, 0, answer.length));
  }
}

/** Those that people are shown: the first few of an answer, whichever name of it they are of. */
function addressesIn(answer: Uint8Array): string[] {
  const found: string[] = [];
  dnsAnswers(answer, 0, answer.length, (_nameAt, type, cls, _ttl, at, len) => {
    if (cls !== DNS_IN || found.length === ADDRESSES_TOLD) return;
    if (type === DNS_A && len === 4) found.push(ipv4ToString(get32(answer, at)));
    else if (type === DNS_AAAA && len === 16) found.push(ipv6ToString(answer, at));
  });
  return found;
}

/** A query that waits for its answer. */
interface Asked {
  /** As it goes to resolvers, under the guest's ID. */
  readonly query: Uint8Array;
  /** The longest answer that the guest takes. */
  readonly most: number;
  readonly name: string;
  readonly qtype: number;
  /** What the user has given for the name. */
  readonly given: LocalAnswer | null;
  /** What the network's own names say; null where it would not be among them. */
  readonly own: LocalAnswer | null;
  /** That, where the world is asked first; null where it is not. */
  readonly fallback: LocalAnswer | null;
  readonly guest: Endpoint;
  /** The guest's: where it counts. */
  readonly cable: object | null;
  readonly tcp: boolean;
  readonly respond: DnsRespond;
  readonly since: number;
}

/**
 * In place of the host's resolvers where guests reach nothing: a query is a way out, too (RFC 1035 section 4.1.1:
 * REFUSED). One that is sent to a server on purpose still goes there.
 */
export function refusingDns(host: HostDns): HostDns {
  return {
    query(query, tcp, onAnswer, servers) {
      if (servers === undefined) onAnswer(dnsReply(query, 0, query.length, DNS_REFUSED));
      else host.query(query, tcp, onAnswer, servers);
    },
    close() {},
  };
}

/** Whether somebody knows the name, whatever its records. */
function exists(answer: Uint8Array): boolean {
  return dnsCheck(answer, 0, answer.length) && dnsRcode(answer, 0) === DNS_NOERROR;
}

function localReply(query: Uint8Array, { rdata }: LocalAnswer): Uint8Array {
  return dnsReply(query, 0, query.length, DNS_NOERROR, rdata, LOCAL_TTL_S);
}

/** The rcode for what a forwarder of single questions cannot do; NOERROR when it can. */
function refusalOf(bytes: Uint8Array, at: number): number {
  if (dnsOpcode(bytes, at) !== 0) return DNS_NOTIMP;
  const type = dnsQtype(bytes, at);
  // Zone transfers are answered by many messages (RFC 5936 section 2.2), which one query and one answer cannot carry.
  return type === DNS_AXFR || type === DNS_IXFR ? DNS_REFUSED : DNS_NOERROR;
}
