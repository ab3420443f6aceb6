/**
 * The rules in front of whoever else is asked about flows (`onFlow`). While there are neither rules nor anybody else it
 * is not `active`, and flows do not wait. What is refused is reported with the rule that did it.
 *
 * A TCP connection that a rule about a domain allows is allowed for what it says it is: it comes with a `look` at its
 * first bytes, which judges the name that they show as if the guest had begun a connection by that name.
 */
import { addressFromText, endpointText, type IpAddress } from "../core/address.ts";
import type { FlowGate, GatedFlow, Ruling } from "../core/gate.ts";
import type { Trace } from "../core/trace.ts";
import type { Neighbour, Neighbours } from "../proto/neighbours.ts";
import type { ShownName } from "../proto/shown-name.ts";
import { DNS_ANY, DNS_HTTPS, DNS_SVCB } from "../wire/dns.ts";
import { macNumber } from "../wire/ethernet.ts";
import type { Policy } from "./policy.ts";
import { type FlowProto, judge, NO_RULES, type Rule, type RuleSet, type Subject } from "./rules.ts";
import { guardedPrefix } from "./special-addresses.ts";

const DENY: Ruling = { action: "deny", how: "reset" };
const ALLOW: Ruling = { action: "allow" };
const EMPTY: Ruling = { action: "empty" };
const CLOSED = "mode: nothing leaves this host";
const BUILT_IN = "built in: no metadata, link-local, loopback, multicast or reserved addresses";

/**
 * What a connection's first bytes are shown to: "other" is a protocol in which no name shows, "none" too few bytes to
 * tell in the time and the room there is. True lets it go on; a refusal has been reported.
 */
export type Look = (shown: ShownName | "other" | "none") => boolean;

export class RuleGate implements FlowGate {
  readonly #inner: FlowGate | null;
  readonly #policy: Policy;
  readonly #neighbours: Neighbours;
  readonly #trace: Trace;
  #set: RuleSet;
  #active: boolean;

  constructor(inner: FlowGate | null, set: RuleSet, policy: Policy, neighbours: Neighbours, trace: Trace) {
    this.#inner = inner;
    this.#set = set;
    this.#active = inner !== null || set !== NO_RULES;
    this.#policy = policy;
    this.#neighbours = neighbours;
    this.#trace = trace;
  }

  /** Whether flows are judged. Once they are they always will be, since what is judged is kept differently. */
  get active(): boolean {
    return this.#active;
  }

  /** From now on these. Flows that exist are the caller's to look through, with `permits`. */
  replace(set: RuleSet): void {
    this.#set = set;
    this.#active = true;
  }

  judge(flow: GatedFlow, done: (ruling: Ruling, look: Look | null) => void): void {
    const remote = addressFromText(flow.remote.host);
    const guest = addressFromText(flow.guest.host);
    const mac = this.#neighbours.find(guest)?.mac ?? null;
    const subject: Subject = {
      ...{ direction: "out", proto: flow.proto, guest, remote, port: flow.remote.port, names: flow.hosts },
      mac: mac === null ? -1 : macNumber(mac, 0),
    };
    const { allow, rule, by } = judge(this.#set, subject);
    const later = (ruling: Ruling, look: Look | null = null): void => queueMicrotask(() => done(ruling, look));
    if (!allow) {
      this.#refuse(subject, flow.guest.port, rule);
      return later(DENY);
    }
    const domain = by?.domain ? by : null;
    if (domain !== null && flow.proto === "dns" && tellsKeys(flow.qtype) && !domain.terms.ech) return later(EMPTY);
    const guarded = flow.proto !== "dns" && this.#isGuarded(remote);
    const named = guarded && !!by?.net && by.net.prefix >= guardedPrefix(remote);
    const look =
      domain === null || flow.proto !== "tcp"
        ? null
        : (shown: ShownName | "other" | "none") => this.#look(subject, flow.guest.port, domain, shown);
    if (this.#inner !== null)
      return this.#inner.judge(flow, (ruling) => done(named ? open(ruling, flow) : ruling, look));
    if (flow.proto === "dns" || named || this.#policy.hostSide(remote) !== null)
      return later(named ? open(ALLOW, flow) : ALLOW, look);
    this.#refuse(subject, flow.guest.port, this.#policy.closed ? CLOSED : BUILT_IN);
    later(DENY);
  }

  /** Judges what a connection that `begun` allowed has shown of itself. */
  #look(subject: Subject, guestPort: number, begun: Rule, shown: Parameters<Look>[0]): boolean {
    const refuse = (rule: string, what: string): boolean => {
      this.#refuse(subject, guestPort, rule, what);
      return false;
    };
    if (shown === "none") return refuse(begun.text, "no name in time");
    if (shown === "other") return begun.terms.unnamed !== false || refuse(begun.text, "no name");
    const { by: where, name, flaw, encrypted } = shown;
    if (flaw !== null) return refuse(begun.text, `${where}: ${flaw}`);
    let terms = begun.terms;
    if (name !== null) {
      const found = judge(this.#set, { ...subject, port: shown.port ?? subject.port, names: [name] });
      if (!found.allow) return refuse(found.rule, `${where} name ${name}`);
      if (found.by?.domain) terms = found.by.terms;
    } else if (terms.unnamed !== true) return refuse(begun.text, `${where} without a name`);
    return !encrypted || terms.ech || refuse(begun.text, `TLS with an encrypted name, beside ${name ?? "none"}`);
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
    const subject: Subject = { direction, proto, guest: guest.address, mac, remote, port, names };
    const { allow, rule } = judge(this.#set, subject);
    if (!allow) this.#refuse({ ...subject, port: remotePort }, guestPort, rule);
    return allow;
  }

  /** Closed by itself, and open to rules that name it: where there is no way out at all no rule makes one. */
  #isGuarded(remote: IpAddress): boolean {
    return !this.#policy.closed && guardedPrefix(remote) > 0;
  }

  #refuse(
    { direction, proto, guest, remote, port, names }: Subject,
    guestPort: number,
    rule: string,
    shown?: string,
  ): void {
    this.#trace.event({
      ...{ type: "flow-refused", proto, direction, rule, host: names[0] ?? null },
      ...(shown === undefined ? {} : { shown }),
      guest: proto === "icmp" ? guest.text : endpointText({ host: guest.text, port: guestPort }),
      remote: proto === "icmp" ? remote.text : endpointText({ host: remote.text, port }),
    });
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
