/**
 * One guest network: what every frame passes on its way in, and where the parts are put together.
 *
 * Theory of operation. The attachments call `receive` for each frame of a read and `batchEnd` once behind them; within
 * such a batch segments are written to cables' transmit slabs but nothing is handed to a wire. `flush` does that, once,
 * at the batch's end or at the end of a host socket's callback. Time comes from the clock once per batch. `pollAt` says
 * when `poll` wants to be called next, and `onPollAt` that it became earlier.
 */
import { ipv4FromText } from "./core/address.ts";
import type { Clock } from "./core/clock.ts";
import type { StackConfig } from "./core/config.ts";
import type { FileSource } from "./core/files.ts";
import type { HostDns, HostNet, HostTcp, HostTcpEvents } from "./core/host-net.ts";
import type { Link, LinkReceiver, Slab } from "./core/link.ts";
import type { Random } from "./core/random.ts";
import type { Trace } from "./core/trace.ts";
import { DATAGRAM_MTU, Egress } from "./nat/egress.ts";
import { Forwards } from "./nat/forwards.ts";
import { Policy } from "./nat/policy.ts";
import { TcpNat } from "./nat/tcp-nat.ts";
import { UdpNat } from "./nat/udp-nat.ts";
import { DhcpServer, type Lease } from "./proto/dhcp.ts";
import { DnsForwarder, dnsTcpService } from "./proto/dns.ts";
import { type Neighbour, Neighbours } from "./proto/neighbours.ts";
import { Reassembler } from "./proto/reassembly.ts";
import { STATE_NAMES } from "./proto/tcp/tcb.ts";
import { TftpServer } from "./proto/tftp.ts";
import {
  ARP_LENGTH,
  ARP_REPLY,
  ARP_REQUEST,
  ARP_SENDER_MAC,
  arpCheck,
  arpOp,
  arpSenderIp,
  arpTargetIp,
  arpWrite,
} from "./wire/arp.ts";
import { put32 } from "./wire/bytes.ts";
import {
  ETH_ARP,
  ETH_HEADER,
  ETH_IPV4,
  ethCheck,
  ethType,
  ethWrite,
  MAC_BROADCAST,
  macEquals,
  macIsGroup,
  macToString,
} from "./wire/ethernet.ts";
import {
  ICMP_ECHO,
  ICMP_ECHO_REPLY,
  ICMP_HEADER,
  ICMP_TIME_EXCEEDED,
  ICMP_UNREACHABLE,
  icmpCheck,
  UNREACHABLE_PORT,
  UNREACHABLE_PROHIBITED,
} from "./wire/icmp.ts";
import {
  IPV4_HEADER,
  ipv4Check,
  ipv4Dst,
  ipv4HeaderLength,
  ipv4IsFragment,
  ipv4Proto,
  ipv4Pseudo,
  ipv4Src,
  ipv4ToString,
  ipv4TotalLength,
  ipv4Ttl,
  PROTO_ICMP,
  PROTO_TCP,
  PROTO_UDP,
} from "./wire/ipv4.ts";
import { TFTP_HEADER, TFTP_PORT } from "./wire/tftp.ts";
import { UDP_HEADER, udpCheck, udpDst, udpLength, udpSrc } from "./wire/udp.ts";

const DNS_PORT = 53;
const DHCP_SERVER_PORT = 67;
/** Where a DHCP message names the client's MAC. */
const DHCP_CHADDR = 28;
/** Between two ARP requests for the same silent address. */
const ARP_PAUSE_MS = 1000;
/** A block that needs no fragments. */
const TFTP_MAX_BLOCK: number = DATAGRAM_MTU - IPV4_HEADER - UDP_HEADER - TFTP_HEADER;
const NO_MAC = new Uint8Array(6);
/** ICMP errors per second towards guests (RFC 1812 section 4.3.2.8). */
const ICMP_ERRORS_PER_SECOND = 100;

export interface StackParts {
  readonly host: HostNet;
  readonly dns: HostDns;
  /** What TFTP serves; null leaves the gateway's port to the host. */
  readonly files?: FileSource | null;
  readonly clock: Clock;
  readonly random: Random;
  readonly trace: Trace;
}

/** A connection or mapping as users see it. */
export interface FlowInfo {
  readonly proto: "tcp";
  readonly guest: string;
  readonly remote: string;
  readonly state: string;
  readonly direction: "in" | "out";
  readonly bytesUp: number;
  readonly bytesDown: number;
  /** Smoothed round trip to the guest in milliseconds; -1 when not measured. */
  readonly rtt: number;
  readonly retransmissions: number;
}

