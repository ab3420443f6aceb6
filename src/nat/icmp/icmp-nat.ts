/**
 * ICMP echo through the NAT (RFC 5508), both families.
 *
 * A guest's identifier has one channel on the host (`HostPing`), whatever it pings, until it has been silent for a
 * minute. On the wire the host's own identifier stands in its place; sequence number, data, hop limit and DF are the
 * guest's. What has been asked and not been answered is remembered, by sequence number: only an answer from the address
 * that was asked passes, once, and an error is given back about the very request. Nothing is answered here.
 *
 * Bounds: a guest's identifiers, those of all guests, and the requests under way of each. The oldest makes room.
 */
import { addressAt, addressFromText, type IpAddress, type IpText } from "../../core/address.ts";
import { FlowTable } from "../../core/flow-table.ts";
import type { HostIcmpError, HostPing, HostPingEvents } from "../../core/host-net.ts";
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
import { type IdleFlow, IdleFlows } from "../flow/idle-flows.ts";
import { icmpCauseOf } from "./icmp-errors.ts";
import { IcmpGate, IDLE_MS } from "./icmp-gate.ts";

/** Requests under way of one identifier, by the low bits of their sequence numbers. */
const SLOTS = 256;

/** A guest's identifier. */
class EchoFlow implements IdleFlow, HostPingEvents {
  heapIndex = -1;
  heapTime = 0;
  expires = 0;
  cable: Link | null = null;
  bytesUp = 0;
  bytesDown = 0;
  readonly guest: Neighbour;
  readonly id: number;
  readonly #env: NatContext;
  readonly #ping: HostPing;
  /** The latest destination, so that addresses are not made per packet. */
  #to: IpAddress;
  #host: IpText = "";
  // What is under way, by slot: sequence number (-1: nothing), the first word of the message, its length, destination
  // by the guest's words and by the host's.
  readonly #seqs: Int32Array = new Int32Array(SLOTS).fill(-1);
  readonly #words: Int32Array = new Int32Array(SLOTS);
  readonly #sizes: Int32Array = new Int32Array(SLOTS);
  readonly #tos: (IpAddress | null)[] = new Array<IpAddress | null>(SLOTS).fill(null);
  readonly #hosts: IpText[] = new Array<IpText>(SLOTS).fill("");
  readonly #table: FlowTable<EchoFlow>;

  constructor(env: NatContext, guest: Neighbour, id: number, dst: IpAddress, table: FlowTable<EchoFlow>) {
    this.#env = env;
    this.guest = guest;
    this.id = id;
    this.#to = dst;
    this.#table = table;
    this.#ping = env.host.openPing(guest.family, this);
  }

  /** What it has asked last. */
  get remote(): IpText {
    return this.#to.text;
  }

  sameTo(buf: Uint8Array, dstAt: number): boolean {
    return this.#host !== "" && this.#to.at(buf, dstAt);
  }

  turnTo(dst: IpAddress, host: IpText): void {
    this.#to = dst;
    this.#host = host;
  }

  send(buf: Uint8Array, at: number, len: number, ttl: number, df: boolean): void {
    const seq = get16(buf, at + 6);
    const slot = seq % SLOTS;
    this.#seqs[slot] = seq;
    this.#words[slot] = get32(buf, at);
    this.#sizes[slot] = len;
    this.#tos[slot] = this.#to;
    this.#hosts[slot] = this.#host;
    this.bytesUp += len;
    this.#ping.send(seq, buf, at + ICMP_HEADER, len - ICMP_HEADER, ttl, df, this.#host);
  }

  onReply(seq: number, bytes: Uint8Array, at: number, len: number, from: IpText): void {
    const to = this.#take(seq, from);
    if (to === null) return;
    this.bytesDown += len + ICMP_HEADER;
    const { guest } = this;
    const type = guest.family === 4 ? ICMP_ECHO_REPLY : ICMP6_ECHO_REPLY;
    this.#env.egress.icmp(guest, to, type, 0, (this.id << 16) | seq, bytes, at, len);
    this.#env.flush();
  }

  onPingLost(): void {
    this.#env.trace.drop("host-full");
  }

  onPingError(seq: number, to: IpText, error: HostIcmpError): void {
    const dst = this.#take(seq, to);
    if (dst === null) return;
    const { guest } = this;
    const { policy, errors } = this.#env;
    const cause = icmpCauseOf(error, guest.family);
    if (cause === null) return;
    const from = error.from === null ? policy.gatewayFor(guest.family) : policy.guestSide(error.from, guest.family);
    const slot = seq % SLOTS;
    const proto = guest.family === 4 ? PROTO_ICMP : PROTO_ICMP6;
    const second = (this.id << 16) | seq;
    errors.recalled(guest, from, cause, dst, proto, this.#sizes[slot]!, this.#words[slot]!, second, error.mtu);
    this.#env.flush();
  }

  /** Leaves its table and gives up its channel. */
  leave(): void {
    this.#table.remove(this.guest.key, this.guest.family, this.id);
    this.#ping.close();
  }

  /** Takes request `seq` from those under way and gives its destination; null when nothing of the kind was asked of `far`. */
  #take(seq: number, far: IpText): IpAddress | null {
    const slot = seq % SLOTS;
    const to = this.#tos[slot]!;
    const host = this.#hosts[slot]!;
    const asked = this.#seqs[slot] === seq && to !== null;
    if (!asked || (host !== far && !addressFromText(far).is(addressFromText(host)))) {
      this.#env.trace.drop("icmp-unasked");
      return null;
    }
    this.#seqs[slot] = -1;
    this.#tos[slot] = null;
    return to;
  }
}

