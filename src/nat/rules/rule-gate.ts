/**
 * The gate: rules, and behind them `onFlow`. Without either it is not `active`, and flows do not wait. A refusal is
 * reported with its rule.
 *
 * A flow that may begin gets a `Grant`: the conditions that hold for as long as it lives.
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
/** No answer at all makes clients ask again, a little later. */
const BUSY_DNS: Ruling = { action: "deny", how: "drop", reason: "dns-rate" };
const CLOSED = "mode: nothing leaves this host";
const NO_GATEWAY = "host-loopback off: the gateway leads nowhere";
const INSIDE = "built in: the guests' own network is not reached by way of the gateway";
const BUILT_IN = "built in: no metadata, link-local, loopback, multicast or reserved addresses";

/** A flow that only the default refuses; somebody is asked about it. */
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
   * Calls `done` once, never from inside this call; the flow waits until then. A rule as the answer lets only this flow
   * begin, "again" has it judged by the rules that are then in force, null refuses it.
   */
  ask(flow: AskedFlow, done: (answer: Rule | "again" | null) => void): void;
}

/** What the gate needs of the network around it. */
export interface GateContext {
  /** The gate behind the rules (`onFlow`); null for none. */
  readonly inner: FlowGate | null;
  readonly rules: RuleSet;
  readonly policy: Policy;
  readonly neighbours: Neighbours;
  readonly clock: Clock;
  readonly trace: Trace;
  /** Who is asked before the default refuses; null for nobody. */
  readonly asker: FlowAsker | null;
}

/** What is reported beyond refusals, and whether the default allows. */
export interface GateOptions {
  readonly learn?: boolean;
  readonly tellAllowed?: boolean;
}

/** The conditions for a flow that may begin. */
export interface Grant {
  /** The check for a connection's first bytes; null for none. */
  readonly nameCheck: NameCheck | null;
  /** The meters that count the flow, already. `leaveAll` is due when the flow ends, or does not begin after all. */
  readonly meters: readonly Meter[];
  /** The far end's name, if a rule about names allowed the flow; null when the address was judged. */
  readonly dialName: string | null;
}

/**
 * Whether a flow would be allowed, by which rule, and the rule that would allow it (null: none would, or it is
 * allowed).
 */
export interface Explanation {
  readonly allow: boolean;
  readonly rule: string;
  /** The reason in one line, as a refusal reports it. */
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

  /** Whether flows are judged. Once true it stays so, because judged flows are kept in other tables. */
  get active(): boolean {
    return this.#active;
  }

  /** Puts other rules in force. The caller has existing flows judged again, by `permits`. */
  replace(set: RuleSet): void {
    this.#rules.replace(set);
    this.#active = true;
    const limits = [...set.rules, ...set.limits].flatMap(({ limit }) => limit?.text ?? []);
    this.#meters.keep(new Set(limits));
  }

  /**
   * Whether somebody is asked about flows that the default would refuse. They are judged again once there is an answer.
   */
  get asks(): boolean {
    return this.#asker !== null;
  }

  judge(flow: GatedFlow, done: (ruling: Ruling, grant: Grant) => void): void {
    this.#judge(flow, done, false);
  }

  /** `answered`: somebody has been asked about the flow already. */
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
    // `onFlow`, if there is one, may still redirect the flow.
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

  /** No answer given in a hurry opens destinations that are closed to all rules that do not name them. */
  #mayAsk({ proto, remote }: Subject): boolean {
    return proto === "dns" || (!this.#isGuarded(remote) && this.#policy.hostSide(remote) !== null);
  }

  /** A TCP connection or UDP flow begins, and counts. Queries are counted elsewhere, pings are not. */
  #admit(subject: Subject, guestPort: number, by: Rule | null, meters: readonly Meter[]): Grant {
    const counted = subject.proto === "tcp" || subject.proto === "udp" ? meters : NO_METERS;
    for (const meter of counted) meter.enter();
    const nameCheck = subject.proto === "tcp" ? this.#nameChecks.of(subject, guestPort, by) : null;
    if (nameCheck === null && counted.length === 0) return FREE;
    const domain = by?.domain ?? null;
    const dialName = domain === null ? null : (subject.names.find((name) => isNameOf(domain, name)) ?? null);
    return { nameCheck, meters: counted, dialName };
  }

  /** The meters of the guest's limits in all, for a flow that comes to it: only its bytes count. */
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

  /** The refusal of one flow too many, which has been reported; null when there is room. */
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

  /** Whether a flow may begin or go on. `port` is the far end's; of a flow that comes in, the guest's. */
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
   * What would happen to a flow that does not exist, by the rules and by what is closed whatever they say. `onFlow` is
   * not asked. `answeredHere`: the query needs no resolver.
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

  /**
   * How a flow that `by` allows (null: the default) gets there: "named" passes what is closed otherwise. Or why it does
   * not.
   */
  #wayTo(remote: IpAddress, by: Rule | null): "open" | "named" | Because {
    const policy = this.#policy;
    if (this.#isGuarded(remote) && by?.net && by.net.prefix >= guardedPrefix(remote)) return "named";
    if (policy.hostSide(remote) !== null) return "open";
    if (policy.closed) return because(CLOSED);
    if (remote.is(policy.gatewayFor(remote.family))) return because(NO_GATEWAY);
    return because(policy.isInside(remote) ? INSIDE : BUILT_IN);
  }

  /** The rule that opens a destination which is closed unless a rule names it; null for none. */
  #namingRemedy(subject: Subject): string | null {
    return subject.proto !== "dns" && this.#isGuarded(subject.remote) ? remedyOf(subject, null) : null;
  }

  /** Whether the destination is closed unless a rule names it. Where nothing leaves this host, no rule helps. */
  #isGuarded(remote: IpAddress): boolean {
    return !this.#policy.closed && guardedPrefix(remote) > 0;
  }
}

/** Whether records of the type tell encryption keys, or other protocols and addresses of a service (RFC 9460). */
function tellsKeys(qtype: number): boolean {
  return qtype === DNS_SVCB || qtype === DNS_HTTPS || qtype === DNS_ANY;
}

/** Sends an allowed flow to the address that a rule has named, past what is closed otherwise. */
function open(ruling: Ruling, { remote }: GatedFlow): Ruling {
  return ruling.action === "allow" ? { action: "redirect", to: remote } : ruling;
}
