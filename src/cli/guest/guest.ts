/**
 * A small guest: Ethernet, ARP, IPv4, ICMP echo, UDP and TCP, with clients for DHCP, DNS and HTTP/1.0.
 *
 * `tslirp demo` boots this guest on a machine without QEMU, and tests use it as the network's peer. It shares the
 * formats (`wire/`) with the network, and nothing else: no engine, no NAT. Frames go to and come from a cable in this
 * process. Time comes from the injected clock, and the owner calls `poll` when `pollAt` says so (`runOnTimers` does,
 * with real timers). The guest is simple rather than fast: it allocates for each packet, so it does not suit
 * benchmarks.
 *
 * It has no fragments, no IPv6 and no lease renewal.
 */
import { ipv4FromText } from "../../core/address.ts";
import type { Clock } from "../../core/clock.ts";
import type { Random } from "../../core/random.ts";
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
} from "../../wire/arp.ts";
import { get16 } from "../../wire/bytes.ts";
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
} from "../../wire/ethernet.ts";
import { ICMP_ECHO, ICMP_ECHO_REPLY, ICMP_HEADER, ICMP_UNREACHABLE, icmpCheck, icmpWrite } from "../../wire/icmp.ts";
import {
  IPV4_DF,
  IPV4_HEADER,
  ipv4Check,
  ipv4Dst,
  ipv4HeaderLength,
  ipv4IsFragment,
  ipv4Proto,
  ipv4Pseudo,
  ipv4Src,
  ipv4TotalLength,
  ipv4Write,
  PROTO_ICMP,
  PROTO_TCP,
  PROTO_UDP,
} from "../../wire/ipv4.ts";
import { ACK, FIN, RST, SYN } from "../../wire/tcp.ts";
import { UDP_HEADER, udpCheck, udpDst, udpLength, udpSrc, udpWrite } from "../../wire/udp.ts";
import { type TcpNet, TcpSocket } from "./tcp.ts";
import { decodeSegment, encodeSegment, quotedPorts, type Segment, type SegmentExtras } from "./tcp-segment.ts";
import type { TcpEvents, TcpOptions } from "./tcp-user.ts";
import { Timers } from "./timers.ts";

const ARP_RETRY_MS = 1_000;
const ARP_TRIES = 4;
/** How many packets wait for one neighbour's MAC address (RFC 1122 section 2.3.2.2 asks for at least one). */
const ARP_QUEUE = 64;
const BROADCAST = -1;
const NO_MAC: Uint8Array = new Uint8Array(6);

/** The guest's end of a cable, as `attach/memory` makes it. */
export interface GuestCable {
  send(frame: Uint8Array): void;
  onFrame: ((frame: Uint8Array) => void) | null;
}

export interface GuestOptions {
  readonly cable: GuestCable;
  readonly mac: Uint8Array;
  readonly clock: Clock;
  readonly random: Random;
  /** The largest IP packet, in bytes. DHCP option 26 may change it. */
  readonly mtu?: number;
}

/** A guest's own settings, as DHCP gives them. */
export interface GuestAddress {
  readonly ip: string;
  readonly prefix: number;
  readonly gateway: string | null;
  readonly dns: string | null;
  readonly mtu?: number | null;
}

export interface GuestUdp {
  readonly port: number;
  onDatagram: ((bytes: Uint8Array, fromIp: number, fromPort: number) => void) | null;
  /** An ICMP "unreachable" about one of our datagrams has come; `code` is its code. */
  onUnreachable: ((code: number, ip: number, port: number) => void) | null;
  /** Sends a datagram. If `ip` is -1, it goes to the limited broadcast address. */
  send(bytes: Uint8Array, ip: number, port: number): void;
  close(): void;
}

export class Guest implements TcpNet {
  readonly mac: Uint8Array;
  readonly clock: Clock;
  readonly timers: Timers;
  /** Addresses as signed 32-bit numbers; 0 until there is one. */
  ip = 0;
  gateway = 0;
  dns = 0;
  mtu: number;
  /** Called when `pollAt()` may have become earlier. */
  onPollAt: (() => void) | null = null;
  readonly dropped: Map<string, number> = new Map();
  readonly #cable: GuestCable;
  readonly #random: Random;
  readonly #arp: Map<number, Uint8Array> = new Map();
  readonly #unresolved: Map<number, Uint8Array[]> = new Map();
  readonly #udp: Map<number, GuestUdp> = new Map();
  readonly #tcp: Map<string, TcpSocket> = new Map();
  readonly #listeners: Map<number, { accept: (socket: TcpSocket) => TcpEvents; options: TcpOptions }> = new Map();
  readonly #pings: Map<number, (ip: number) => void> = new Map();
  /** Frames that came during a call of the cable's. They wait until the guest has finished its own work. */
  readonly #inbox: Uint8Array[] = [];
  #sending = false;
  #mask = -1;
  #ipId = 0;

