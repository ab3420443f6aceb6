/**
 * UDP through the NAT (RFC 4787). A guest's port has one host socket for all its destinations (endpoint-independent
 * mapping), and receives from any sender (a full cone, as libslirp's). Silence ends mappings; beyond the cap, the one
 * that has been silent longest makes room.
 *
 * All clients of a forward come through one host socket. Each is shown to the guest by its address and remembered, so
 * that the guest's answers find it.
 */
import { addressAt, type IpAddress } from "../../core/address.ts";
import type { StackConfig } from "../../core/config.ts";
import { FlowTable } from "../../core/flow-table.ts";
import type { HostIcmpError, HostUdp, UdpSender } from "../../core/host-net.ts";
import type { Neighbour } from "../../proto/neighbours.ts";
import { macNumber } from "../../wire/ethernet.ts";
import { PROTO_UDP } from "../../wire/ipv4.ts";
import { UDP_HEADER } from "../../wire/udp.ts";
import type { NatContext } from "../context.ts";
import { IdleAdmission } from "../flow/admission.ts";
import type { CloseReason } from "../flow/close-reason.ts";
import { decide } from "../flow/decision.ts";
import { FlowMap } from "../flow/flow-map.ts";
import type { FlowFinder } from "../flow/registry.ts";
import { icmpCauseOf, isNoPort } from "../icmp/icmp-cause.ts";
import type { Policy } from "../rules/policy.ts";
import { AwaitedGuests } from "./awaited-guests.ts";
import { ForwardClient } from "./forward-client.ts";
import { ForwardClients } from "./forward-clients.ts";
import { JudgedUdpFlow } from "./judged-flow.ts";
import { PortMapping } from "./port-mapping.ts";
import { IDLE_MS, type UdpFlow, type UdpFlowOwner } from "./udp-flow.ts";

export class UdpNat implements FlowFinder, UdpFlowOwner {
  readonly #policy: Policy;
  readonly #env: NatContext;
  /** All flows, of whichever table. */
  readonly #idle: IdleAdmission<UdpFlow>;
  /** By guest, family and port. */
  readonly #mappings: FlowTable<PortMapping>;
  readonly #clients: ForwardClients;
  /** Flows by destination, in place of `#mappings` while flows are judged. */
  readonly #judged: FlowMap<JudgedUdpFlow>;
  /** Datagrams for guests that are being looked for. */
  readonly awaited: AwaitedGuests;

  constructor(config: StackConfig, env: NatContext) {
    this.#env = env;
    this.#policy = env.policy;
    this.#idle = new IdleAdmission(config.limits.udpFlows, config.limits.udpFlowsPerGuest);
    this.#mappings = new FlowTable(env.random.u32(), env.random.u32());
    this.#clients = new ForwardClients(env.random);
    this.#judged = new FlowMap(env.random);
    this.awaited = new AwaitedGuests(env);
    env.flows.serve(PROTO_UDP, this);
  }

  get size(): number {
    return this.#idle.size;
  }

