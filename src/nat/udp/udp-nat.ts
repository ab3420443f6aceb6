/**
 * UDP through the NAT (RFC 4787). A guest's port has one host socket, whatever it speaks with (endpoint-independent
 * mapping), and hears from anyone who answers (a full cone, as libslirp's). Mappings end after silence; beyond the cap
 * the one that has been silent longest makes room.
 *
 * A forward's clients come through one host socket; each is shown to the guest by its address, and is remembered so
 * that the guest's answers find it.
 */
import { addressAt, type IpAddress } from "../../core/address.ts";
import type { StackConfig } from "../../core/config.ts";
import { FlowTable } from "../../core/flow-table.ts";
import type { Endpoint, HostIcmpError, HostNet, HostUdp, HostUdpEvents } from "../../core/host-net.ts";
import { type Neighbour, tooBig } from "../../proto/neighbours.ts";
import { macNumber } from "../../wire/ethernet.ts";
import { PROTO_UDP } from "../../wire/ipv4.ts";
import { UDP_HEADER } from "../../wire/udp.ts";
import type { NatContext } from "../context.ts";
import { FlowMap } from "../flow/flow-map.ts";
import { IdleFlows } from "../flow/idle-flows.ts";
import type { ErrorTaker, GuestError } from "../icmp/guest-errors.ts";
import { icmpCauseOf, isNoPort } from "../icmp/icmp-errors.ts";
import type { Policy } from "../rules/policy.ts";
import { UdpGate } from "./udp-gate.ts";
import { IDLE_MS, idleAfter, Mapping } from "./udp-mapping.ts";

/** A guest's port and its host socket. */
class OutboundMapping extends Mapping implements HostUdpEvents {
  readonly direction = "out";
  readonly #nat: UdpNat;
  readonly #table: FlowTable<OutboundMapping>;
  readonly #socket: HostUdp;
  /** The last destination and source, so that addresses are not made from text, or text from addresses, per packet. */
  #to: IpAddress;
  #toHost: Endpoint = { host: "", port: -1 };
  /** Bytes in the datagram that went there last. */
  #lastLen = 0;
  #from: IpAddress;
  #fromHost: string | null = null;

  constructor(
    nat: UdpNat,
    host: HostNet,
    guest: Neighbour,
    guestPort: number,
    dst: IpAddress,
    table: FlowTable<OutboundMapping>,
  ) {
    super(guest, guestPort);
    this.#nat = nat;
    this.#table = table;
    this.#to = dst;
    this.#from = guest.address;
    this.#socket = host.openUdp(guest.family, this);
  }

  /** Whether the destination whose address stands at `dstAt` is that of the datagram before. */
  sameTo(buf: Uint8Array, dstAt: number, dstPort: number): boolean {
    return this.#toHost.port === dstPort && this.#to.at(buf, dstAt);
  }

  get remote(): Endpoint {
    return { host: this.#to.text, port: this.#toHost.port };
  }

  /** The destination of the datagrams that follow. */
  turnTo(dst: IpAddress, host: Endpoint): void {
    this.#to = dst;
    this.#toHost = host;
  }

  send(buf: Uint8Array, at: number, len: number, ttl: number, df: boolean): void {
    this.bytesUp += len;
    this.#lastLen = len;
    this.#socket.send(buf, at, len, this.#toHost, ttl, df);
  }

  onDatagram(bytes: Uint8Array, at: number, len: number, from: Endpoint): void {
    if (from.host !== this.#fromHost) {
      this.#fromHost = from.host;
      this.#from = this.#nat.policy.guestSide(from.host, this.guest.family);
    }
    this.bytesDown += len;
    this.#nat.used(this, idleAfter(from.port));
    this.#nat.toGuest(this.guest, this.#from, from.port, this.guestPort, bytes, at, len);
  }

  onUdpError(error: HostIcmpError, to: Endpoint): void {
    const latest = to.port === this.#toHost.port && to.host === this.#toHost.host;
    const dst = this.#nat.policy.guestSide(to.host, this.guest.family);
    this.#nat.failed(this, error, dst, to.port, latest ? this.#lastLen : 0);
  }

  onUdpLost(count: number): void {
    this.#nat.lost(count);
  }

  leave(): void {
    this.#table.remove(this.guest.key, this.guest.family, this.guestPort);
    this.#socket.close();
  }
}

/** A client of a forward. */
class InboundMapping extends Mapping {
  readonly direction = "in";
  readonly client: Endpoint;
  readonly shown: IpAddress;
  readonly shownPort: number;
  readonly #socket: HostUdp;
  readonly #table: FlowMap<InboundMapping>;