  constructor(options: GuestOptions) {
    this.#cable = options.cable;
    this.mac = options.mac;
    this.clock = options.clock;
    this.#random = options.random;
    this.mtu = options.mtu ?? 1500;
    this.timers = new Timers(options.clock, () => this.onPollAt?.());
    this.#cable.onFrame = (frame) => this.#arrived(frame);
  }

  configure(address: GuestAddress): void {
    this.ip = ipv4FromText(address.ip);
    this.#mask = address.prefix === 0 ? 0 : -1 << (32 - address.prefix);
    this.gateway = address.gateway === null ? 0 : ipv4FromText(address.gateway);
    this.dns = address.dns === null ? 0 : ipv4FromText(address.dns);
    this.mtu = address.mtu ?? this.mtu;
  }

  /** When the guest wants to be polled next, in the clock's milliseconds. */
  pollAt(): number {
    let at = this.timers.pollAt();
    for (const socket of this.#tcp.values()) at = Math.min(at, socket.pollAt());
    return at;
  }

  poll(now: number): void {
    this.timers.poll(now);
    for (const socket of [...this.#tcp.values()]) if (socket.pollAt() <= now) socket.poll(now);
  }

  /**
   * Sends an echo request to `ip`. Resolves with the round trip in milliseconds; rejects after `timeout`
   * milliseconds.
   */
  ping(ip: number, size = 56, timeout = 2_000): Promise<number> {
    const word = this.random();
    const started = this.now();
    return new Promise((resolve, reject) => {
      const cancel = this.timers.after(timeout, () => {
        this.#pings.delete(word);
        reject(new Error("no echo reply"));
      });
      this.#pings.set(word, (from) => {
        if (from !== ip) return;
        this.#pings.delete(word);
        cancel();
        resolve(this.now() - started);
      });
      const body = new Uint8Array(size);
      for (let i = 0; i < size; i++) body[i] = i;
      this.#sendIcmp(ip, ICMP_ECHO, word, body);
    });
  }

  /** Opens a UDP socket. Port 0 means any free port. */
  udp(port = 0): GuestUdp {
    const own = port || this.#freePort((p) => this.#udp.has(p));
    const socket: GuestUdp = {
      port: own,
      onDatagram: null,
      onUnreachable: null,
      send: (bytes, ip, to) => {
        const datagram = new Uint8Array(UDP_HEADER + bytes.length);
        datagram.set(bytes, UDP_HEADER);
        udpWrite(datagram, 0, own, to, bytes.length, ipv4Pseudo(this.ip, ip, PROTO_UDP, datagram.length));
        this.#sendIp(ip, PROTO_UDP, datagram);
      },
      close: () => this.#udp.delete(own),
    };
    this.#udp.set(own, socket);
    return socket;
  }

  connect(ip: number, port: number, events: TcpEvents, options: TcpOptions = {}): TcpSocket {
    const own = this.#freePort((p) => this.#tcp.has(`${p} ${ip} ${port}`));
    const socket = new TcpSocket(this, own, ip, port, options);
    socket.events = events;
    this.#tcp.set(key(socket), socket);
    socket.open();
    this.wake();
    return socket;
  }

  /** Listens on a TCP port. `accept` is called for each SYN and returns the callbacks of that connection. */
  listen(port: number, accept: (socket: TcpSocket) => TcpEvents, options: TcpOptions = {}): void {
    this.#listeners.set(port, { accept, options });
  }

  get connections(): number {
    return this.#tcp.size;
  }

  // Calls from TCP (TcpNet).

  now(): number {
    return this.clock.now();
  }

  random(): number {
    return this.#random.u32();
  }

  sendSegment(
    socket: { localPort: number; remotePort: number; remoteIp: number },
    flags: number,
    seq: number,
    ack: number,
    window: number,
    extras: SegmentExtras,
    payload: Uint8Array,
  ): void {
    const header = { srcPort: socket.localPort, dstPort: socket.remotePort, seq, ack, flags, window };
    const pseudo = (length: number) => ipv4Pseudo(this.ip, socket.remoteIp, PROTO_TCP, length);
    this.#sendIp(socket.remoteIp, PROTO_TCP, encodeSegment(header, extras, payload, pseudo));
  }

  forget(socket: TcpSocket): void {
    this.#tcp.delete(key(socket));
  }

  wake(): void {
    this.onPollAt?.();
  }

  // Incoming packets.

  #drop(reason: string): void {
    this.dropped.set(reason, (this.dropped.get(reason) ?? 0) + 1);
  }