  pollAt(): number {
    return Math.min(this.#idle.next(), this.awaited.pollAt());
  }

  find(guest: Neighbour, buf: Uint8Array, farAt: number, ports: number): UdpFlow | null {
    return (
      this.#clients.get(guest, buf, farAt, ports) ??
      this.#judged.get(guest, buf, farAt, ports) ??
      this.#mappings.get(guest.key, guest.family, ports >>> 16)
    );
  }

  /**
   * A guest's datagram with `len` bytes of payload to the address at `dstAt`, to be sent on with hop limit `ttl`. False
   * when the guest may not go there.
   */
  receive(
    guest: Neighbour,
    srcPort: number,
    dstAt: number,
    dstPort: number,
    buf: Uint8Array,
    at: number,
    len: number,
    ttl: number,
    df: boolean,
  ): boolean {
    if (this.#clients.size > 0) {
      const client = this.#clients.get(guest, buf, dstAt, (srcPort << 16) | dstPort);
      if (client !== null) {
        this.used(client, IDLE_MS);
        client.answer(buf, at, len, ttl, df);
        return true;
      }
    }
    if (this.#env.gate.active) {
      const flow = this.#judged.get(guest, buf, dstAt, (srcPort << 16) | dstPort);
      if (flow === null && (srcPort === 0 || dstPort === 0)) return false;
      (flow ?? this.#ask(guest, srcPort, addressAt(guest.family, buf, dstAt), dstPort)).fromGuest(
        buf,
        at,
        len,
        ttl,
        df,
      );
      return true;
    }
    let mapping = this.#mappings.get(guest.key, guest.family, srcPort);
    if (mapping === null || !mapping.sameTo(buf, dstAt, dstPort)) {
      if (srcPort === 0 || dstPort === 0) return false;
      const dst = addressAt(guest.family, buf, dstAt);
      const host = this.#policy.hostSide(dst);
      if (host === null) return false;
      const fresh = mapping === null;
      mapping ??= this.#open(guest, srcPort, dst);
      mapping.turnTo(dst, { host, port: dstPort });
      if (fresh) this.#env.flows.opened(mapping);
    }
    this.used(mapping, IDLE_MS);
    mapping.send(buf, at, len, ttl, df);
    return true;
  }

  #open(guest: Neighbour, srcPort: number, dst: IpAddress): PortMapping {
    const mapping = new PortMapping(this, this.#env.host, guest, srcPort, dst, this.#mappings);
    this.#enter(mapping);
    this.#mappings.add(guest.key, guest.family, srcPort, mapping);
    return mapping;
  }

  #ask(guest: Neighbour, srcPort: number, dst: IpAddress, dstPort: number): JudgedUdpFlow {
    const names = this.#env.names.of(macNumber(guest.mac, 0), dst.text, this.#env.clock.now());
    const flow = new JudgedUdpFlow(this, guest, srcPort, dst, dstPort, names, this.#env, this.#judged);
    this.#enter(flow);
    this.#judged.add(guest, dst, flow.ports, flow);
    this.#env.flows.opened(flow);
    decide(flow, this.#env, "icmp");
    return flow;
  }

  /**
   * Counts a new flow that is in no table yet. If there are too many, the one that has been silent longest makes room.
   */
  #enter(flow: UdpFlow): void {
    const { link } = flow.guest;
    const surplus = this.#idle.surplus(link);
    if (surplus !== null) {
      surplus.close("recycled");
      this.#env.trace.drop("udp-table-full");
    }
    if (this.#idle.enter(flow, link, this.#env.clock.now() + IDLE_MS)) this.#env.wake();
    this.#env.flows.enter(flow);
  }

  nameOf({ guest, far }: UdpFlow): string | null {
    return this.#env.names.of(macNumber(guest.mac, 0), far.text, this.#env.clock.now())[0] ?? null;
  }

  guestSide(host: string, flow: UdpFlow): IpAddress {
    return this.#policy.guestSide(host, flow.guest.family);
  }

  /** A datagram from a forward's client on `socket`. */
  fromClient(
    guest: Neighbour,
    guestPort: number,
    socket: HostUdp,
    from: UdpSender,
    buf: Uint8Array,
    at: number,
    len: number,
  ): void {
    const client = this.#clients.again(guest, guestPort, socket, from) ?? this.#client(guest, guestPort, socket, from);
    if (client === null) return;
    client.bytesDown += len;
    this.used(client, IDLE_MS);
    this.#reach(guest, client, client.far, client.farPort, guestPort, buf, at, len);
  }

  /** A client's flow, which may be new; null when it may not begin. */
  #client(guest: Neighbour, guestPort: number, socket: HostUdp, from: UdpSender): ForwardClient | null {
    const far = this.#policy.guestSide(from.host, guest.family);
    const known = this.#clients.find(guest, guestPort, far, socket, from);
    if (known !== null) return known;
    if (!this.#env.gate.permits("in", "udp", guest, guestPort, far, from.port, [])) {
      this.#env.trace.drop("denied");
      return null;
    }
    const port = this.#clients.portFor(guest, guestPort, far, from);
    if (port === 0) {
      this.#env.trace.drop("udp-table-full");
      return null;
    }
    const client = new ForwardClient(this, guest, guestPort, from, far, port, socket, this.#clients);
    this.#enter(client);
    this.#clients.add(client);
    this.#env.flows.opened(client);
    return client;
  }

  /** A forward's socket has closed: its clients' flows end, since answers have no way out. */
  forwardClosed(socket: HostUdp): void {
    for (const client of this.#clients.by(socket)) client.close("closed");
  }

  /** Sends a guest a datagram from a service within the process, which is no flow. */
  fromService(guest: Neighbour, guestPort: number, src: IpAddress, srcPort: number, bytes: Uint8Array): void {
    this.#reach(guest, null, src, srcPort, guestPort, bytes, 0, bytes.length);
  }

  /** Sends a datagram that the guest did not ask for, or keeps it while the guest is looked for. */
  #reach(
    guest: Neighbour,
    flow: UdpFlow | null,
    src: IpAddress,
    srcPort: number,
    guestPort: number,
    buf: Uint8Array,
    at: number,
    len: number,
  ): void {
    if (guest.link === null) this.awaited.hold(guest, flow, src, srcPort, guestPort, buf, at, len);
    else this.#env.egress.udp(guest, src, srcPort, guestPort, buf, at, len);
    this.#env.flush();
  }

  toGuest(flow: UdpFlow, src: IpAddress, srcPort: number, buf: Uint8Array, at: number, len: number): void {
    this.#env.egress.udp(flow.guest, src, srcPort, flow.guestPort, buf, at, len);
    this.#env.flush();
  }

  used(flow: UdpFlow, idle: number): void {
    if (this.#idle.used(flow, this.#env.clock.now() + idle)) this.#env.wake();
  }

  /**
   * An ICMP error has told the host why a datagram of `len` bytes to `dst` did not arrive: the guest gets the error
   * from the same sender. A closed port is reported from the address that was dialled, whichever address the far host
   * answers from.
   */
  failed(flow: UdpFlow, error: HostIcmpError, dst: IpAddress, dstPort: number, len: number): void {
    const { guest } = flow;
    const cause = icmpCauseOf(error, guest.family);
    if (cause === null) return;
    let from = this.#policy.gatewayFor(guest.family);
    if (isNoPort(cause, guest.family)) from = dst;
    else if (error.from !== null) from = this.#policy.guestSide(error.from, guest.family);
    const first = (flow.guestPort << 16) | dstPort;
    const size = UDP_HEADER + len;
    const datagram = { to: dst, proto: PROTO_UDP, size, first, second: size << 16 };
    this.#env.errors.recalled(guest, from, cause, datagram, error.mtu);
    this.#env.flush();
  }

  /** The host had no room for this many datagrams. */
  lost(count: number): void {
    for (let i = 0; i < count; i++) this.#env.trace.drop("host-full");
  }

  left(flow: UdpFlow, reason: CloseReason): void {
    this.#idle.leave(flow);
    this.#env.flows.leave(flow, reason);
  }

  /** Ends flows that have been silent long enough. */
  poll(now: number): void {
    this.awaited.poll(now);
    for (let flow = this.#idle.due(now); flow !== null; flow = this.#idle.due(now)) flow.close("idle");
  }
}
