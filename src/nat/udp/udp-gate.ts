/**
 * UDP when a gate is asked about every flow. What a guest's port says to one address and port is then a flow of its own
 * with a host socket of its own, so that each can be refused, sent elsewhere or taken over; the price is that the
 * mapping is no longer the same for all destinations (RFC 4787 section 4.1).
 *
 * While a flow waits for its ruling its first datagrams are kept. A refusal is remembered for a while, so that a guest
 * that goes on asking does not make the gate go on deciding.
 */
import { addressAt, type Endpoint, familyOf, type IpAddress } from "../../core/address.ts";
import type { DatagramEnd, Ruling } from "../../core/gate.ts";
import type { HostIcmpError, HostUdp, HostUdpEvents } from "../../core/host-net.ts";
import type { DropReason } from "../../core/trace.ts";
import type { Neighbour } from "../../proto/neighbours.ts";
import { macNumber } from "../../wire/ethernet.ts";
import { PROTO_UDP } from "../../wire/ipv4.ts";
import { UDP_HEADER } from "../../wire/udp.ts";
import type { NatContext } from "../context.ts";
import { FlowMap } from "../flow/flow-map.ts";
import { PROHIBITED } from "../icmp/icmp-errors.ts";
import { datagramPasses, leaveAll, type Meter, NO_METERS } from "../rules/meters.ts";
import type { RuleGate } from "../rules/rule-gate.ts";
import { IDLE_MS, idleAfter, Mapping } from "./udp-mapping.ts";
import type { UdpNat } from "./udp-nat.ts";

const WAITING = 8;
const DENIED_MS = 30_000;
/** What was one too many may not be, soon. */
const TOO_MANY_MS = 1_000;

/** A datagram as it came, but for its addresses. */
interface Waiting {
  readonly bytes: Uint8Array;
  readonly ttl: number;
  readonly df: boolean;
}

export class UdpGate {
  readonly #gate: RuleGate;
  readonly #env: NatContext;
  readonly #nat: UdpNat;
  readonly #flows: FlowMap<GatedMapping>;

  constructor(gate: RuleGate, env: NatContext, nat: UdpNat) {
    this.#gate = gate;
    this.#env = env;
    this.#nat = nat;
    this.#flows = new FlowMap(env.random);
  }

  flows(): Iterable<GatedMapping> {
    return this.#flows;
  }