  #arrived(frame: Uint8Array): void {
    if (!this.#sending) return this.#receive(frame);
    if (this.#inbox.push(frame) > 1) return;
    queueMicrotask(() => {
      for (const each of this.#inbox.splice(0)) this.#receive(each);
    });
  }

  #receive(frame: Uint8Array): void {
    if (!ethCheck(frame.length)) return this.#drop("eth-short");
    if (!macIsGroup(frame, 0) && !macEquals(frame, 0, this.mac)) return this.#drop("eth-destination");
    const type = ethType(frame, 0);
    if (type === ETH_ARP) this.#receiveArp(frame);
    else if (type === ETH_IPV4) this.#receiveIp(frame);
    else this.#drop("eth-type");
    this.wake();
  }

  #receiveArp(frame: Uint8Array): void {
    if (!arpCheck(frame, ETH_HEADER, frame.length - ETH_HEADER)) return this.#drop("arp-malformed");
    const sender = arpSenderIp(frame, ETH_HEADER);
    const mac = frame.slice(ETH_HEADER + ARP_SENDER_MAC, ETH_HEADER + ARP_SENDER_MAC + 6);
    const forUs = this.ip !== 0 && arpTargetIp(frame, ETH_HEADER) === this.ip;
    if (sender !== 0 && (forUs || this.#arp.has(sender))) this.#arp.set(sender, mac);
    const waiting = this.#unresolved.get(sender);
    if (waiting && this.#arp.has(sender)) {
      this.#unresolved.delete(sender);
      for (const packet of waiting) this.#sendFrame(mac, ETH_IPV4, packet);
    }
    if (forUs && arpOp(frame, ETH_HEADER) === ARP_REQUEST) this.#sendArp(ARP_REPLY, mac, mac, sender);
  }

  #receiveIp(frame: Uint8Array): void {
    const at = ETH_HEADER;
    if (!ipv4Check(frame, at, frame.length - at)) return this.#drop("ip-malformed");
    if (ipv4IsFragment(frame, at)) return this.#drop("ip-fragment");
    const src = ipv4Src(frame, at);
    const dst = ipv4Dst(frame, at);
    const unicast = dst === this.ip && this.ip !== 0;
    // Without an address, the guest accepts packets to any: DHCP may answer to the offered one (RFC 2131 section 4.1).
    if (!unicast && dst !== BROADCAST && this.ip !== 0) return this.#drop("ip-destination");
    const payload = frame.subarray(at + ipv4HeaderLength(frame, at), at + ipv4TotalLength(frame, at));
    const proto = ipv4Proto(frame, at);
    if (proto === PROTO_UDP) this.#receiveUdp(payload, src, dst);
    else if (proto === PROTO_TCP && unicast) this.#receiveTcp(payload, src, dst);
    else if (proto === PROTO_ICMP && unicast) this.#receiveIcmp(payload, src);
    else this.#drop("ip-protocol");
  }

  #receiveUdp(buf: Uint8Array, src: number, dst: number): void {
    if (buf.length < UDP_HEADER || !udpCheck(buf, 0, buf.length, ipv4Pseudo(src, dst, PROTO_UDP, udpLength(buf, 0))))
      return this.#drop("udp-malformed");
    const socket = this.#udp.get(udpDst(buf, 0));
    if (socket === undefined) return this.#drop("udp-port");
    socket.onDatagram?.(buf.subarray(UDP_HEADER, udpLength(buf, 0)), src, udpSrc(buf, 0));
  }