export class IcmpNat {
  readonly #env: NatContext;
  /** By guest, family and identifier. */
  readonly #flows: FlowTable<EchoFlow>;
  readonly #idle: IdleFlows<EchoFlow>;
  readonly #gated: IcmpGate;

  constructor(limits: Limits, env: NatContext) {
    this.#env = env;
    this.#gated = new IcmpGate(env.gate, limits, env, this);
    this.#flows = new FlowTable(env.random.u32(), env.random.u32());
    this.#idle = new IdleFlows(limits.icmpFlows, limits.icmpFlowsPerGuest);
  }

  get size(): number {
    return this.#flows.size;
  }

  /** Also of flows that wait for a ruling, or were refused. */
  get timers(): number {
    return this.#idle.size + this.#gated.size;
  }

  flows(): Iterable<EchoFlow> {
    return this.#flows;
  }

  /** The name by which guests know what a flow has asked last. */
  hostOf(flow: EchoFlow): string | null {
    return this.#env.names.of(macNumber(flow.guest.mac, 0), flow.remote, this.#env.clock.now())[0] ?? null;
  }

  /**
   * A guest's echo request of `len` bytes at `at`, its checksum found right, to the address at `dstAt` beyond us. `ttl`
   * is what is left of its hop limit, above zero. False when the guest may not go there.
   */
  receive(
    guest: Neighbour,
    dstAt: number,
    buf: Uint8Array,
    at: number,
    len: number,
    ttl: number,
    df: boolean,
    now: number,
  ): boolean {
    if (this.#env.gate.active) {
      this.#gated.receive(guest, dstAt, buf, at, len, ttl, df, now);
      return true;
    }
    const flow = this.#flows.get(guest.key, guest.family, get16(buf, at + 4));
    if (flow?.sameTo(buf, dstAt)) {
      this.#used(flow, now);
      flow.send(buf, at, len, ttl, df);
      return true;
    }
    const dst = addressAt(guest.family, buf, dstAt);
    const host = this.#env.policy.hostSide(dst);
    if (host === null) return false;
    this.forward(guest, dst, host, buf, at, len, ttl, df);
    return true;
  }

  /** Sends an echo request for `dst` to `host`. */
  forward(
    guest: Neighbour,
    dst: IpAddress,
    host: IpText,
    buf: Uint8Array,
    at: number,
    len: number,
    ttl: number,
    df: boolean,
  ): void {
    const id = get16(buf, at + 4);
    const now = this.#env.clock.now();
    const flow = this.#flows.get(guest.key, guest.family, id) ?? this.#open(guest, id, dst, now);
    flow.turnTo(dst, host);
    this.#used(flow, now);
    flow.send(buf, at, len, ttl, df);
  }

  /** Pushes a flow's end into the future. */
  #used(flow: EchoFlow, now: number): void {
    this.#idle.used(flow, now + IDLE_MS);
  }

  #open(guest: Neighbour, id: number, dst: IpAddress, now: number): EchoFlow {
    const surplus = this.#idle.surplus(guest.link);
    if (surplus !== null) {
      this.end(surplus, "recycled");
      this.#env.trace.drop("icmp-table-full");
    }
    const flow = new EchoFlow(this.#env, guest, id, dst, this.#flows);
    if (this.#idle.enter(flow, guest.link, now + IDLE_MS)) this.#env.wake();
    this.#flows.add(guest.key, guest.family, id, flow);
    const ends = { guest: guest.address.text, remote: flow.remote, host: this.hostOf(flow) };
    this.#env.trace.event({ type: "flow-open", proto: "icmp", ...ends, direction: "out" });
    return flow;
  }

  /** Ends a flow, once. */
  end(flow: EchoFlow, reason: string): void {
    this.#idle.leave(flow);
    flow.leave();
    const { guest, remote, bytesUp, bytesDown } = flow;
    const ends = { guest: guest.address.text, remote, host: this.hostOf(flow) };
    this.#env.trace.event({ type: "flow-close", proto: "icmp", ...ends, bytesUp, bytesDown, reason });
  }

  /** The rules have changed: what has been decided is decided anew. */
  revisit(): void {
    this.#gated.revisit();
  }

  pollAt(): number {
    return Math.min(this.#idle.next(), this.#gated.pollAt());
  }

  /** Ends what has been silent long enough. */
  poll(now: number): void {
    for (let flow = this.#idle.due(now); flow !== null; flow = this.#idle.due(now)) this.end(flow, "idle");
    this.#gated.poll(now);
  }

  close(): void {
    this.#gated.close();
    for (const flow of [...this.#flows]) this.end(flow, "network closed");
  }
}