  constructor(
    guest: Neighbour,
    guestPort: number,
    client: Endpoint,
    shown: IpAddress,
    shownPort: number,
    socket: HostUdp,
    table: FlowMap<InboundMapping>,
  ) {
    super(guest, guestPort);
    this.client = client;
    this.shown = shown;
    this.shownPort = shownPort;
    this.#socket = socket;
    this.#table = table;
  }

  get remote(): Endpoint {
    return { host: this.shown.text, port: this.shownPort };
  }

  answer(buf: Uint8Array, at: number, len: number, ttl: number, df: boolean): void {
    this.bytesUp += len;
    this.#socket.send(buf, at, len, this.client, ttl, df);
  }

  /** The socket is the forward's, and stays. */
  leave(): void {
    this.#table.remove(this.guest, this.shown, (this.guestPort << 16) | this.shownPort);
  }
}

export class UdpNat implements ErrorTaker {
  readonly policy: Policy;
  readonly #env: NatContext;
  /** All mappings, of whichever table. */
  readonly #idle: IdleFlows<Mapping>;
  /** By guest, family and port. */
  readonly #outbound: FlowTable<OutboundMapping>;
  readonly #inbound: FlowMap<InboundMapping>;
  /** In place of `#outbound` while somebody is asked about every flow. */
  readonly #gated: UdpGate;

  constructor(config: StackConfig, env: NatContext) {
    this.#env = env;
    this.policy = env.policy;
    this.#idle = new IdleFlows(config.limits.udpFlows, config.limits.udpFlowsPerGuest);
    this.#outbound = new FlowTable(env.random.u32(), env.random.u32());
    this.#inbound = new FlowMap(env.random);
    this.#gated = new UdpGate(env.gate, env, this);
  }

  get size(): number {
    return this.#idle.size;
  }

  pollAt(): number {
    return this.#idle.next();
  }

  *mappings(): IterableIterator<Mapping> {
    yield* this.#outbound;
    yield* this.#inbound;
    yield* this.#gated.flows();
  }

