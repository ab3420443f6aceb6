/**
 * The DNS forwarder behind the virtual name server (10.0.2.3): guests' questions of any record type go to the host's
 * resolvers, and the answers come back as they are. Nothing is cached and no answer rewritten, so what works on the host
 * (split DNS, DNSSEC, record types yet to come) works in the guest.
 *
 * A query is written anew: its one question, RD, AD and CD, and EDNS with the DO bit. Anything else in a query, or
 * behind it, would go to the resolver, and under rules it would be a way out beside the name that they allow. EDNS
 * options are between neighbours anyway, and are not forwarded (RFC 6891 section 6.2.6). A signature (TSIG) does not
 * survive a forwarder that changes the message.
 *
 * The forwarder ensures: one well-formed question per query; a limit on queries under way; answers no larger than the
 * client takes over UDP (the client then asks again over TCP, see `dns-tcp.ts`); and an answer in the end, whatever
 * happens upstream. Queries are told apart by their callbacks, not by ID and port, because a client may ask for A and
 * AAAA with one ID from one port, as GRUB does.
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

/** How many addresses of an answer watchers are told. */
const ADDRESSES_TOLD = 4;
/** Larger answers are truncated even if the client would take them: fragments get lost, and are forged. */
const MAX_UDP_ANSWER = 1232;
/** Bytes. No query that we forward is longer; the limit bounds how much memory a guest can make us hold. */
const MAX_QUERY = 4096;
/** Seconds. Short, because guests come and go. */
const LOCAL_TTL_S = 10;

/** Called with the whole answer, which the callee may keep. */
export type DnsRespond = (answer: Uint8Array) => void;

/** What the network itself knows about a name. */
export interface LocalAnswer {
  /** Whether the name exists. */
  readonly known: boolean;
  /** The data of its records of the type asked for. */
  readonly rdata: readonly Uint8Array[];
  /** The name may exist on the Internet, too, whose answer then counts: resolvers are asked first (default false). */
  readonly worldFirst?: boolean;
}

/** The network's own names. */
export interface LocalNames {
  /** Null for a name that is not the network's own. If it is, and does not exist, the answer is not `known`. */
  answer(name: string, qtype: number): LocalAnswer | null;
}

/** The parts that take part in queries and answers. */
export interface DnsWatch {
  /** Answers for guests' names, before anybody is asked and whatever rules say; null for none. */
  readonly local: LocalNames | null;
  /** Answers for the user's names, before guests' names and as rules allow; null for none. */
  hosts(): LocalNames | null;
  /** The servers for a name; undefined for the host's resolvers. */
  serversOf(name: string): readonly Endpoint[] | undefined;
  /** Learns from answers. */
  readonly names: Names | null;
  /** Judges queries while it is active. */
  readonly gate: FlowGate | null;
  /** The MAC (as a number) and the cable of the guest that asks from this address. */
  guestOf(host: IpText): number;
  cableOf(host: IpText): object | null;
  /** The addresses at which guests of each family reach this server. */
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
  /** The queries over TCP among those. */
  readonly #tcpInFlight: Quota;

  constructor(host: HostDns, limits: Limits, clock: Clock, trace: Trace, watch: DnsWatch = UNWATCHED) {
    this.#watch = watch;
    this.#host = host;
    this.#inFlight = new Quota(limits.dnsInFlight, limits.dnsInFlightPerGuest);
    this.#tcpInFlight = new Quota(limits.dnsTcpInFlight, limits.dnsTcpInFlightPerGuest);
    this.#clock = clock;
    this.#trace = trace;
  }

  /** How many queries wait for the host. */
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

  /** Counts a query or a connection that is one too many. */
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
    // A name that may not be asked for upstream can only be a guest's.
    else if (asked.fallback !== null) this.#answer(asked, localReply(asked.query, asked.fallback));
    else if (ruling.action === "redirect") this.#host.query(asked.query, asked.tcp, this.#answerTo(asked), [ruling.to]);
    else if (ruling.action === "take") this.#handOver(asked, ruling.taker);
    else if (ruling.action === "empty") this.#answer(asked, dnsReply(asked.query, 0, asked.query.length, DNS_NOERROR));
    else {
      this.#trace.drop(ruling.reason ?? "denied");
      // Over UDP a refusal by silence sends nothing. Over TCP an unanswered query would hold up those behind it.
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
    // The host's resolvers are not asked for the names of the network's own addresses.
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

  /** Answers a query. Null, or a message that does not answer the query, becomes SERVFAIL. */
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

/** The addresses to show people: the first few of an answer, under whichever of its names. */
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
  /** The query as resolvers get it, under the guest's ID. */
  readonly query: Uint8Array;
  /** The longest answer that the guest takes, in bytes. */
  readonly most: number;
  readonly name: string;
  readonly qtype: number;
  /** The user's entry for the name. */
  readonly given: LocalAnswer | null;
  /** The network's own answer for the name; null if the name is not the network's own. */
  readonly own: LocalAnswer | null;
  /** The network's own answer if resolvers are asked first; otherwise null. */
  readonly fallback: LocalAnswer | null;
  readonly guest: Endpoint;
  /** The guest's cable, for which the query counts. */
  readonly cable: object | null;
  readonly tcp: boolean;
  readonly respond: DnsRespond;
  readonly since: number;
}

/**
 * Takes the place of the host's resolvers where guests may reach nothing, since a query is a way out, too (RFC 1035
 * section 4.1.1: REFUSED). A query that is sent to a given server still goes there.
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

/** Whether the answer shows that the name exists, with whatever records. */
function exists(answer: Uint8Array): boolean {
  return dnsCheck(answer, 0, answer.length) && dnsRcode(answer, 0) === DNS_NOERROR;
}

function localReply(query: Uint8Array, { rdata }: LocalAnswer): Uint8Array {
  return dnsReply(query, 0, query.length, DNS_NOERROR, rdata, LOCAL_TTL_S);
}

/** The rcode for a query that a forwarder of single questions cannot serve; NOERROR when it can. */
function refusalOf(bytes: Uint8Array, at: number): number {
  if (dnsOpcode(bytes, at) !== 0) return DNS_NOTIMP;
  const type = dnsQtype(bytes, at);
  // Zone transfers are answered by many messages (RFC 5936 section 2.2), but here one query has one answer.
  return type === DNS_AXFR || type === DNS_IXFR ? DNS_REFUSED : DNS_NOERROR;
}