  /** As `UdpNat.receive`. */
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
    const flow = this.#flows.get(guest, buf, dstAt, (srcPort << 16) | dstPort);
    if (flow !== null) flow.fromGuest(buf, at, len, ttl, df);
    else {
      if (srcPort === 0 || dstPort === 0) return false;
      this.#open(guest, srcPort, addressAt(guest.family, buf, dstAt), dstPort).fromGuest(buf, at, len, ttl, df);
    }
    return true;
  }

  #open(guest: Neighbour, srcPort: number, dst: IpAddress, dstPort: number): GatedMapping {
    const hosts = this.#env.names.of(macNumber(guest.mac, 0), dst.text, this.#env.clock.now());
    const flow = new GatedMapping(guest, srcPort, dst, dstPort, hosts, this.#env, this.#nat, this.#flows);
    this.#nat.enter(flow);
    this.#flows.add(guest, dst, flow.ports, flow);
    this.#nat.opened(flow);
    this.#gate.judge({ proto: "udp", guest: flow.from, remote: flow.remote, hosts, qtype: 0 }, (ruling, { meters }) => {
      if (flow.heapIndex >= 0) flow.ruled(ruling, meters);
      else leaveAll(meters);
    });
    return flow;
  }

  /** The rules have changed: refusals are forgotten, and flows that may not go on end. */
  revisit(): void {
    for (const flow of [...this.#flows]) {
      const { guest, guestPort, dst, dstPort, hosts } = flow;
      if (flow.denied) this.#nat.end(flow, "denied");
      else if (!this.#gate.permits("out", "udp", guest, guestPort, dst, dstPort, hosts)) this.#nat.end(flow, "denied");
    }
  }
}

class GatedMapping extends Mapping implements HostUdpEvents {
  readonly direction = "out";
  readonly ports: number;
  readonly dst: IpAddress;
  readonly dstPort: number;
  /** Names by which the guest knew the address when it began. */
  readonly hosts: readonly string[];
  readonly #env: NatContext;
  readonly #nat: UdpNat;
  readonly #table: FlowMap<GatedMapping>;
  /** Null once it is decided. */
  #waiting: Waiting[] | null = [];
  #socket: HostUdp | null = null;
  #to: Endpoint | null = null;
  #end: DatagramEnd | null = null;
  #denied: "reset" | "icmp" | "drop" | null = null;
  #reason: DropReason = "denied";
  #meters: readonly Meter[] = NO_METERS;

  constructor(
    guest: Neighbour,
    guestPort: number,
    dst: IpAddress,
    dstPort: number,
    hosts: readonly string[],
    env: NatContext,
    nat: UdpNat,
    table: FlowMap<GatedMapping>,
  ) {
    super(guest, guestPort);
    this.ports = (guestPort << 16) | dstPort;
    this.dst = dst;
    this.dstPort = dstPort;
    this.hosts = hosts;
    this.#env = env;
    this.#nat = nat;
    this.#table = table;
  }

  /** Whether it has been refused. */
  get denied(): boolean {
    return this.#denied !== null;
  }

  get remote(): Endpoint {
    return { host: this.dst.text, port: this.dstPort };
  }

  fromGuest(buf: Uint8Array, at: number, len: number, ttl: number, df: boolean): void {
    if (this.#denied !== null) return this.#refuse(len, this.#denied);
    this.#nat.used(this, IDLE_MS);
    if (this.#waiting !== null) {
      if (this.#waiting.length < WAITING) this.#waiting.push({ bytes: buf.slice(at, at + len), ttl, df });
      else this.#env.trace.drop("gate-busy");
      return;
    }
    if (!this.#passes("up", len)) return;
    this.bytesUp += len;
    if (this.#end !== null) this.#end.receive(buf, at, len);
    else this.#socket!.send(buf, at, len, this.#to!, ttl, df);
  }

  ruled(ruling: Ruling, meters: readonly Meter[]): void {
    this.#meters = meters;
    const waiting = this.#waiting ?? [];
    this.#waiting = null;
    if (ruling.action === "take") {
      this.#end = ruling.taker.datagrams(
        (bytes) => this.#toGuest(this.dst, this.dstPort, bytes, 0, bytes.length),
        () => {
          if (this.heapIndex >= 0) this.#nat.end(this, "closed");
        },
      );
    } else if (ruling.action === "deny") {
      this.#denied = ruling.how;
      this.#reason = ruling.reason ?? "denied";
    } else {
      const host = ruling.action === "redirect" ? ruling.to.host : this.#env.policy.hostSide(this.dst);
      if (host === null) {
        this.#denied = "icmp";
        this.#reason = "policy";
      } else {
        this.#to = ruling.action === "redirect" ? ruling.to : { host, port: this.dstPort };
        this.#socket = this.#env.host.openUdp(familyOf(host), this);
      }
    }
    if (this.#denied !== null) this.#nat.used(this, this.#reason === "conn-limit" ? TOO_MANY_MS : DENIED_MS);
    for (const { bytes, ttl, df } of waiting) this.fromGuest(bytes, 0, bytes.length, ttl, df);
    this.#env.flush();
  }

  onDatagram(bytes: Uint8Array, at: number, len: number, from: Endpoint): void {
    const to = this.#to!;
    this.#nat.used(this, idleAfter(from.port));
    // Whoever was dialled is shown as the guest knows it; others may answer too.
    const asked = from.port === to.port && from.host === to.host;
    const source = asked ? this.dst : this.#env.policy.guestSide(from.host, this.guest.family);
    this.#toGuest(source, asked ? this.dstPort : from.port, bytes, at, len);
  }

  onUdpLost(count: number): void {
    this.#nat.lost(count);
  }

  onUdpError(error: HostIcmpError): void {
    this.#nat.failed(this, error, this.dst, this.dstPort, 0);
  }

  leave(): void {
    this.#table.remove(this.guest, this.dst, this.ports);
    this.#socket?.close();
    this.#end?.close();
    leaveAll(this.#meters);
  }

  #toGuest(source: IpAddress, port: number, bytes: Uint8Array, at: number, len: number): void {
    if (this.heapIndex < 0) return;
    if (!this.#passes("down", len)) return;
    this.bytesDown += len;
    this.#nat.toGuest(this.guest, source, port, this.guestPort, bytes, at, len);
  }

  #passes(way: "up" | "down", len: number): boolean {
    const { clock, trace } = this.#env;
    if (this.#meters.length === 0 || datagramPasses(this.#meters, way, len, clock.now())) return true;
    trace.drop("udp-rate");
    return false;
  }

  #refuse(len: number, how: "reset" | "icmp" | "drop"): void {
    this.#env.trace.drop(this.#reason);
    if (how === "drop") return;
    const size = UDP_HEADER + len;
    const gateway = this.#env.policy.gatewayFor(this.guest.family);
    this.#env.errors.recalled(this.guest, gateway, PROHIBITED, this.dst, PROTO_UDP, size, this.ports, size << 16);
  }
}