  /**
   * A guest's datagram to the address at `dstAt`: `len` bytes of payload, to go on with hop limit `ttl`. False when the
   * guest may not go there.
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
    if (this.#inbound.size > 0) {
      const client = this.#inbound.get(guest, buf, dstAt, (srcPort << 16) | dstPort);
      if (client !== null) {
        this.used(client, IDLE_MS);
        client.answer(buf, at, len, ttl, df);
        return true;
      }
    }
    if (this.#env.gate.active) return this.#gated.receive(guest, srcPort, dstAt, dstPort, buf, at, len, ttl, df);
    let mapping = this.#outbound.get(guest.key, guest.family, srcPort);
    if (mapping === null || !mapping.sameTo(buf, dstAt, dstPort)) {
      if (srcPort === 0 || dstPort === 0) return false;
      const dst = addressAt(guest.family, buf, dstAt);
      const host = this.policy.hostSide(dst);
      if (host === null) return false;
      const fresh = mapping === null;
      mapping ??= this.#open(guest, srcPort, dst);
      mapping.turnTo(dst, { host, port: dstPort });
      if (fresh) this.opened(mapping);
    }
    this.used(mapping, IDLE_MS);
    mapping.send(buf, at, len, ttl, df);
    return true;
  }

  #open(guest: Neighbour, srcPort: number, dst: IpAddress): OutboundMapping {
    const mapping = new OutboundMapping(this, this.#env.host, guest, srcPort, dst, this.#outbound);
    this.enter(mapping);
    this.#outbound.add(guest.key, guest.family, srcPort, mapping);
    return mapping;
  }

  /** Counts a new mapping, which is in no table yet; the longest silent one makes room if there are too many. */
  enter(mapping: Mapping): void {
    const { link } = mapping.guest;
    const surplus = this.#idle.surplus(link);
    if (surplus !== null) {
      this.end(surplus, "recycled");
      this.#env.trace.drop("udp-table-full");
    }
    if (this.#idle.enter(mapping, link, this.#env.clock.now() + IDLE_MS)) this.#env.wake();
  }

  /** Tells of a new mapping. */
  opened(mapping: Mapping): void {
    const { direction } = mapping;
    this.#env.trace.event({ type: "flow-open", proto: "udp", ...mapping.ends, host: this.hostOf(mapping), direction });
  }

  /** The name by which guests know a mapping's far end. */
  hostOf(mapping: Mapping): string | null {
    if (mapping.direction === "in") return null;
    const now = this.#env.clock.now();
    return this.#env.names.of(macNumber(mapping.guest.mac, 0), mapping.remote.host, now)[0] ?? null;
  }

  /** A datagram from a forward's client on `socket`. */
  fromClient(
    guest: Neighbour,
    guestPort: number,
    socket: HostUdp,
    from: Endpoint,
    buf: Uint8Array,
    at: number,
    len: number,
  ): void {
    const shown = this.policy.guestSide(from.host, guest.family);
    const key = (guestPort << 16) | from.port;
    let client = this.#inbound.get(guest, shown.bytes, 0, key);
    if (client === null || client.client.host !== from.host) {
      if (!this.#env.gate.permits("in", "udp", guest, guestPort, shown, from.port, [])) {
        return this.#env.trace.drop("denied");
      }
      if (client !== null) this.end(client, "replaced");
      client = new InboundMapping(guest, guestPort, from, shown, from.port, socket, this.#inbound);
      this.enter(client);
      this.#inbound.add(guest, shown, key, client);
      this.opened(client);
    }
    client.bytesDown += len;
    this.used(client, IDLE_MS);
    if (guest.link === null) this.#env.resolve(guest);
    this.toGuest(guest, shown, from.port, guestPort, buf, at, len);
  }

  toGuest(
    guest: Neighbour,
    src: IpAddress,
    srcPort: number,
    dstPort: number,
    buf: Uint8Array,
    at: number,
    len: number,
  ): void {
    this.#env.egress.udp(guest, src, srcPort, dstPort, buf, at, len);
    this.#env.flush();
  }

  /** Pushes a mapping's end into the future. */
  used(mapping: Mapping, idle: number): void {
    if (this.#idle.used(mapping, this.#env.clock.now() + idle)) this.#env.wake();
  }

  /**
   * The host was told why a datagram of `len` bytes to `dst` did not arrive: so is the guest, by whoever said so. A closed port
   * is told from the address that was dialled, whichever of its addresses the far host has used.
   */
  failed(mapping: Mapping, error: HostIcmpError, dst: IpAddress, dstPort: number, len: number): void {
    const { guest } = mapping;
    const cause = icmpCauseOf(error, guest.family);
    if (cause === null) return;
    let from = this.policy.gatewayFor(guest.family);
    if (isNoPort(cause, guest.family)) from = dst;
    else if (error.from !== null) from = this.policy.guestSide(error.from, guest.family);
    const ports = (mapping.guestPort << 16) | dstPort;
    const size = UDP_HEADER + len;
    this.#env.errors.recalled(guest, from, cause, dst, PROTO_UDP, size, ports, size << 16, error.mtu);
    this.#env.flush();
  }

  /** The host had no room for so many datagrams. */
  lost(count: number): void {
    for (let i = 0; i < count; i++) this.#env.trace.drop("host-full");
  }

  /**
   * A guest says why a datagram from the address at `farAt` did not arrive. No error ends a mapping that serves
   * others, too (RFC 4787 section 10); a forward's client whose port is closed is forgotten.
   */
  guestError(
    guest: Neighbour,
    buf: Uint8Array,
    farAt: number,
    ports: number,
    _seq: number,
    error: GuestError,
    mtu: number,
  ): boolean {
    const client = this.#inbound.get(guest, buf, farAt, ports);
    if (client === null && this.#outbound.get(guest.key, guest.family, ports >>> 16) === null) return false;
    if (error === "too-big") tooBig(guest, mtu);
    else if (error === "refused" && client !== null) this.end(client, "refused");
    return true;
  }

  /** Ends a mapping, once. */
  end(mapping: Mapping, reason: string): void {
    this.#idle.leave(mapping);
    mapping.leave();
    const { bytesUp, bytesDown, ends } = mapping;
    const host = this.hostOf(mapping);
    this.#env.trace.event({ type: "flow-close", proto: "udp", ...ends, host, bytesUp, bytesDown, reason });
  }

  /** The rules have changed: what may not go on ends, and so does what is kept for a network that asks nobody. */
  revisit(): void {
    for (const mapping of [...this.#outbound]) this.end(mapping, "rules");
    for (const mapping of [...this.#inbound]) {
      const { guest, guestPort, shown, shownPort } = mapping;
      if (!this.#env.gate.permits("in", "udp", guest, guestPort, shown, shownPort, [])) this.end(mapping, "denied");
    }
    this.#gated.revisit();
  }

  /** Ends what has been silent long enough. */
  poll(now: number): void {
    for (let m = this.#idle.due(now); m !== null; m = this.#idle.due(now)) this.end(m, "idle");
  }

  close(): void {
    for (const mapping of [...this.mappings()]) this.end(mapping, "network closed");
  }
}
