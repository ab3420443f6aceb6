/**
 * The rules in front of whoever else is asked about flows (`onFlow`). While there are neither rules nor anybody else it
 * is not `active`, and flows do not wait. What is refused is reported with the rule that did it.
 */
import { addressFromText, endpointText, type IpAddress } from "../core/address.ts";
import type { FlowGate, GatedFlow, Ruling } from "../core/gate.ts";
import type { Trace } from "../core/trace.ts";
import type { Neighbour, Neighbours } from "../proto/neighbours.ts";
import { macNumber } from "../wire/ethernet.ts";
import type { Policy } from "./policy.ts";
import { type FlowProto, judge, NO_RULES, type RuleSet, type Subject } from "./rules.ts";
import { guardedPrefix } from "./special-addresses.ts";

const DENY: Ruling = { action: "deny", how: "reset" };
const ALLOW: Ruling = { action: "allow" };
const CLOSED = "mode: nothing leaves this host";
const BUILT_IN = "built in: no metadata, link-local, loopback, multicast or reserved addresses";

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

  judge(flow: GatedFlow, done: (ruling: Ruling) => void): void {
    const remote = addressFromText(flow.remote.host);
    const guest = addressFromText(flow.guest.host);
    const mac = this.#neighbours.find(guest)?.mac ?? null;
    const subject: Subject = {
      ...{ direction: "out", proto: flow.proto, guest, remote, port: flow.remote.port, names: flow.hosts },
      mac: mac === null ? -1 : macNumber(mac, 0),
    };
    const judgement = judge(this.#set, subject);
    const guarded = flow.proto !== "dns" && this.#isGuarded(remote);
    const named = guarded && judgement.net !== null && judgement.net.prefix >= guardedPrefix(remote);
    if (!judgement.allow) this.#refuse(subject, flow.guest.port, judgement.rule);
    else if (this.#inner !== null) return this.#inner.judge(flow, named ? (ruling) => done(open(ruling, flow)) : done);
    else if (flow.proto === "dns" || named || this.#policy.hostSide(remote) !== null) {
      return queueMicrotask(() => done(named ? open(ALLOW, flow) : ALLOW));
    } else this.#refuse(subject, flow.guest.port, this.#policy.closed ? CLOSED : BUILT_IN);
    queueMicrotask(() => done(DENY));
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

  #refuse({ direction, proto, guest, remote, port, names }: Subject, guestPort: number, rule: string): void {
    this.#trace.event({
      ...{ type: "flow-refused", proto, direction, rule, host: names[0] ?? null },
      guest: proto === "icmp" ? guest.text : endpointText({ host: guest.text, port: guestPort }),
      remote: proto === "icmp" ? remote.text : endpointText({ host: remote.text, port }),
    });
  }
}

/** What was named goes there, past what is closed otherwise. */
function open(ruling: Ruling, { remote }: GatedFlow): Ruling {
  return ruling.action === "allow" ? { action: "redirect", to: remote } : ruling;
}
