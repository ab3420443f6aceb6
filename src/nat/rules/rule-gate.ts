/**
 * The rules in front of whoever else is asked about flows (`onFlow`). While there are neither rules nor anybody else it
 * is not `active`, and flows do not wait. What is refused is reported with the rule that did it.
 *
 * What may begin comes with a `Grant`: what it is held to as long as it lives.
 */
import { addressFromText, type IpAddress, type IpText } from "../../core/address.ts";
import type { Clock } from "../../core/clock.ts";
import type { FlowGate, GatedFlow, Ruling } from "../../core/gate.ts";
import type { Link } from "../../core/link.ts";
import type { Trace } from "../../core/trace.ts";
import type { Neighbour, Neighbours } from "../../proto/neighbours.ts";
import { DNS_ANY, DNS_HTTPS, DNS_SVCB } from "../../wire/dns.ts";
import { macNumber } from "../../wire/ethernet.ts";
import { farName } from "./far-end.ts";
import { type LimitState, leaveAll, type Meter, Meters, NO_METERS } from "./meters.ts";
import { type NameCheck, NameChecks } from "./name-check.ts";
import type { Policy } from "./policy.ts";
import { needOf, remedyOf } from "./remedy.ts";
import { type Asked, type Because, because, endText, RuleReports, wantOf } from "./rule-reports.ts";
import { type FlowProto, isNameOf, judge, limitOf, NO_RULES, type Rule, type RuleSet, type Subject } from "./rules.ts";
import { RulesInForce } from "./rules-in-force.ts";
import { guardedPrefix } from "./special-addresses.ts";

const DENY: Ruling = { action: "deny", how: "reset" };
const ALLOW: Ruling = { action: "allow" };
const EMPTY: Ruling = { action: "empty" };
const BUSY: Ruling = { action: "deny", how: "reset", reason: "conn-limit" };
/** Silence makes clients ask again, a little later. */
const BUSY_DNS: Ruling = { action: "deny", how: "drop", reason: "dns-rate" };
const CLOSED = "mode: nothing leaves this host";
const NO_GATEWAY = "host-loopback off: the gateway leads nowhere";
const INSIDE = "built in: the guests' own network is not reached by way of the gateway";
const BUILT_IN = "built in: no metadata, link-local, loopback, multicast or reserved addresses";

/** A flow that only the default refuses. */
export interface AskedFlow {
  /** The narrowest rule that would allow it. */
  readonly rule: string;
  readonly proto: FlowProto;
  /** The guest's address and cable. */
  readonly guest: IpText;
  readonly cable: string | null;
  /** The far end's name, and `IP:PORT`. */
  readonly host: string | null;
  readonly remote: string;
}

/** Somebody who is asked before the default refuses a flow. */
export interface FlowAsker {
  /**
   * Calls `done` once, never from inside this call; the flow waits until then. A rule lets this flow begin and no other, "again"
   * has it judged by the rules that there are now, null refuses it.
   */
  ask(flow: AskedFlow, done: (answer: Rule | "again" | null) => void): void;
}

/** What the gate needs of the network around it. */
export interface GateContext {
  /** Who is asked after the rules; null for nobody. */
  readonly inner: FlowGate | null;
  readonly rules: RuleSet;
  readonly policy: Policy;
  readonly neighbours: Neighbours;
  readonly clock: Clock;
  readonly trace: Trace;
  /** Who is asked before the default refuses; null for nobody. */
  readonly asker: FlowAsker | null;
}

/** What is reported beyond refusals, and whether the default counts. */
export interface GateOptions {
  readonly learn?: boolean;
  readonly tellAllowed?: boolean;
}

/** What a flow that may begin is held to. */
export interface Grant {
  /** Who is to be shown a connection's first bytes; null for nobody. */
  readonly nameCheck: NameCheck | null;
  /** Where it counts, already: `leaveAll` is due when it ends, or does not begin after all. */
  readonly meters: readonly Meter[];
  /** The name of the far end that a rule about names allowed; null when it was the address that was. */
  readonly dialName: string | null;
}

