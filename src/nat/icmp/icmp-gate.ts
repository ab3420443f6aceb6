/**
 * Echo requests when a gate is asked about every flow: what one identifier of a guest's asks of one address. The first
 * requests wait for the ruling, which is then remembered until the flow has been silent for a minute. A flow that is
 * taken over has its requests answered in their order: each payload sent is the answer to the oldest one left.
 */
import { addressAt, type Endpoint, type IpAddress, type IpText } from "../../core/address.ts";
import type { DatagramEnd, Ruling } from "../../core/gate.ts";
import type { Limits } from "../../core/limits.ts";
import type { Link } from "../../core/link.ts";
import type { Neighbour } from "../../proto/neighbours.ts";
import { get16, get32 } from "../../wire/bytes.ts";
import { macNumber } from "../../wire/ethernet.ts";
import { ICMP_ECHO_REPLY, ICMP_HEADER } from "../../wire/icmp.ts";
import { ICMP6_ECHO_REPLY } from "../../wire/icmp6.ts";
import { PROTO_ICMP } from "../../wire/ipv4.ts";
import { PROTO_ICMP6 } from "../../wire/ipv6.ts";
import type { NatContext } from "../context.ts";
import { FlowMap } from "../flow/flow-map.ts";
import { type IdleFlow, IdleFlows } from "../flow/idle-flows.ts";
import type { RuleGate } from "../rules/rule-gate.ts";
import { PROHIBITED } from "./icmp-errors.ts";
import type { IcmpNat } from "./icmp-nat.ts";

/** RFC 5508 section 3.2 wants a minute at least. */
export const IDLE_MS = 60_000;
const WAITING = 8;
/** Requests that a taker may leave unanswered. */
const UNANSWERED = 64;

interface Waiting {
  readonly bytes: Uint8Array;
  readonly ttl: number;
  readonly df: boolean;
}

export class IcmpGate {
  readonly #gate: RuleGate;
  readonly #env: NatContext;
  readonly #nat: IcmpNat;
  readonly #flows: FlowMap<GatedEcho>;
  readonly #idle: IdleFlows<GatedEcho>;

  constructor(gate: RuleGate, limits: Limits, env: NatContext, nat: IcmpNat) {
    this.#gate = gate;
    this.#env = env;
    this.#nat = nat;
    this.#flows = new FlowMap(env.random);
    this.#idle = new IdleFlows(limits.icmpFlows, limits.icmpFlowsPerGuest);
  }

  get size(): number {
    return this.#idle.size;
  }

  /** An echo request of `len` bytes at `at`, to the address at `dstAt`. */
  receive(
    guest: Neighbour,
    dstAt: number,
    buf: Uint8Array,
    at: number,
    len: number,
    ttl: number,
    df: boolean,
    now: number,
  ): void {
    const id = get16(buf, at + 4);
    const flow =
      this.#flows.get(guest, buf, dstAt, id) ?? this.#open(guest, addressAt(guest.family, buf, dstAt), id, now);
    this.#idle.used(flow, now + IDLE_MS);
    flow.fromGuest(buf, at, len, ttl, df);
  }

