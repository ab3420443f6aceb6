/**
 * The rules in front of whoever else is asked about flows (`onFlow`). While there are neither rules nor anybody else it
 * is not `active`, and flows do not wait. What is refused is reported with the rule that did it.
 *
 * A TCP connection that a rule about a domain allows is allowed for what it says it is: it comes with a `look` at its
 * first bytes, which judges the name that they show as if the guest had begun a connection by that name.
 */
import { addressFromText, endpointText, type IpAddress, type IpText } from "../../core/address.ts";
import type { Clock } from "../../core/clock.ts";
import type { FlowGate, GatedFlow, Ruling } from "../../core/gate.ts";
import type { Link } from "../../core/link.ts";
import type { Trace } from "../../core/trace.ts";
import type { Neighbour, Neighbours } from "../../proto/neighbours.ts";
import type { ShownName } from "../../proto/shown-name.ts";
import { DNS_ANY, DNS_HTTPS, DNS_SVCB } from "../../wire/dns.ts";
import { macNumber } from "../../wire/ethernet.ts";
import { type LimitState, leaveAll, type Meter, Meters, NO_METERS } from "./meters.ts";
import type { Policy } from "./policy.ts";
import { needOf, remedyOf, type Want } from "./remedy.ts";
import { type FlowProto, isNameOf, judge, limitOf, NO_RULES, type Rule, type RuleSet, type Subject } from "./rules.ts";
import { guardedPrefix } from "./special-addresses.ts";

const DENY: Ruling = { action: "deny", how: "reset" };
const ALLOW: Ruling = { action: "allow" };
const EMPTY: Ruling = { action: "empty" };
const BUSY: Ruling = { action: "deny", how: "reset", reason: "conn-limit" };
/** Silence makes clients ask again, a little later. */
const BUSY_DNS: Ruling = { action: "deny", how: "drop", reason: "dns-rate" };
const HTTPS_PORT = 443;
const CLOSED = "mode: nothing leaves this host";
const BUILT_IN = "built in: no metadata, link-local, loopback, multicast or reserved addresses";

/**
 * What a connection's first bytes are shown to: "other" is a protocol in which no name shows, "none" too few bytes to
 * tell in the time and the room there is. True lets it go on; a refusal has been reported.
 */
export interface NameCheck {
  (shown: ShownName | "other" | "none"): boolean;
  /** Only looks: what cannot be read passes, too. */
  readonly lenient?: boolean;
  /** Which rule has refused it. */
  refusedBy?: string;
}

/** A flow that only the default refuses. */
export interface AskedFlow {
  /** The narrowest rule that would allow it. */
  readonly rule: string;
  /** The guest's address and cable. */
  readonly host: IpText;
  readonly cable: string | null;
}

/** Somebody who is asked before the default refuses a flow. */
export interface FlowAsker {
  /**
   * Calls `done` once, never from inside this call; the flow waits until then. A rule lets this flow begin and no other, "again"
   * has it judged by the rules that there are now, null refuses it.
   */
  ask(flow: AskedFlow, done: (answer: Rule | "again" | null) => void): void;
}

/** What is reported beyond refusals, and whether the default counts. */
export interface GateOptions {
  readonly learn?: boolean;
  readonly tellAllowed?: boolean;
}

/** Rules for single flows that are remembered for as long as those flows may live. */
const MOST_ONCE = 1_024;

/** What a flow that may begin is held to. */
export interface Grant {
  /** Who is to be shown a connection's first bytes; null for nobody. */
  readonly nameCheck: NameCheck | null;
  /** Where it counts, already: `leaveAll` is due when it ends, or does not begin after all. */
  readonly meters: readonly Meter[];
  /** The name of the far end that a rule about names allowed; null when it was the address that was. */
  readonly dialName: string | null;
}

/** What rules say, which of them, and which one would have let it pass; null where none would, or it does. */
export interface Explanation {
  readonly allow: boolean;
  readonly rule: string;
  readonly remedy: string | null;
}

const FREE: Grant = { nameCheck: null, meters: NO_METERS, dialName: null };

export class RuleGate implements FlowGate {
  readonly #inner: FlowGate | null;
  readonly #policy: Policy;
  readonly #neighbours: Neighbours;
  readonly #trace: Trace;
  readonly #clock: Clock;
  readonly #meters: Meters = new Meters();
  readonly #options: GateOptions;
  readonly #asker: FlowAsker | null;
  /** What single flows have been allowed by: it counts when they are looked at again, and not for others. */
  readonly #once: Map<string, Rule> = new Map();
  #withOnce: RuleSet;
  #set: RuleSet;
  #active: boolean;
  /** The first rule that denies a name: what no rule about a name or an address has allowed is looked at for those. */
  #deniesNames: Rule | null;

