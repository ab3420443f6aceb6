/**
 * The host's resolvers (`HostDns`): raw queries out, raw answers back.
 *
 * The servers are those given; if none are, those that /etc/resolv.conf has now; if it has none, the system's name
 * service. Servers are asked in their order, one at a time. A server that refuses, fails, or answers SERVFAIL, NOTIMP
 * or REFUSED (as split-horizon servers do for others' names) is skipped at once. If a server is silent for a while, the
 * next one is asked, too; a late answer of the first is still taken. After the last server the first is asked again,
 * until there is an answer or `totalMs` have passed. If all answers are failures, the last one is passed on. A server
 * that has sent nothing at all is asked after the others for half a minute.
 *
 * Equal queries are asked once, and everybody who asked gets the answer: if the same name were under way many times, a
 * forger's guess would be that many times as good (RFC 5452 section 5). Queries may differ in their flags or options
 * alone, so only a few of one name and type may be under way.
 *
 * All queries have their deadlines in one `Deadlines` heap over one timer. The timer also sweeps the sockets' pools. It
 * stops when there are neither queries nor sockets.
 */
import { type Endpoint, endpointText } from "../core/address.ts";
import { Deadlines, type Timed } from "../core/deadlines.ts";
import type { HostDns } from "../core/host-net.ts";
import { DNS_HEADER, DNS_NOTIMP, DNS_REFUSED, DNS_SERVFAIL, dnsId, dnsQuestionEnd, dnsRcode } from "../wire/dns.ts";
import { matchAnswer } from "./dns-match.ts";
import { type NameService, SystemResolver } from "./dns-system.ts";
import { askTcp } from "./dns-tcp.ts";
import { type Attempt, UdpPool } from "./dns-udp.ts";
import { ResolvConf } from "./resolv-conf.ts";

export interface NodeDnsOptions {
  /** The servers to ask instead of the host's resolvers; empty or unset means the host's. */
  readonly upstreams?: readonly Endpoint[];
  /** The file that lists the host's resolvers: /etc/resolv.conf. */
  readonly resolvConf?: string;
  /** For hosts without resolvers: `node:dns`. */
  readonly names?: NameService;
  /** How many queries may be under way, and how many of those over TCP; a query beyond fails (its answer is null). */
  readonly maxInFlight?: number;
  readonly maxTcp?: number;
  /** Milliseconds to wait for a server at first, for one that is asked again, and for a query altogether. */
  readonly firstMs?: number;
  readonly againMs?: number;
  readonly totalMs?: number;
}

/** Failures of servers, counted since the start. */
export interface DnsCounters {
  /** Datagrams that answered no query of ours: late, duplicated or forged. */
  ignored: number;
  /** Attempts that ended in silence. */
  silent: number;
  /** Attempts that ended in a refusal, an unreachable server or a failing answer. */
  failed: number;
}

const SWEEP_MS = 1000;
const SILENT_LAST_MS = 30_000;
const MAX_OTHERS = 64;
/** How many queries of one name and type, which differ otherwise, may be under way. */
const MAX_ALIKE = 8;

/** One of those who wait for a query's answer. */
interface Asker {
  readonly message: Uint8Array;
  readonly onAnswer: (answer: Uint8Array | null) => void;
}

interface Server {
  readonly key: string;
  readonly endpoint: Endpoint;
  readonly pool: UdpPool;
  lastHeard: number;
  /** Until this time the server is asked after the others. */
  lastUntil: number;
}

interface Query extends Timed {
  readonly message: Uint8Array;
  readonly tcp: boolean;
  /** The whole query with how it is asked, and its question alone, as keys. */
  readonly key: string;
  readonly question: string;
  readonly askers: Asker[];
  readonly servers: readonly Server[];
  readonly attempts: Attempt[];
  readonly failed: Set<Server>;
  readonly end: number;
  /** When the query needs attention. `heapTime` may be earlier. */
  due: number;
  /** How many servers have been asked, over all rounds. */
  turns: number;
  current: Server | null;
  currentSince: number;
  failure: Uint8Array | null;
  done: boolean;
}

export class NodeDns implements HostDns {
  readonly counters: DnsCounters = { ignored: 0, silent: 0, failed: 0 };
  readonly #upstreams: readonly Endpoint[] | null;
  readonly #resolvConf: ResolvConf;
  readonly #system: SystemResolver;
  readonly #maxInFlight: number;
  readonly #maxTcp: number;
  readonly #firstMs: number;
  readonly #againMs: number;
  readonly #totalMs: number;
  readonly #queries: Deadlines<Query> = new Deadlines();
  /** Queries under way by what they ask and how; and how many there are of each question. */
  readonly #byKey: Map<string, Query> = new Map();
  readonly #alike: Map<string, number> = new Map();
  #tcpInFlight = 0;
  #endpoints: readonly Endpoint[] = [];
  #servers: Server[] = [];
  /** Servers that single queries named, in order of last use. */
  readonly #others: Map<string, Server> = new Map();
  #timer: NodeJS.Timeout | null = null;
  #timerAt = 0;
  #closed = false;