/** What becomes of a flow, by which rule, and which one would have let it pass; null where none would, or it does. */
export interface Explanation {
  readonly allow: boolean;
  readonly rule: string;
  /** As of a refusal: the rule, and what else there is to say. */
  readonly reason: string;
  readonly remedy: string | null;
}

const FREE: Grant = { nameCheck: null, meters: NO_METERS, dialName: null };

export class RuleGate implements FlowGate {
  readonly #inner: FlowGate | null;
  readonly #policy: Policy;
  readonly #neighbours: Neighbours;
  readonly #clock: Clock;
  readonly #meters: Meters = new Meters();
  readonly #asker: FlowAsker | null;
  readonly #reports: RuleReports;
  readonly #rules: RulesInForce;
  readonly #nameChecks: NameChecks;
  #active: boolean;

  constructor(env: GateContext, { learn = false, tellAllowed = false }: GateOptions = {}) {
    const { inner, rules, policy } = env;
    this.#asker = env.asker;
    this.#inner = inner;
    this.#policy = policy;
    this.#active = inner !== null || rules !== NO_RULES || learn || tellAllowed;
    this.#neighbours = env.neighbours;
    this.#clock = env.clock;
    this.#reports = new RuleReports(env.trace, tellAllowed);
    this.#rules = new RulesInForce(rules, (address) => policy.asRuled(address), learn);
    this.#nameChecks = new NameChecks(this.#rules, this.#reports, learn);
  }

  /** Whether flows are judged. Once they are they always will be, since what is judged is kept differently. */
  get active(): boolean {
    return this.#active;
  }

  /** From now on these. Flows that exist are the caller's to look through, with `permits`. */
  replace(set: RuleSet): void {
    this.#rules.replace(set);
    this.#active = true;
    const limits = [...set.rules, ...set.limits].flatMap(({ limit }) => limit?.text ?? []);
    this.#meters.keep(new Set(limits));
  }

  /** Flows that the default would refuse are asked about, and judged anew when the answer is there. */
  get asks(): boolean {
    return this.#asker !== null;
  }

  judge(flow: GatedFlow, done: (ruling: Ruling, grant: Grant) => void): void {
    this.#judge(flow, done, false);
  }