  #open(guest: Neighbour, dst: IpAddress, id: number, now: number): GatedEcho {
    const surplus = this.#idle.surplus(guest.link);
    if (surplus !== null) {
      this.end(surplus);
      this.#env.trace.drop("icmp-table-full");
    }
    const hosts = this.#env.names.of(macNumber(guest.mac, 0), dst.text, now);
    const flow = new GatedEcho(guest, dst, id, hosts, this.#env, this.#nat, this);
    if (this.#idle.enter(flow, guest.link, now + IDLE_MS)) this.#env.wake();
    this.#flows.add(guest, dst, id, flow);
    const ends = { guest: { host: guest.address.text, port: 0 }, remote: { host: dst.text, port: 0 } };
    this.#gate.judge({ proto: "icmp", ...ends, hosts, qtype: 0 }, (ruling) => {
      if (flow.heapIndex >= 0) flow.ruled(ruling);
    });
    return flow;
  }

  /** The rules have changed: refusals are forgotten, and flows that may not go on end. */
  revisit(): void {
    for (const flow of [...this.#flows]) {
      const { guest, dst, hosts } = flow;
      if (flow.denied || !this.#gate.permits("out", "icmp", guest, 0, dst, 0, hosts)) this.end(flow);
    }
  }

  /** Ends a flow, once. */
  end(flow: GatedEcho): void {
    this.#idle.leave(flow);
    this.#flows.remove(flow.guest, flow.dst, flow.id);
    flow.leave();
  }

  pollAt(): number {
    return this.#idle.next();
  }

  /** Ends what has been silent long enough. */
  poll(now: number): void {
    for (let flow = this.#idle.due(now); flow !== null; flow = this.#idle.due(now)) this.end(flow);
  }

  close(): void {
    for (const flow of [...this.#flows]) this.end(flow);
  }
}

class GatedEcho implements IdleFlow {
  heapIndex = -1;
  heapTime = 0;
  expires = 0;
  cable: Link | null = null;
  readonly guest: Neighbour;
  readonly id: number;
  readonly dst: IpAddress;
  /** Names by which the guest knew the address when it began. */
  readonly hosts: readonly string[];
  readonly #env: NatContext;
  readonly #nat: IcmpNat;
  readonly #gate: IcmpGate;
  #waiting: Waiting[] | null = [];
  #host: IpText | null = null;
  #denied: "reset" | "icmp" | "drop" | null = null;
  #reason: "denied" | "policy" = "denied";
  #end: DatagramEnd | null = null;
  /** Sequence numbers of requests that the taker has not answered. */
  readonly #unanswered: number[] = [];

  constructor(
    guest: Neighbour,
    dst: IpAddress,
    id: number,
    hosts: readonly string[],
    env: NatContext,
    nat: IcmpNat,
    gate: IcmpGate,
  ) {
    this.guest = guest;
    this.id = id;
    this.dst = dst;
    this.hosts = hosts;
    this.#env = env;
    this.#nat = nat;
    this.#gate = gate;
  }

  /** Whether it has been refused. */
  get denied(): boolean {
    return this.#denied !== null;
  }

  fromGuest(buf: Uint8Array, at: number, len: number, ttl: number, df: boolean): void {
    if (this.#waiting !== null) {
      if (this.#waiting.length < WAITING) this.#waiting.push({ bytes: buf.slice(at, at + len), ttl, df });
      else this.#env.trace.drop("gate-busy");
    } else if (this.#denied !== null) this.#refuse(buf, at, len, this.#denied);
    else if (this.#end !== null) {
      if (this.#unanswered.length >= UNANSWERED) this.#unanswered.shift();
      this.#unanswered.push(get16(buf, at + 6));
      this.#end.receive(buf, at + ICMP_HEADER, len - ICMP_HEADER);
    } else this.#nat.forward(this.guest, this.dst, this.#host!, buf, at, len, ttl, df);
  }

  ruled(ruling: Ruling): void {
    const waiting = this.#waiting ?? [];
    this.#waiting = null;
    if (ruling.action === "take") {
      this.#end = ruling.taker.datagrams(
        (bytes) => this.#answer(bytes),
        () => {
          if (this.heapIndex >= 0) this.#gate.end(this);
        },
      );
    } else if (ruling.action === "deny") this.#denied = ruling.how;
    else {
      const to: Endpoint | null = ruling.action === "redirect" ? ruling.to : null;
      this.#host = to?.host ?? this.#env.policy.hostSide(this.dst);
      if (this.#host === null) {
        this.#denied = "icmp";
        this.#reason = "policy";
      }
    }
    for (const { bytes, ttl, df } of waiting) this.fromGuest(bytes, 0, bytes.length, ttl, df);
    this.#env.flush();
  }

  /** It is over. */
  leave(): void {
    this.#end?.close();
  }

  #answer(bytes: Uint8Array): void {
    const seq = this.#unanswered.shift();
    if (seq === undefined || this.heapIndex < 0) return;
    const type = this.guest.family === 4 ? ICMP_ECHO_REPLY : ICMP6_ECHO_REPLY;
    this.#env.egress.icmp(this.guest, this.dst, type, 0, (this.id << 16) | seq, bytes, 0, bytes.length);
    this.#env.flush();
  }

  #refuse(buf: Uint8Array, at: number, len: number, how: "reset" | "icmp" | "drop"): void {
    const { trace, policy, errors } = this.#env;
    trace.drop(this.#reason);
    if (how === "drop") return;
    const { guest } = this;
    const proto = guest.family === 4 ? PROTO_ICMP : PROTO_ICMP6;
    const gateway = policy.gatewayFor(guest.family);
    errors.recalled(guest, gateway, PROHIBITED, this.dst, proto, len, get32(buf, at), get32(buf, at + 4));
  }
}