export class Stack implements LinkReceiver {
  readonly forwards: Forwards;
  readonly mac: Uint8Array;
  readonly policy: Policy;
  /** Called when `pollAt()` has become earlier. */
  onPollAt: (() => void) | null = null;
  readonly #config: StackConfig;
  readonly #clock: Clock;
  readonly #trace: Trace;
  readonly #egress: Egress;
  readonly #neighbours: Neighbours = new Neighbours();
  readonly #tcp: TcpNat;
  readonly #udp: UdpNat;
  readonly #reassembler: Reassembler = new Reassembler();
  readonly #dhcp: DhcpServer;
  readonly #dns: DnsForwarder;
  readonly #dnsTcp: (events: HostTcpEvents) => HostTcp;
  readonly #tftp: TftpServer<Neighbour> | null;
  readonly #links: Set<Link> = new Set();
  readonly #dirty: Link[] = [];
  readonly #dhcpOut: Uint8Array = new Uint8Array(1500);
  readonly #arpAsked: Map<number, number> = new Map();
  #inBatch = false;
  #now = 0;
  #icmpWindow = 0;
  #icmpErrors = 0;
  framesIn = 0;
  bytesIn = 0;

  constructor(config: StackConfig, parts: StackParts) {
    this.#config = config;
    this.#clock = parts.clock;
    this.#trace = parts.trace;
    this.policy = new Policy(config);
    this.mac = gatewayMac(config);
    this.#egress = new Egress(this.mac, parts.random, parts.trace, (link) => this.#touchLink(link));
    this.#dhcp = new DhcpServer(config, parts.trace);
    this.#dns = new DnsForwarder(parts.dns, config.limits, parts.clock, parts.trace);
    this.#dnsTcp = dnsTcpService(this.#dns);
    this.#tftp = parts.files ? this.#tftpServer(config, parts, parts.files) : null;
    const surroundings = {
      ...parts,
      egress: this.#egress,
      policy: this.policy,
      service: (ip: number, port: number) => (ip === this.policy.dns && port === DNS_PORT ? this.#dnsTcp : null),
      touchLink: (link: Link) => this.#touchLink(link),
      flush: () => this.flush(),
      resolve: (guest: Neighbour) => this.#resolve(guest),
      wake: () => this.onPollAt?.(),
    };
    this.#tcp = new TcpNat(config, surroundings);
    this.#udp = new UdpNat(config, surroundings);
    this.forwards = new Forwards(config, parts.host, this.#tcp, this.#udp, this.#neighbours);
  }

  #tftpServer(config: StackConfig, { clock, trace }: StackParts, files: FileSource): TftpServer<Neighbour> {
    return new TftpServer(config.limits.tftpSessions, {
      ...{ files, trace, now: () => clock.now(), flush: () => this.flush(), wake: () => this.onPollAt?.() },
      send: (guest, port, bytes, len) => this.#egress.udp(guest, this.policy.gateway, TFTP_PORT, port, bytes, 0, len),
      ended: (guest, transfer) => trace.event({ type: "tftp", guest: ipv4ToString(guest.ip), ...transfer }),
    });
  }

  /** Opens the configured forwards. Rejects with the first that fails; then none is open. */
  async open(): Promise<void> {
    for (const rule of this.#config.forwards) {
      try {
        await this.forwards.add(rule);
      } catch (error) {
        this.forwards.close();
        throw error;
      }
    }
  }

  close(): void {
    this.forwards.close();
    this.#tcp.close();
    this.#udp.close();
    this.#tftp?.close();
    this.flush();
  }

  leases(): Lease[] {
    return this.#dhcp.leases(this.#clock.now());
  }

  flows(): FlowInfo[] {
    return [...this.#tcp.flows()].map((flow) => ({
      proto: "tcp",
      guest: `${ipv4ToString(flow.guest.ip)}:${flow.guestPort}`,
      remote: `${ipv4ToString(flow.remoteIp)}:${flow.localPort}`,
      state: STATE_NAMES[flow.tcb.state]!,
      direction: flow.inbound ? "in" : "out",
      bytesUp: flow.bytesUp,
      bytesDown: flow.bytesDown,
      rtt: flow.tcb.rtt.srtt,
      retransmissions: flow.tcb.retransmissions,
    }));
  }

  /** What is held now: connections, mappings, timers, bytes in send buffers. */
  gauges(): { tcpFlows: number; udpFlows: number; timers: number; sendBytes: number } {
    const timers = this.#tcp.lingering + this.#udp.deadlines.size;
    return { tcpFlows: this.#tcp.size, udpFlows: this.#udp.size, timers, sendBytes: this.#tcp.chunks.used };
  }

  pollAt(): number {
    const tftp = this.#tftp?.pollAt() ?? Number.POSITIVE_INFINITY;
    return Math.min(this.#tcp.deadlines.next(), this.#udp.deadlines.next(), this.#reassembler.pollAt(), tftp);
  }

  poll(now: number): void {
    this.#tcp.poll(now);
    this.#udp.poll(now);
    this.#tftp?.poll(now);
    for (let n = this.#reassembler.poll(now); n > 0; n--) this.#trace.drop("ip-fragment");
    this.flush();
  }

  // Cables (LinkReceiver)

  attached(link: Link): void {
    this.#links.add(link);
  }

  detached(link: Link): void {
    this.#links.delete(link);
    const now = this.#clock.now();
    for (const guest of this.#neighbours.detached(link)) this.#dhcp.vacate(macToString(guest.mac), now);
    const i = this.#dirty.indexOf(link);
    if (i >= 0) this.#dirty.splice(i, 1);
  }

  writable(link: Link): void {
    this.#tcp.writable(link, this.#clock.now());
    this.flush();
  }

  batchEnd(_link: Link): void {
    this.#tcp.batchEnd(this.#now);
    this.#inBatch = false;
    this.flush();
  }

  /** Hands all committed frames to their wires; within a batch, at its end. */
  flush(): void {
    if (this.#inBatch) return;
    const dirty = this.#dirty;
    for (let i = 0; i < dirty.length; i++) dirty[i]!.flush();
    dirty.length = 0;
  }

  #touchLink(link: Link): void {
    // Hardly ever more than one cable: a scan is cheaper than a set.
    if (!this.#dirty.includes(link)) this.#dirty.push(link);
  }

  receive(link: Link, slab: Slab, at: number, len: number): void {
    if (!this.#inBatch) {
      this.#inBatch = true;
      this.#now = this.#clock.now();
    }
    this.framesIn++;
    this.bytesIn += len;
    if (!ethCheck(len)) return this.#trace.drop("eth-short");
    const type = ethType(slab.bytes, at);
    if (type === ETH_IPV4) this.#ipv4(link, slab, at, len);
    else if (type === ETH_ARP) this.#arp(link, slab.bytes, at, len);
    else this.#trace.drop("eth-type");
  }

  /** ARP (RFC 826): our addresses are told; a guest's probe for its own (RFC 5227) stays unanswered. */
  #arp(link: Link, buf: Uint8Array, at: number, len: number): void {
    const arp = at + ETH_HEADER;
    const senderMac = arp + ARP_SENDER_MAC;
    if (!arpCheck(buf, arp, len - ETH_HEADER) || macIsGroup(buf, senderMac)) return this.#trace.drop("arp-malformed");
    const sender = arpSenderIp(buf, arp);
    if (sender !== 0 && this.#learn(link, buf, senderMac, sender) === null) return this.#trace.drop("arp-spoofed");
    const target = arpTargetIp(buf, arp);
    if (arpOp(buf, arp) !== ARP_REQUEST || sender === target || !this.policy.isOurs(target)) return;
    const o = link.reserve(ETH_HEADER + ARP_LENGTH);
    if (o < 0) return this.#trace.drop("cable-full");
    const mac = buf.subarray(senderMac, senderMac + 6);
    ethWrite(link.tx, o, mac, this.mac, ETH_ARP);
    arpWrite(link.tx, o + ETH_HEADER, ARP_REPLY, this.mac, target, mac, sender);
    link.commit(ETH_HEADER + ARP_LENGTH);
    this.#touchLink(link);
  }

  /** Who sends from `ip`; null when it may not: our own addresses, outside the net, or leased to another guest. */
  #learn(link: Link, buf: Uint8Array, macAt: number, ip: number): Neighbour | null {
    const known = this.#neighbours.get(ip);
    if (known !== undefined && known.link === link && macEquals(buf, macAt, known.mac)) return known;
    if (!this.policy.isGuest(ip) || macIsGroup(buf, macAt) || macEquals(buf, macAt, this.mac)) return null;
    if (!this.#dhcp.seen(ip, macToString(buf, macAt), this.#now)) return null;
    const guest = this.#neighbours.learn(ip, buf, macAt, link);
    this.#arpAsked.delete(ip);
    this.#tcp.resolved(guest);
    return guest;
  }

  /** Asks every cable who has a guest's address. */
  #resolve(guest: Neighbour): void {
    const now = this.#clock.now();
    if (now - (this.#arpAsked.get(guest.ip) ?? Number.NEGATIVE_INFINITY) < ARP_PAUSE_MS) return;
    if (this.#arpAsked.size > 1024) this.#arpAsked.clear();
    this.#arpAsked.set(guest.ip, now);
    for (const link of this.#links) {
      const o = link.reserve(ETH_HEADER + ARP_LENGTH);
      if (o < 0) continue;
      ethWrite(link.tx, o, MAC_BROADCAST, this.mac, ETH_ARP);
      arpWrite(link.tx, o + ETH_HEADER, ARP_REQUEST, this.mac, this.policy.gateway, NO_MAC, guest.ip);
      link.commit(ETH_HEADER + ARP_LENGTH);
      this.#touchLink(link);
    }
  }

  #ipv4(link: Link, slab: Slab, at: number, len: number): void {
    const buf = slab.bytes;
    const ip = at + ETH_HEADER;
    if (!ipv4Check(buf, ip, len - ETH_HEADER)) return this.#trace.drop("ip-malformed");
    const src = ipv4Src(buf, ip);
    const dst = ipv4Dst(buf, ip);
    const proto = ipv4Proto(buf, ip);
    const payload = ip + ipv4HeaderLength(buf, ip);
    const size = ipv4TotalLength(buf, ip) - (payload - ip);
    if (ipv4IsFragment(buf, ip)) return this.#fragment(link, buf, at, ip);
    if (proto === PROTO_UDP && this.#isDhcp(buf, payload, size, dst))
      return this.#dhcpIn(link, buf, at, payload, size, src, dst);
    const guest = this.#learn(link, buf, at + 6, src);
    if (guest === null) return this.#trace.drop("ip-source");
    if (!macEquals(buf, at, this.mac)) return this.#trace.drop("ip-destination");
    if (ipv4Ttl(buf, ip) <= 1 && !this.policy.isOurs(dst)) {
      this.#trace.drop("ip-ttl");
      return this.#icmpError(guest, this.policy.gateway, ICMP_TIME_EXCEEDED, 0, buf, ip, payload, size);
    }
    if (proto === PROTO_TCP) this.#tcp.receive(guest, slab, payload, size, dst, this.#now);
    else if (proto === PROTO_UDP) this.#udpIn(guest, buf, ip, payload, size, dst);
    else if (proto === PROTO_ICMP) this.#icmpIn(guest, buf, payload, size, dst);
    else this.#trace.drop("ip-protocol");
  }

  /** The last missing fragment makes a packet, which then arrives as if it had come whole. */
  #fragment(link: Link, buf: Uint8Array, at: number, ip: number): void {
    if (this.#learn(link, buf, at + 6, ipv4Src(buf, ip)) === null) return this.#trace.drop("ip-source");
    const packet = this.#reassembler.receive(buf, ip, this.#now);
    if (packet === "dropped") return this.#trace.drop("ip-fragment");
    if (packet === "kept") {
      if (this.#reassembler.size === 1) this.onPollAt?.();
      return;
    }
    const frame = new Uint8Array(ETH_HEADER + packet.length);
    frame.set(buf.subarray(at, at + ETH_HEADER));
    frame.set(packet, ETH_HEADER);
    this.#ipv4(link, { bytes: frame, scarce: false, pin() {}, unpin() {} }, 0, frame.length);
  }

  #isDhcp(buf: Uint8Array, at: number, len: number, dst: number): boolean {
    return (
      len >= UDP_HEADER &&
      udpDst(buf, at) === DHCP_SERVER_PORT &&
      (this.policy.isBroadcast(dst) || dst === this.policy.gateway)
    );
  }

  #dhcpIn(link: Link, buf: Uint8Array, eth: number, at: number, len: number, src: number, dst: number): void {
    if (!udpCheck(buf, at, len, ipv4Pseudo(src, dst, PROTO_UDP, udpLength(buf, at))))
      return this.#trace.drop("udp-malformed");
    const out = this.#dhcpOut;
    const body = at + UDP_HEADER;
    // A guest asks for itself: a chaddr that is not its own would take another's lease.
    if (
      udpLength(buf, at) - UDP_HEADER >= DHCP_CHADDR + 6 &&
      !macEquals(buf, eth + 6, buf.subarray(body + DHCP_CHADDR, body + DHCP_CHADDR + 6))
    )
      return this.#trace.drop("dhcp-malformed");
    const reply = this.#dhcp.receive(buf, body, udpLength(buf, at) - UDP_HEADER, src, this.#now, out);
    if (reply === null) return;
    const mac = reply.broadcast ? null : buf.slice(eth + 6, eth + 12);
    this.#egress.dhcp(link, mac, this.policy.gateway, reply.dstIp, out, reply.len);
  }

  #udpIn(guest: Neighbour, buf: Uint8Array, ip: number, at: number, len: number, dst: number): void {
    if (len < UDP_HEADER || !udpCheck(buf, at, len, ipv4Pseudo(guest.ip, dst, PROTO_UDP, udpLength(buf, at))))
      return this.#trace.drop("udp-malformed");
    const srcPort = udpSrc(buf, at);
    const dstPort = udpDst(buf, at);
    const body = at + UDP_HEADER;
    const size = udpLength(buf, at) - UDP_HEADER;
    if (dst === this.policy.gateway && dstPort === TFTP_PORT && this.#tftp !== null)
      return this.#tftp.receive(guest, srcPort, buf, body, size, TFTP_MAX_BLOCK, this.#now);
    if (dst === this.policy.dns) {
      if (dstPort === DNS_PORT) {
        this.#dns.queryUdp(buf, body, size, (answer) => {
          this.#egress.udp(guest, dst, DNS_PORT, srcPort, answer, 0, answer.length);
          this.flush();
        });
      } else this.#icmpError(guest, dst, ICMP_UNREACHABLE, UNREACHABLE_PORT, buf, ip, at, len);
      return;
    }
    if (this.#udp.receive(guest, srcPort, dst, dstPort, buf, body, size)) return;
    this.#trace.drop("policy");
    if (!this.policy.isBroadcast(dst) && dst >>> 28 !== 14)
      this.#icmpError(guest, this.policy.gateway, ICMP_UNREACHABLE, UNREACHABLE_PROHIBITED, buf, ip, at, len);
  }

  /** Echo to our own addresses (RFC 792). */
  #icmpIn(guest: Neighbour, buf: Uint8Array, at: number, len: number, dst: number): void {
    if (!icmpCheck(buf, at, len)) return this.#trace.drop("icmp-checksum");
    if (buf[at] !== ICMP_ECHO || !this.policy.isOurs(dst)) return this.#trace.drop("icmp-type");
    const word = (buf[at + 4]! << 24) | (buf[at + 5]! << 16) | (buf[at + 6]! << 8) | buf[at + 7]!;
    this.#egress.icmp(guest, dst, ICMP_ECHO_REPLY, 0, word, buf, at + ICMP_HEADER, len - ICMP_HEADER);
  }

  /** An ICMP error about a guest's packet: its header and the first 8 bytes behind it (RFC 792), never about an ICMP error. */
  #icmpError(
    guest: Neighbour,
    src: number,
    type: number,
    code: number,
    buf: Uint8Array,
    ip: number,
    payload: number,
    size: number,
  ): void {
    if (ipv4Proto(buf, ip) === PROTO_ICMP && buf[payload] !== ICMP_ECHO) return;
    const second = Math.floor(this.#now / 1000);
    if (second !== this.#icmpWindow) {
      this.#icmpWindow = second;
      this.#icmpErrors = 0;
    }
    if (++this.#icmpErrors > ICMP_ERRORS_PER_SECOND) return this.#trace.drop("icmp-rate");
    this.#egress.icmp(guest, src, type, code, 0, buf, ip, payload - ip + Math.min(8, size));
  }
}

/** The gateway's MAC for a configuration, as libslirp makes it: 52:55 and its address. */
export function gatewayMac(config: StackConfig): Uint8Array {
  const mac = new Uint8Array([0x52, 0x55, 0, 0, 0, 0]);
  put32(mac, 2, ipv4FromText(config.host));
  return mac;
}