  constructor(options: NodeDnsOptions = {}) {
    const upstreams = options.upstreams ?? [];
    this.#upstreams = upstreams.length > 0 ? upstreams : null;
    this.#resolvConf = new ResolvConf(options.resolvConf ?? "/etc/resolv.conf");
    // Read now, because guests may later use up the descriptors that reading takes.
    if (this.#upstreams === null) this.#resolvConf.servers(performance.now());
    this.#system = new SystemResolver(options.names);
    this.#maxInFlight = options.maxInFlight ?? 1024;
    this.#maxTcp = options.maxTcp ?? 64;
    this.#firstMs = options.firstMs ?? 1500;
    this.#againMs = options.againMs ?? 3000;
    this.#totalMs = options.totalMs ?? 9000;
  }

  /** The servers that a query would go to now; empty when the system's name service is asked. */
  servers(): readonly Endpoint[] {
    return this.#upstreams ?? this.#resolvConf.servers(performance.now());
  }

  query(
    query: Uint8Array,
    tcp: boolean,
    onAnswer: (answer: Uint8Array | null) => void,
    servers?: readonly Endpoint[],
  ): void {
    if (this.#closed) return;
    const message = new Uint8Array(query);
    // All but the ID; the question's name in lower case. The length octets of labels are below 64, so no letter is mistaken.
    const text = Buffer.from(message.buffer, 2).toString("latin1");
    const end = dnsQuestionEnd(message, 0) - 2;
    const question = text.slice(DNS_HEADER - 2, end).toLowerCase();
    const whom = servers === undefined ? "" : servers.map(endpointText).join();
    const key = `${tcp ? "tcp" : "udp"} ${whom} ${text.slice(0, DNS_HEADER - 2)}${question}${text.slice(end)}`;
    const same = this.#byKey.get(key);
    if (same !== undefined) return void same.askers.push({ message, onAnswer });
    const alike = this.#alike.get(question) ?? 0;
    const full = this.#queries.size >= this.#maxInFlight || (tcp && this.#tcpInFlight >= this.#maxTcp);
    if (full || alike >= MAX_ALIKE) {
      process.nextTick(() => {
        if (!this.#closed) onAnswer(null);
      });
      return;
    }
    const now = performance.now();
    const q: Query = {
      heapIndex: -1,
      heapTime: 0,
      message,
      tcp,
      key,
      question,
      askers: [{ message, onAnswer }],
      servers:
        servers === undefined
          ? this.#order(now)
          : livelyFirst(
              servers.map((each) => this.#other(each)),
              now,
            ),
      attempts: [],
      failed: new Set(),
      end: now + this.#totalMs,
      due: now + this.#totalMs,
      turns: 0,
      current: null,
      currentSince: now,
      failure: null,
      done: false,
    };
    if (tcp) this.#tcpInFlight++;
    this.#byKey.set(key, q);
    this.#alike.set(question, alike + 1);
    if (q.servers.length === 0) {
      this.#system.ask(q.message, (answer) => this.#finish(q, answer));
      this.#queries.schedule(q, q.due);
    } else {
      this.#next(q, now);
    }
    this.#arm(now);
  }

  close(): void {
    this.#closed = true;
    for (let q = this.#queries.due(Number.POSITIVE_INFINITY); q !== null; ) {
      this.#end(q);
      q = this.#queries.due(Number.POSITIVE_INFINITY);
    }
    for (const server of this.#everyServer()) server.pool.drain();
    this.#servers = [];
    this.#others.clear();
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
  }

  /** The servers in the order in which to ask them now. */
  #order(now: number): readonly Server[] {
    const endpoints = this.#upstreams ?? this.#resolvConf.servers(now);
    if (endpoints !== this.#endpoints) this.#change(endpoints);
    return livelyFirst(this.#servers, now);
  }

  #change(endpoints: readonly Endpoint[]): void {
    this.#endpoints = endpoints;
    const old = new Map(this.#servers.map((s) => [s.key, s]));
    const servers = new Map<string, Server>();
    for (const endpoint of endpoints) {
      const key = endpointText(endpoint);
      servers.set(key, old.get(key) ?? this.#server(key, endpoint));
      old.delete(key);
    }
    for (const gone of old.values()) gone.pool.drain();
    this.#servers = [...servers.values()];
  }

  /** A server that one query names. The one used longest ago is forgotten. */
  #other(endpoint: Endpoint): Server {
    const key = endpointText(endpoint);
    const server = this.#others.get(key) ?? this.#server(key, endpoint);
    this.#others.delete(key);
    for (const [oldest, { pool }] of this.#others) {
      if (this.#others.size < MAX_OTHERS) break;
      pool.drain();
      this.#others.delete(oldest);
    }
    this.#others.set(key, server);
    return server;
  }

  #everyServer(): readonly Server[] {
    return this.#others.size === 0 ? this.#servers : [...this.#servers, ...this.#others.values()];
  }

  #server(key: string, endpoint: Endpoint): Server {
    const pool = new UdpPool(endpoint, () => {
      this.counters.ignored++;
    });
    return { key, endpoint, pool, lastHeard: Number.NEGATIVE_INFINITY, lastUntil: Number.NEGATIVE_INFINITY };
  }

  /**
   * Asks the next server that has not failed. If there is none, or a round has brought a failing answer, the query
   * ends.
   */
  #next(q: Query, now: number): void {
    const count = q.servers.length;
    for (let tried = 0; tried < count; tried++) {
      const again = q.turns >= count;
      if (again && q.failure !== null) break;
      const server = q.servers[q.turns++ % count]!;
      if (q.failed.has(server)) continue;
      q.current = server;
      q.currentSince = now;
      q.due = Math.min(q.end, now + (again ? this.#againMs : this.#firstMs));
      this.#queries.schedule(q, q.due);
      const onResult = (answer: Uint8Array | null) => this.#result(q, server, answer);
      q.attempts.push(q.tcp ? askTcp(server.endpoint, q.message, onResult) : server.pool.ask(q.message, now, onResult));
      return;
    }
    this.#finish(q, q.failure);
  }

  #result(q: Query, server: Server, answer: Uint8Array | null): void {
    const now = performance.now();
    if (answer !== null) {
      server.lastHeard = now;
      server.lastUntil = Number.NEGATIVE_INFINITY;
      if (!isFailure(dnsRcode(answer, 0))) return this.#finish(q, answer);
      q.failure = answer;
    }
    this.counters.failed++;
    q.failed.add(server);
    // A failure of an earlier server, given up already, does not end the wait for the current one.
    if (server === q.current) this.#next(q, now);
  }

  #finish(q: Query, answer: Uint8Array | null): void {
    if (q.done) return;
    this.#queries.remove(q);
    this.#end(q);
    for (const { message, onAnswer } of q.askers) {
      // Each asker has an ID of its own, and its own letters in the question.
      if (answer === null || message === q.message) onAnswer(answer);
      else onAnswer(matchAnswer(message, dnsId(answer, 0), answer.slice()));
    }
  }

  #end(q: Query): void {
    q.done = true;
    this.#byKey.delete(q.key);
    const alike = this.#alike.get(q.question)! - 1;
    if (alike === 0) this.#alike.delete(q.question);
    else this.#alike.set(q.question, alike);
    if (q.tcp) this.#tcpInFlight--;
    for (const attempt of q.attempts) attempt.cancel();
  }

  #tick(): void {
    this.#timer = null;
    const now = performance.now();
    for (let q = this.#queries.due(now); q !== null; q = this.#queries.due(now)) {
      if (q.due > now) {
        this.#queries.schedule(q, q.due);
        continue;
      }
      this.#silence(q, now);
    }
    for (const server of this.#everyServer()) server.pool.sweep(now);
    this.#arm(now);
  }

  #silence(q: Query, now: number): void {
    const server = q.current;
    if (server !== null) {
      this.counters.silent++;
      if (server.lastHeard < q.currentSince) server.lastUntil = now + SILENT_LAST_MS;
    }
    if (now >= q.end) this.#finish(q, q.failure);
    else this.#next(q, now);
  }

  #arm(now: number): void {
    if (this.#closed) return;
    const sockets = this.#everyServer().some((s) => s.pool.open > 0);
    const at = Math.min(this.#queries.next(), sockets ? now + SWEEP_MS : Number.POSITIVE_INFINITY);
    if (at === Number.POSITIVE_INFINITY || (this.#timer !== null && this.#timerAt <= at)) return;
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timerAt = at;
    this.#timer = setTimeout(() => this.#tick(), Math.max(1, Math.ceil(at - now)));
  }
}

/** Moves servers that have lately sent nothing to the end. */
function livelyFirst(servers: readonly Server[], now: number): readonly Server[] {
  if (servers.every((s) => s.lastUntil <= now)) return servers;
  return [...servers.filter((s) => s.lastUntil <= now), ...servers.filter((s) => s.lastUntil > now)];
}

/** Response codes by which a server says only that it cannot answer. */
function isFailure(rcode: number): boolean {
  return rcode === DNS_SERVFAIL || rcode === DNS_NOTIMP || rcode === DNS_REFUSED;
}