  /** `answered`: somebody has been asked about it. */
  #judge(flow: GatedFlow, done: (ruling: Ruling, grant: Grant) => void, answered: boolean): void {
    const remote = this.#policy.asRuled(addressFromText(flow.remote.host));
    const guest = addressFromText(flow.guest.host);
    const neighbour = this.#neighbours.find(guest);
    const subject: Asked = {
      ...{ direction: "out", proto: flow.proto, guest, remote, port: flow.remote.port, names: flow.hosts },
      mac: neighbour === null ? -1 : macNumber(neighbour.mac, 0),
      cable: neighbour?.link?.name ?? null,
      inside: this.#policy.isInside(remote),
      qtype: flow.qtype,
    };
    const later = (ruling: Ruling, grant: Grant = FREE): void => queueMicrotask(() => done(ruling, grant));
    const judgement = judge(answered ? this.#rules.withOnce : this.#rules.set, subject);
    const { allow, rule, by } = judgement;
    if (!allow) {
      const refuse = (): void => {
        this.#reports.refused(subject, flow.guest.port, judgement);
        const told = `refused by ${judgement.reason}`;
        later(flow.proto === "dns" ? { action: "deny", how: "reset", told } : DENY);
      };
      if (this.#asker === null || answered || by !== null || !this.#mayAsk(subject)) return refuse();
      const { proto, port, cable = null } = subject;
      const name = subject.names[0] ?? null;
      const asked: AskedFlow = {
        ...{ rule: needOf(subject, name, wantOf(subject)), proto, guest: guest.text, cable, host: name },
        remote: endText(proto, remote, port),
      };
      return this.#asker.ask(asked, (answer) => {
        if (answer === null) return refuse();
        if (answer !== "again") this.#rules.allowOnce(answer);
        this.#judge(flow, done, true);
      });
    }
    const meters = this.#metersOf(subject, neighbour?.link ?? null, by);
    const busy = this.#tooMany(subject, flow.guest.port, meters);
    if (busy !== null) return later(busy);
    const domain = by?.domain ? by : null;
    if (domain !== null && flow.proto === "dns" && tellsKeys(flow.qtype) && !domain.terms.ech) return later(EMPTY);
    const way = flow.proto === "dns" ? "open" : this.#wayTo(remote, by);
    const named = way === "named";
    // Whoever is asked next may send it elsewhere.
    if (typeof way === "object" && this.#inner === null) {
      this.#reports.refused(subject, flow.guest.port, way, this.#namingRemedy(subject));
      return later(DENY);
    }
    const grant = this.#admit(subject, flow.guest.port, by, meters);
    if (this.#inner === null) {
      this.#reports.allowed(subject, flow.guest.port, rule, by);
      return later(named ? open(ALLOW, flow) : ALLOW, grant);
    }
    this.#inner.judge(flow, (ruling) => {
      if (ruling.action === "deny") leaveAll(grant.meters);
      else this.#reports.allowed(subject, flow.guest.port, rule, by);
      done(named ? open(ruling, flow) : ruling, ruling.action === "deny" ? FREE : grant);
    });
  }

  /** What is closed by itself is not opened by an answer in a hurry. */
  #mayAsk({ proto, remote }: Subject): boolean {
    return proto === "dns" || (!this.#isGuarded(remote) && this.#policy.hostSide(remote) !== null);
  }

  /** A connection or UDP flow begins, and counts; DNS and ping are counted otherwise, or not. */
  #admit(subject: Subject, guestPort: number, by: Rule | null, meters: readonly Meter[]): Grant {
    const counted = subject.proto === "tcp" || subject.proto === "udp" ? meters : NO_METERS;
    for (const meter of counted) meter.enter();
    const nameCheck = subject.proto === "tcp" ? this.#nameChecks.of(subject, guestPort, by) : null;
    if (nameCheck === null && counted.length === 0) return FREE;
    const domain = by?.domain ?? null;
    const dialName = domain === null ? null : (subject.names.find((name) => isNameOf(domain, name)) ?? null);
    return { nameCheck, meters: counted, dialName };
  }

  /** The meters of a guest's limits in all, for what comes to it: only its bytes count. */
  metersIn(guest: Neighbour): readonly Meter[] {
    const nobody = { proto: "tcp", port: 0, remote: guest.address, names: [] } as const;
    const subject: Subject = {
      direction: "in",
      guest: guest.address,
      mac: macNumber(guest.mac, 0),
      cable: guest.link?.name ?? null,
      ...nobody,
    };
    return this.#metersOf(subject, guest.link, null);
  }

  limits(): LimitState[] {
    return this.#meters.list();
  }

  detached(link: Link): void {
    this.#meters.detached(link);
  }

  #metersOf(subject: Subject, link: Link | null, by: Rule | null): readonly Meter[] {
    const inAll = limitOf(this.#rules.set, subject);
    const own = by?.limit ?? null;
    if (link === null || (own === null && inAll === null)) return NO_METERS;
    const now = this.#clock.now();
    return [own, inAll].filter((limit) => limit !== null).map((limit) => this.#meters.of(link, limit, now));
  }

  /** The ruling about what is one too many, which has been reported; null when there is room. */
  #tooMany(subject: Asked, guestPort: number, meters: readonly Meter[]): Ruling | null {
    if (subject.proto === "icmp") return null;
    const now = this.#clock.now();
    const dns = subject.proto === "dns";
    for (const meter of meters) {
      const exceeded = dns ? meter.query(now) : meter.full(now);
      if (exceeded === null) continue;
      meter.refused++;
      this.#reports.refused(subject, guestPort, because(meter.limit.text, exceeded), null);
      return dns ? BUSY_DNS : BUSY;
    }
    return null;
  }

  /** Whether a flow may begin or go on, `port` being the far end's and, of what comes in, the guest's. */
  permits(
    direction: "in" | "out",
    proto: FlowProto,
    guest: Neighbour,
    guestPort: number,
    remote: IpAddress,
    remotePort: number,
    names: readonly string[],
  ): boolean {
    const port = direction === "in" ? guestPort : remotePort;
    const mac = macNumber(guest.mac, 0);
    const far = direction === "in" ? remote : this.#policy.asRuled(remote);
    const inside = this.#policy.isInside(far);
    const cable = guest.link?.name ?? null;
    const subject: Subject = { direction, proto, guest: guest.address, mac, cable, remote: far, port, names, inside };
    const judgement = judge(this.#rules.withOnce, subject);
    if (!judgement.allow) this.#reports.refused({ ...subject, port: remotePort }, guestPort, judgement);
    return judgement.allow;
  }

  /**
   * What becomes of a flow that is not there, by the rules and by what is closed whatever they say. `onFlow` may say otherwise.
   * `answeredHere`: of a query, that it needs no resolver.
   */
  explain(subject: Subject, answeredHere = false): Explanation {
    const remote = this.#policy.asRuled(subject.remote);
    const whole = { ...subject, remote, inside: this.#policy.isInside(remote) };
    const { allow, rule, reason, by } = judge(this.#rules.set, whole);
    const name = subject.names[0] ?? null;
    const unsayable = name !== null && farName(name) === null;
    if (!allow) return { allow, rule, reason, remedy: unsayable ? null : remedyOf(whole, name, wantOf(whole)) };
    const refusing = this.#policy.closed && !answeredHere ? because(CLOSED) : "open";
    const way = subject.proto === "dns" ? refusing : this.#wayTo(remote, by);
    if (typeof way === "object") return { allow: false, ...way, remedy: this.#namingRemedy(whole) };
    return { allow, rule, reason, remedy: null };
  }

  /** The way of what `by` has allowed, null for the default: "named" is past what is closed to others. Or why there is none. */
  #wayTo(remote: IpAddress, by: Rule | null): "open" | "named" | Because {
    const policy = this.#policy;
    if (this.#isGuarded(remote) && by?.net && by.net.prefix >= guardedPrefix(remote)) return "named";
    if (policy.hostSide(remote) !== null) return "open";
    if (policy.closed) return because(CLOSED);
    if (remote.is(policy.gatewayFor(remote.family))) return because(NO_GATEWAY);
    return because(policy.isInside(remote) ? INSIDE : BUILT_IN);
  }

  /** The rule that opens what is closed to all rules that do not name it; null where none does. */
  #namingRemedy(subject: Subject): string | null {
    return subject.proto !== "dns" && this.#isGuarded(subject.remote) ? remedyOf(subject, null) : null;
  }

  /** Closed by itself, and open to rules that name it: where there is no way out at all no rule makes one. */
  #isGuarded(remote: IpAddress): boolean {
    return !this.#policy.closed && guardedPrefix(remote) > 0;
  }
}

/** Records that say with which key a name is encrypted, and which other protocols and addresses serve it (RFC 9460). */
function tellsKeys(qtype: number): boolean {
  return qtype === DNS_SVCB || qtype === DNS_HTTPS || qtype === DNS_ANY;
}

/** What was named goes there, past what is closed otherwise. */
function open(ruling: Ruling, { remote }: GatedFlow): Ruling {
  return ruling.action === "allow" ? { action: "redirect", to: remote } : ruling;
}