  #receiveIcmp(buf: Uint8Array, src: number): void {
    if (!icmpCheck(buf, 0, buf.length)) return this.#drop("icmp-checksum");
    const word = ((get16(buf, 4) << 16) | get16(buf, 6)) >>> 0;
    const type = buf[0]!;
    if (type === ICMP_ECHO) this.#sendIcmp(src, ICMP_ECHO_REPLY, word, buf.subarray(ICMP_HEADER));
    else if (type === ICMP_ECHO_REPLY) this.#pings.get(word)?.(src);
    else if (type === ICMP_UNREACHABLE && buf.length >= ICMP_HEADER + IPV4_HEADER + 8) {
      const quoted = ICMP_HEADER;
      const ports = quotedPorts(buf, Math.min(quoted + ipv4HeaderLength(buf, quoted), buf.length - 4));
      if (ipv4Proto(buf, quoted) === PROTO_UDP && ipv4Src(buf, quoted) === this.ip)
        this.#udp.get(ports.src)?.onUnreachable?.(buf[1]!, ipv4Dst(buf, quoted), ports.dst);
    } else this.#drop("icmp-type");
  }

  #receiveTcp(buf: Uint8Array, src: number, dst: number): void {
    const s = decodeSegment(buf, ipv4Pseudo(src, dst, PROTO_TCP, buf.length));
    if (s === null) return this.#drop("tcp-checksum");
    const known = this.#tcp.get(`${s.dstPort} ${src} ${s.srcPort}`);
    const listener = this.#listeners.get(s.dstPort);
    if (known !== undefined) known.receive(s);
    else if (listener !== undefined && (s.flags & (SYN | ACK | RST)) === SYN) {
      const socket = new TcpSocket(this, s.dstPort, src, s.srcPort, listener.options);
      this.#tcp.set(key(socket), socket);
      socket.events = listener.accept(socket);
      socket.accept(s);
    } else this.#refuse(s, src);
  }

  /** Answers a segment that belongs to no connection (RFC 9293 section 3.10.7.1). */
  #refuse(s: Segment, src: number): void {
    if (s.flags & RST) return;
    const ports = { localPort: s.dstPort, remotePort: s.srcPort, remoteIp: src };
    const length = s.payload.length + (s.flags & SYN ? 1 : 0) + (s.flags & FIN ? 1 : 0);
    if (s.flags & ACK) this.sendSegment(ports, RST, s.ack, 0, 0, {}, new Uint8Array(0));
    else this.sendSegment(ports, RST | ACK, 0, (s.seq + length) | 0, 0, {}, new Uint8Array(0));
  }

  // Outgoing packets.

  #sendIcmp(ip: number, type: number, word: number, body: Uint8Array): void {
    const message = new Uint8Array(ICMP_HEADER + body.length);
    message.set(body, ICMP_HEADER);
    icmpWrite(message, 0, type, 0, word, body.length);
    this.#sendIp(ip, PROTO_ICMP, message);
  }

  #sendIp(dst: number, proto: number, payload: Uint8Array): void {
    const packet = new Uint8Array(IPV4_HEADER + payload.length);
    packet.set(payload, ipv4Write(packet, 0, this.ip, dst, proto, payload.length, 64, this.#ipId++ & 0xffff, IPV4_DF));
    if (dst === BROADCAST) return this.#sendFrame(MAC_BROADCAST, ETH_IPV4, packet);
    const hop = (dst & this.#mask) === (this.ip & this.#mask) ? dst : this.gateway;
    const mac = this.#arp.get(hop);
    if (mac !== undefined) return this.#sendFrame(mac, ETH_IPV4, packet);
    const waiting = this.#unresolved.get(hop);
    if (waiting === undefined) {
      this.#unresolved.set(hop, [packet]);
      this.#ask(hop, ARP_TRIES);
    } else if (waiting.length < ARP_QUEUE) waiting.push(packet);
    else this.#drop("arp-queue");
  }

  #ask(ip: number, tries: number): void {
    if (!this.#unresolved.has(ip)) return;
    if (tries === 0) {
      this.#unresolved.delete(ip);
      return this.#drop("arp-unanswered");
    }
    // The timer is set first: on a cable in this process the answer comes before the call returns.
    this.timers.after(ARP_RETRY_MS, () => this.#ask(ip, tries - 1));
    this.#sendArp(ARP_REQUEST, MAC_BROADCAST, NO_MAC, ip);
  }

  #sendArp(op: number, to: Uint8Array, targetMac: Uint8Array, targetIp: number): void {
    const packet = new Uint8Array(ARP_LENGTH);
    arpWrite(packet, 0, op, this.mac, this.ip, targetMac, targetIp);
    this.#sendFrame(to, ETH_ARP, packet);
  }

  #sendFrame(to: Uint8Array, type: number, packet: Uint8Array): void {
    const frame = new Uint8Array(ETH_HEADER + packet.length);
    frame.set(packet, ethWrite(frame, 0, to, this.mac, type));
    this.#sending = true;
    this.#cable.send(frame);
    this.#sending = false;
  }

  #freePort(taken: (port: number) => boolean): number {
    // Ephemeral ports must not be predictable (RFC 6056).
    for (;;) {
      const port = 49_152 + (this.random() & 0x3fff);
      if (!taken(port)) return port;
    }
  }
}

function key(socket: TcpSocket): string {
  return `${socket.localPort} ${socket.remoteIp} ${socket.remotePort}`;
}