  constructor(
    inner: FlowGate | null,
    set: RuleSet,
    policy: Policy,
    neighbours: Neighbours,
    clock: Clock,
    trace: Trace,
    options: GateOptions = {},
    asker: FlowAsker | null = null,
  ) {
    this.#options = options;
    this.#asker = asker;
    this.#inner = inner;
    this.#policy = policy;
    this.#set = this.#asRuled(set);
    this.#withOnce = this.#set;
    this.#active = inner !== null || set !== NO_RULES || options.learn === true || options.tellAllowed === true;
    this.#deniesNames = deniesNames(this.#set);
    this.#neighbours = neighbours;
    this.#clock = clock;
    this.#trace = trace;
  }

  /** Whether flows are judged. Once they are they always will be, since what is judged is kept differently. */
  get active(): boolean {
    return this.#active;
  }

  /** From now on these. Flows that exist are the caller's to look through, with `permits`. */
  replace(set: RuleSet): void {
    this.#set = this.#asRuled(set);
    this.#withOnce = { ...this.#set, rules: [...this.#set.rules, ...this.#once.values()] };
    this.#active = true;
    this.#deniesNames = deniesNames(this.#set);
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
    const subject: Subject = {
      ...{ direction: "out", proto: flow.proto, guest, remote, port: flow.remote.port, names: flow.hosts },
      mac: neighbour === null ? -1 : macNumber(neighbour.mac, 0),
      cable: neighbour?.link?.name ?? null,
      inside: this.#policy.isInside(remote),
    };
    const later = (ruling: Ruling, grant: Grant = FREE): void => queueMicrotask(() => done(ruling, grant));
    const { allow, rule, by } = judge(answered ? this.#withOnce : this.#set, subject);
    if (!allow) {
      const refuse = (): void => {
        this.#refuse(subject, flow.guest.port, rule);
        later(flow.proto === "dns" ? { action: "deny", how: "reset", why: `refused by ${rule}` } : DENY);
      };
      if (this.#asker === null || answered || by !== null || !this.#mayAsk(subject)) return refuse();
      const needed = needOf(subject, subject.names[0] ?? null, wantOf(subject));
      return this.#asker.ask({ rule: needed, host: guest.text, cable: subject.cable ?? null }, (answer) => {
        if (answer === null) return refuse();
        if (answer !== "again") this.#allowOnce(answer);
        this.#judge(flow, done, true);
      });
    }
    const meters = this.#metersOf(subject, neighbour?.link ?? null, by);
    const busy = this.#tooMany(subject, flow.guest.port, meters);
    if (busy !== null) return later(busy);
    const domain = by?.domain ? by : null;
    if (domain !== null && flow.proto === "dns" && tellsKeys(flow.qtype) && !domain.terms.ech) return later(EMPTY);
    const guarded = flow.proto !== "dns" && this.#isGuarded(remote);
    const named = guarded && !!by?.net && by.net.prefix >= guardedPrefix(remote);
    const passes = flow.proto === "dns" || named || this.#inner !== null || this.#policy.hostSide(remote) !== null;
    if (!passes) {
      const remedy = guarded && !this.#policy.closed ? remedyOf(subject, null) : null;
      this.#refuse(subject, flow.guest.port, this.#policy.closed ? CLOSED : BUILT_IN, undefined, remedy);
      return later(DENY);
    }
    const grant = this.#admit(subject, flow.guest.port, by, meters);
    if (this.#inner === null) {
      this.#allowed(subject, flow.guest.port, rule, by);
      return later(named ? open(ALLOW, flow) : ALLOW, grant);
    }
    this.#inner.judge(flow, (ruling) => {
      if (ruling.action === "deny") leaveAll(grant.meters);
      else this.#allowed(subject, flow.guest.port, rule, by);
      done(named ? open(ruling, flow) : ruling, ruling.action === "deny" ? FREE : grant);
    });
  }

  /** What is closed by itself is not opened by an answer in a hurry. */
  #mayAsk({ proto, remote }: Subject): boolean {
    return proto === "dns" || (!this.#isGuarded(remote) && this.#policy.hostSide(remote) !== null);
  }

  #allowOnce(rule: Rule): void {
    this.#once.delete(rule.text);
    this.#once.set(rule.text, rule);
    if (this.#once.size > MOST_ONCE) this.#once.delete(this.#once.keys().next().value!);
    this.#withOnce = this.#asRuled({ ...this.#set, rules: [...this.#set.rules, ...this.#once.values()] });
  }

  /** A connection or UDP flow begins, and counts; DNS and ping are counted otherwise, or not. */
  #admit(subject: Subject, guestPort: number, by: Rule | null, meters: readonly Meter[]): Grant {
    const counted = subject.proto === "tcp" || subject.proto === "udp" ? meters : NO_METERS;
    for (const meter of counted) meter.enter();
    let nameCheck: NameCheck | null = null;
    if (subject.proto === "tcp") {
      const told = (rule: string): void => {
        if (nameCheck !== null) nameCheck.refusedBy = rule;
      };
      if (by?.domain) nameCheck = (shown) => this.#look(subject, guestPort, by, shown, told);
      else if (this.#deniesNames !== null && !by?.net)
        nameCheck = (shown) => this.#lookForDenied(subject, guestPort, shown, told);
      if (this.#options.learn === true && by === null && subject.names.length > 0)
        nameCheck = this.#learning(subject, guestPort, nameCheck);
    }
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
    const inAll = limitOf(this.#set, subject);
    const own = by?.limit ?? null;
    if (link === null || (own === null && inAll === null)) return NO_METERS;
    const now = this.#clock.now();
    return [own, inAll].filter((limit) => limit !== null).map((limit) => this.#meters.of(link, limit, now));
  }

  /** The ruling about what is one too many, which has been reported; null when there is room. */
  #tooMany(subject: Subject, guestPort: number, meters: readonly Meter[]): Ruling | null {
    if (subject.proto === "icmp") return null;
    const now = this.#clock.now();
    const dns = subject.proto === "dns";
    for (const meter of meters) {
      const why = dns ? meter.query(now) : meter.full(now);
      if (why === null) continue;
      meter.refused++;
      this.#refuse(subject, guestPort, meter.limit.text, why, null);
      return dns ? BUSY_DNS : BUSY;
    }
    return null;
  }

  /** Judges what a connection that `begun` allowed has shown of itself. */
  #look(
    subject: Subject,
    guestPort: number,
    begun: Rule,
    shown: Parameters<NameCheck>[0],
    told: (rule: string) => void,
  ): boolean {
    const refuse = (rule: string, what: string, remedy: string | null): boolean => {
      told(rule);
      this.#refuse(subject, guestPort, rule, what, remedy);
      return false;
    };
    const known = subject.names.find((each) => begun.domain !== null && isNameOf(begun.domain, each)) ?? null;
    const unnamed = remedyOf(subject, known, "unnamed");
    if (shown === "none") return refuse(begun.text, "no name in time", null);
    if (shown === "other") return begun.terms.unnamed !== false || refuse(begun.text, "no name", unnamed);
    const { by: where, name, flaw, encrypted } = shown;
    if (flaw !== null) return refuse(begun.text, `${where}: ${flaw}`, null);
    let terms = begun.terms;
    if (name !== null) {
      const asked = { ...subject, port: shown.port ?? subject.port, names: [name] };
      const found = judge(this.#withOnce, asked);
      if (!found.allow) return refuse(found.rule, `${where} name ${name}`, remedyOf(asked, name));
      if (found.by?.domain) terms = found.by.terms;
    } else if (terms.unnamed !== true) return refuse(begun.text, `${where} without a name`, unnamed);
    const ech = `TLS with an encrypted name, beside ${name ?? "none"}`;
    return !encrypted || terms.ech || refuse(begun.text, ech, remedyOf(subject, name ?? known, "ech"));
  }

  /**
   * Of a connection that needs no name: whether it shows one that a rule denies. What hides which name it asks for, by its
   * form or by taking its time, might ask for such a one.
   */
  #lookForDenied(
    subject: Subject,
    guestPort: number,
    shown: Parameters<NameCheck>[0],
    told: (rule: string) => void,
  ): boolean {
    const refuse = (rule: string, what: string): boolean => {
      told(rule);
      this.#refuse(subject, guestPort, rule, what, null);
      return false;
    };
    const denying = this.#deniesNames?.text;
    if (shown === "other" || denying === undefined) return true;
    if (shown === "none") return refuse(denying, "no name in time");
    if (shown.flaw !== null) return refuse(denying, `${shown.by}: ${shown.flaw}`);
    if (shown.name === null) return true;
    const { allow, rule, by } = judge(this.#set, { ...subject, names: [shown.name] });
    return allow || !by?.domain || refuse(rule, `${shown.by} name ${shown.name}`);
  }

  /**
   * Sees what a connection shows that only the default has allowed, and tells which rules it would take: one about the
   * name, or about the address where what it shows is not to be relied on.
   */
  #learning(subject: Subject, guestPort: number, before: NameCheck | null): NameCheck {
    const [name = null] = subject.names;
    const begun = needOf(subject, name, null);
    const address = needOf(subject, null, null);
    let last = begun;
    const look = (shown: Parameters<NameCheck>[0]): boolean => {
      if (before !== null && !before(shown)) return false;
      if (shown === "other") return true;
      let needs = address;
      let instead: string | undefined = begun;
      if (shown !== "none" && shown.flaw === null) {
        const want: Want = shown.encrypted ? "ech" : shown.name === null ? "unnamed" : null;
        const asked = shown.name ?? name;
        // An address that stands where a name should is none (a Host field): no rule about names can mean it.
        if (asked !== null && !/^[0-9.]+$/.test(asked)) {
          needs = needOf({ ...subject, port: shown.port ?? subject.port }, asked, want);
          // A name that has not led to the address does not let the connection begin: both rules are needed.
          if (!subject.names.includes(asked) || shown.port !== null) instead = undefined;
        }
      }
      if (needs === last || (needs === begun && instead === begun)) return true;
      last = needs;
      const why = shown === "none" ? "no name in time" : `${shown.by} ${shown.flaw ?? shown.name ?? "without a name"}`;
      this.#allowed(subject, guestPort, "default allow", null, {
        needs,
        why,
        ...(instead === undefined ? {} : { instead }),
      });
      return true;
    };
    return Object.assign(look, { lenient: true });
  }

  /** Tells of a flow that may begin, where somebody wants to know. */
  #allowed(
    subject: Subject,
    guestPort: number,
    rule: string,
    by: Rule | null,
    shown: { readonly needs?: string; readonly why?: string; readonly instead?: string } = {},
  ): void {
    if (this.#options.tellAllowed !== true) return;
    const { proto, guest, remote, port, names, cable = null } = subject;
    const host = names[0] ?? null;
    this.#trace.event({
      ...{ type: "flow-allowed", proto, direction: "out", rule, host, cable },
      guest: proto === "icmp" ? guest.text : endpointText({ host: guest.text, port: guestPort }),
      remote: proto === "icmp" ? remote.text : endpointText({ host: remote.text, port }),
      needs: by === null ? needOf(subject, host, wantOf(subject)) : null,
      ...shown,
    });
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
    const { allow, rule } = judge(this.#withOnce, subject);
    if (!allow) this.#refuse({ ...subject, port: remotePort }, guestPort, rule);
    return allow;
  }

  /** What rules say about a flow that is not there. `onFlow` may say otherwise. */
  explain(subject: Subject): Explanation {
    const remote = this.#policy.asRuled(subject.remote);
    const whole = { ...subject, remote, inside: this.#policy.isInside(remote) };
    const { allow, rule } = judge(this.#set, whole);
    const name = subject.names[0] ?? null;
    return { allow, rule, remedy: allow ? null : remedyOf(whole, name, wantOf(whole)) };
  }

  /** The rules, with the gateway under one of its names: whoever writes about the router means it, too. */
  #asRuled(set: RuleSet): RuleSet {
    const learn = this.#options.learn === true;
    if (set === NO_RULES) return set;
    const rules = set.rules.map((rule) =>
      rule.net === null ? rule : { ...rule, net: { ...rule.net, address: this.#policy.asRuled(rule.net.address) } },
    );
    return { ...set, rules, allow: set.allow || learn };
  }

  /** Closed by itself, and open to rules that name it: where there is no way out at all no rule makes one. */
  #isGuarded(remote: IpAddress): boolean {
    return !this.#policy.closed && guardedPrefix(remote) > 0;
  }

  #refuse(subject: Subject, guestPort: number, rule: string, why?: string, remedy?: string | null): void {
    const { direction, proto, guest, remote, port, names } = subject;
    const name = names[0] ?? null;
    this.#trace.event({
      ...{ type: "flow-refused", proto, direction, rule, host: name },
      ...(why === undefined ? {} : { why }),
      guest: proto === "icmp" ? guest.text : endpointText({ host: guest.text, port: guestPort }),
      remote: proto === "icmp" ? remote.text : endpointText({ host: remote.text, port }),
      remedy: remedy === undefined ? remedyOf(subject, name, wantOf(subject)) : remedy,
    });
  }
}

/** QUIC is what UDP to port 443 is taken for, where a name has led there. */
function wantOf({ proto, port, names }: Subject): Want {
  return proto === "udp" && port === HTTPS_PORT && names.length > 0 ? "quic" : null;
}

function deniesNames({ rules }: RuleSet): Rule | null {
  const denies = ({ allow, direction, proto, domain }: Rule): boolean =>
    !allow && direction === "out" && domain !== null && (proto === null || proto === "tcp");
  return rules.find(denies) ?? null;
}

/** Records that say with which key a name is encrypted, and which other protocols and addresses serve it (RFC 9460). */
function tellsKeys(qtype: number): boolean {
  return qtype === DNS_SVCB || qtype === DNS_HTTPS || qtype === DNS_ANY;
}

/** What was named goes there, past what is closed otherwise. */
function open(ruling: Ruling, { remote }: GatedFlow): Ruling {
  return ruling.action === "allow" ? { action: "redirect", to: remote } : ruling;
}
