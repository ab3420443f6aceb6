/**
 * UDP through the NAT (RFC 4787). A guest's port has one host socket, whatever it speaks with (endpoint-independent
 * mapping), and hears from anyone who answers (a full cone, as libslirp's). Mappings end after silence; beyond the cap
 * the one that has been silent longest makes room.
 *
 * A forward's clients come through one host socket; each is shown to the guest by its address, and is remembered so
 * that the guest's answers find it.
 */
import type { Clock } from "../core/clock.ts";
import type { StackConfig } from "../core/config.ts";
import { Deadlines, type Timed } from "../core/deadlines.ts";
import type { Endpoint, HostNet, HostUdp, HostUdpEvents } from "../core/host-net.ts";
import type { Random } from "../core/random.ts";
import type { Trace } from "../core/trace.ts";
import type { Neighbour } from "../proto/neighbours.ts";
import { put16, put32 } from "../wire/bytes.ts";
import { ICMP_UNREACHABLE, UNREACHABLE_HOST, UNREACHABLE_PORT } from "../wire/icmp.ts";
import { IPV4_HEADER, ipv4ToString, ipv4Write, PROTO_UDP } from "../wire/ipv4.ts";
import { UDP_HEADER } from "../wire/udp.ts";
import type { Egress } from "./egress.ts";
import { FlowTable } from "./flow-table.ts";
import type { Policy } from "./policy.ts";

/** RFC 4787 section 4.3 wants two minutes at least. */
const IDLE_MS = 180_000;
const IDLE_AFTER_DNS_MS = 10_000;
const DNS_PORT = 53;

export interface UdpSurroundings {
  readonly host: HostNet;
  readonly clock: Clock;
  readonly random: Random;
  readonly trace: Trace;
  readonly egress: Egress;
  readonly policy: Policy;
  flush(): void;
  resolve(guest: Neighbour): void;
  wake(): void;
}

abstract class Mapping implements Timed {
  heapIndex = -1;
  heapTime = 0;
  expires = 0;
  bytesUp = 0;
  bytesDown = 0;
  readonly guest: Neighbour;
  readonly guestPort: number;

  constructor(guest: Neighbour, guestPort: number) {
    this.guest = guest;
    this.guestPort = guestPort;
  }

  abstract close(): void;
}

/** A guest's port and its host socket. */
class OutboundMapping extends Mapping implements HostUdpEvents {
  readonly #nat: UdpNat;
  readonly #socket: HostUdp;
  /** The last destination and source, so that addresses are not made from text, or text from addresses, per packet. */
  #toIp = 0;
  #to: Endpoint = { host: "", port: -1 };
  #from: string | null = null;
  #fromIp = 0;

  constructor(nat: UdpNat, host: HostNet, guest: Neighbour, guestPort: number) {
    super(guest, guestPort);
    this.#nat = nat;
    this.#socket = host.openUdp(4, this);
  }

  send(buf: Uint8Array, at: number, len: number, dst: number, dstPort: number, host: string): void {
    if (this.#toIp !== dst || this.#to.port !== dstPort) {
      this.#toIp = dst;
      this.#to = { host, port: dstPort };
    }
    this.bytesUp += len;
    this.#socket.send(buf, at, len, this.#to);
  }

  onDatagram(bytes: Uint8Array, at: number, len: number, from: Endpoint): void {
    if (from.host !== this.#from) {
      this.#from = from.host;
      this.#fromIp = this.#nat.policy.guestSide(from.host);
    }
    this.bytesDown += len;
    this.#nat.used(this, from.port === DNS_PORT ? IDLE_AFTER_DNS_MS : IDLE_MS);
    this.#nat.toGuest(this.guest, this.#fromIp, from.port, this.guestPort, bytes, at, len);
  }

  onUdpError(code: string, to: Endpoint): void {
    this.#nat.unreachable(this, code, to);
  }

  close(): void {
    this.#socket.close();
  }
}

/** A client of a forward. */
class InboundMapping extends Mapping {
  readonly client: Endpoint;
  readonly shownIp: number;
  readonly shownPort: number;
  readonly #socket: HostUdp;

  constructor(
    guest: Neighbour,
    guestPort: number,
    client: Endpoint,
    shownIp: number,
    shownPort: number,
    socket: HostUdp,
  ) {
    super(guest, guestPort);
    this.client = client;
    this.shownIp = shownIp;
    this.shownPort = shownPort;
    this.#socket = socket;
  }

  answer(buf: Uint8Array, at: number, len: number): void {
    this.bytesUp += len;
    this.#socket.send(buf, at, len, this.client);
  }

  /** The socket is the forward's. */
  close(): void {}
}

export class UdpNat {
  readonly policy: Policy;
  readonly deadlines: Deadlines<Mapping> = new Deadlines();
  readonly #env: UdpSurroundings;
  readonly #outbound: FlowTable<OutboundMapping>;
  readonly #inbound: FlowTable<InboundMapping>;
  readonly #quote: Uint8Array = new Uint8Array(IPV4_HEADER + UDP_HEADER);

  constructor(config: StackConfig, env: UdpSurroundings) {
    this.#env = env;
    this.policy = env.policy;
    this.#outbound = new FlowTable(config.limits.udpFlows, env.random.u32(), env.random.u32());
    this.#inbound = new FlowTable(config.limits.udpFlows, env.random.u32(), env.random.u32());
  }

  get size(): number {
    return this.#outbound.size + this.#inbound.size;
  }

  /** A guest's datagram: `len` bytes of payload. False when the guest may not go there. */
  receive(
    guest: Neighbour,
    srcPort: number,
    dst: number,
    dstPort: number,
    buf: Uint8Array,
    at: number,
    len: number,
  ): boolean {
    if (this.#inbound.size > 0) {
      const client = this.#inbound.get(guest.ip, dst, (srcPort << 16) | dstPort);
      if (client !== null) {
        this.used(client, IDLE_MS);
        client.answer(buf, at, len);
        return true;
      }
    }
    if (srcPort === 0 || dstPort === 0) return false;
    const host = this.policy.hostSide(dst);
    if (host === null) return false;
    let mapping = this.#outbound.get(guest.ip, 0, srcPort);
    if (mapping === null) {
      if (this.#outbound.full) this.#recycle();
      mapping = new OutboundMapping(this, this.#env.host, guest, srcPort);
      this.#outbound.add(guest.ip, 0, srcPort, mapping);
      const names = { guest: `${ipv4ToString(guest.ip)}:${srcPort}`, remote: `${ipv4ToString(dst)}:${dstPort}` };
      this.#env.trace.event({ type: "flow-open", proto: "udp", ...names, direction: "out" });
    }
    this.used(mapping, IDLE_MS);
    mapping.send(buf, at, len, dst, dstPort, host);
    return true;
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
    const shown = this.policy.guestSide(from.host);
    const key = (guestPort << 16) | from.port;
    let client = this.#inbound.get(guest.ip, shown, key);
    if (client === null || client.client.host !== from.host) {
      if (client !== null) this.#end(client, "replaced");
      if (this.#inbound.full) this.#recycle();
      client = new InboundMapping(guest, guestPort, from, shown, from.port, socket);
      this.#inbound.add(guest.ip, shown, key, client);
    }
    client.bytesDown += len;
    this.used(client, IDLE_MS);
    if (guest.link === null) this.#env.resolve(guest);
    this.toGuest(guest, shown, from.port, guestPort, buf, at, len);
  }

  toGuest(
    guest: Neighbour,
    src: number,
    srcPort: number,
    dstPort: number,
    buf: Uint8Array,
    at: number,
    len: number,
  ): void {
    this.#env.egress.udp(guest, src, srcPort, dstPort, buf, at, len);
    this.#env.flush();
  }

  /** Pushes a mapping's end into the future; the heap is corrected when it comes up. */
  used(mapping: Mapping, idle: number): void {
    mapping.expires = this.#env.clock.now() + idle;
    if (this.deadlines.schedule(mapping, mapping.expires)) this.#env.wake();
  }

  /** The host was told that nobody listens there: so is the guest, from the address that it dialled. */
  unreachable(mapping: OutboundMapping, code: string, to: Endpoint): void {
    if (code !== "ECONNREFUSED" && code !== "EHOSTUNREACH" && code !== "ENETUNREACH") return;
    const dst = this.policy.guestSide(to.host);
    const q = this.#quote;
    ipv4Write(q, 0, mapping.guest.ip, dst, PROTO_UDP, UDP_HEADER, 64, 0, 0);
    put32(q, IPV4_HEADER, (mapping.guestPort << 16) | to.port);
    put16(q, IPV4_HEADER + 4, UDP_HEADER);
    put16(q, IPV4_HEADER + 6, 0);
    const refused = code === "ECONNREFUSED";
    const from = refused ? dst : this.policy.gateway;
    const why = refused ? UNREACHABLE_PORT : UNREACHABLE_HOST;
    this.#env.egress.icmp(mapping.guest, from, ICMP_UNREACHABLE, why, 0, q, 0, q.length);
    this.#env.flush();
  }

  #recycle(): void {
    const oldest = this.deadlines.due(Number.MAX_VALUE);
    if (oldest !== null) this.#end(oldest, "recycled");
    this.#env.trace.drop("udp-table-full");
  }

  #end(mapping: Mapping, reason: string): void {
    this.deadlines.remove(mapping);
    const guest = `${ipv4ToString(mapping.guest.ip)}:${mapping.guestPort}`;
    let remote = "*";
    if (mapping instanceof InboundMapping) {
      this.#inbound.remove(mapping.guest.ip, mapping.shownIp, (mapping.guestPort << 16) | mapping.shownPort);
      remote = `${ipv4ToString(mapping.shownIp)}:${mapping.shownPort}`;
    } else this.#outbound.remove(mapping.guest.ip, 0, mapping.guestPort);
    mapping.close();
    const { bytesUp, bytesDown } = mapping;
    this.#env.trace.event({ type: "flow-close", proto: "udp", guest, remote, bytesUp, bytesDown, reason });
  }

  /** Ends what has been silent long enough. */
  poll(now: number): void {
    for (let m = this.deadlines.due(now); m !== null; m = this.deadlines.due(now)) {
      if (m.expires <= now) this.#end(m, "idle");
      else this.deadlines.schedule(m, m.expires);
    }
  }

  close(): void {
    for (let m = this.deadlines.due(Number.MAX_VALUE); m !== null; m = this.deadlines.due(Number.MAX_VALUE))
      this.#end(m, "network closed");
  }
}
