/**
 * IPv4 from guests (RFC 791, RFC 1122): checks who may send, reassembles fragments, and hands packets to their
 * protocols.
 */
import { COMPLETE, LEAST_SEGMENT, type Link, type Slab } from "../core/link.ts";
import { EXPIRED, NO_PROTOCOL } from "../nat/icmp/icmp-cause.ts";
import type { DhcpServer } from "../proto/dhcp.ts";
import type { Reassembler } from "../proto/reassembly.ts";
import { UNVERIFIED } from "../wire/checksum.ts";
import { ETH_HEADER, macEquals } from "../wire/ethernet.ts";
import { icmpCheck } from "../wire/icmp.ts";
import {
  ipv4Check,
  ipv4DontFragment,
  ipv4Dst,
  ipv4HeaderLength,
  ipv4IsFragment,
  ipv4Proto,
  ipv4Pseudo,
  ipv4Src,
  ipv4TotalLength,
  ipv4Ttl,
  PROTO_ICMP,
  PROTO_TCP,
  PROTO_UDP,
} from "../wire/ipv4.ts";
import { UDP_HEADER, udpCheck, udpDst, udpLength } from "../wire/udp.ts";
import { claimant } from "./address-ownership.ts";
import type { Arp } from "./arp.ts";
import { receiveIcmp } from "./icmp.ts";
import type { Lan } from "./lan.ts";
import { receiveUdp } from "./udp.ts";

const DHCP_SERVER_PORT = 67;
/** Offset of the client's MAC in a DHCP message. */
const DHCP_CHADDR = 28;
/** Offset of the destination in an IPv4 header. */
const DST = 16;

export class Ipv4 {
  readonly #lan: Lan;
  readonly #arp: Arp;
  readonly #dhcp: DhcpServer;
  readonly #reassembler: Reassembler;
  readonly #dhcpOut: Uint8Array = new Uint8Array(1500);

  constructor(lan: Lan, arp: Arp, dhcp: DhcpServer, reassembler: Reassembler) {
    this.#lan = lan;
    this.#arp = arp;
    this.#dhcp = dhcp;
    this.#reassembler = reassembler;
  }

  /** A frame of `len` bytes at `at`, from which `undone` is missing; `whole` unless it was put together from fragments. */
  receive(link: Link, slab: Slab, at: number, len: number, undone: number, now: number, whole = true): void {
    const { trace, policy, egress } = this.#lan;
    const buf = slab.bytes;
    const ip = at + ETH_HEADER;
    if (!ipv4Check(buf, ip, len - ETH_HEADER)) return trace.drop("ip-malformed");
    const src = ipv4Src(buf, ip);
    const dst = ipv4Dst(buf, ip);
    const proto = ipv4Proto(buf, ip);
    const payload = ip + ipv4HeaderLength(buf, ip);
    const size = ipv4TotalLength(buf, ip) - (payload - ip);
    if (ipv4IsFragment(buf, ip))
      return undone === COMPLETE ? this.#fragment(link, buf, at, ip, now) : trace.drop("ip-fragment");
    if (proto === PROTO_UDP && this.#isDhcp(buf, payload, size, dst))
      return this.#dhcpIn(link, buf, at, payload, size, src, dst, undone, now);
    const guest = this.#arp.learn(link, buf, at + 6, src, now);
    if (guest === null) return trace.drop("ip-source");
    if (!macEquals(buf, at, egress.mac)) return trace.drop("ip-destination");
    const hops = ipv4Ttl(buf, ip);
    const df = whole && ipv4DontFragment(buf, ip);
    if (whole && undone < LEAST_SEGMENT && payload + size - ip > guest.shown) guest.shown = payload + size - ip;
    if (hops <= 1 && !policy.isOurs(dst)) {
      trace.drop("ip-ttl");
      return this.#lan.errors.about(guest, policy.gateway, EXPIRED, buf, ip, proto, payload, size);
    }
    if (proto === PROTO_TCP) {
      const pseudo = undone === COMPLETE ? ipv4Pseudo(src, dst, PROTO_TCP, size) : UNVERIFIED;
      this.#lan.tcp.receive(guest, slab, ip + DST, payload, size, pseudo, now);
    } else if (proto === PROTO_UDP) {
      const pseudo = undone === COMPLETE ? ipv4Pseudo(src, dst, 0, 0) : UNVERIFIED;
      receiveUdp(this.#lan, guest, buf, ip, ip + DST, payload, size, pseudo, hops, df, now);
    } else if (proto === PROTO_ICMP) {
      if (!icmpCheck(buf, payload, size)) return trace.drop("icmp-checksum");
      receiveIcmp(this.#lan, guest, buf, ip, ip + DST, payload, size, hops, df, now);
    } else {
      trace.drop("ip-protocol");
      this.#lan.errors.about(guest, policy.gateway, NO_PROTOCOL, buf, ip, proto, payload, size);
    }
  }

  /** The last missing fragment completes a packet, which is then received as if it had come whole. */
  #fragment(link: Link, buf: Uint8Array, at: number, ip: number, now: number): void {
    const { trace } = this.#lan;
    if (this.#arp.learn(link, buf, at + 6, ipv4Src(buf, ip), now) === null) return trace.drop("ip-source");
    const packet = this.#reassembler.receive(link, buf, ip, now);
    if (packet === "dropped") return trace.drop("ip-fragment");
    if (packet === "kept") {
      if (this.#reassembler.size === 1) this.#lan.wake();
      return;
    }
    const frame = new Uint8Array(ETH_HEADER + packet.length);
    frame.set(buf.subarray(at, at + ETH_HEADER));
    frame.set(packet, ETH_HEADER);
    this.receive(link, { bytes: frame, scarce: false, pin() {}, unpin() {} }, 0, frame.length, COMPLETE, now, false);
  }

  #isDhcp(buf: Uint8Array, at: number, len: number, dst: number): boolean {
    const { policy } = this.#lan;
    return (
      len >= UDP_HEADER &&
      udpDst(buf, at) === DHCP_SERVER_PORT &&
      (policy.isBroadcast(dst) || dst === policy.gateway.ip)
    );
  }

  #dhcpIn(
    link: Link,
    buf: Uint8Array,
    eth: number,
    at: number,
    len: number,
    src: number,
    dst: number,
    undone: number,
    now: number,
  ): void {
    const { trace, egress, policy } = this.#lan;
    const pseudo = undone === COMPLETE ? ipv4Pseudo(src, dst, PROTO_UDP, udpLength(buf, at)) : UNVERIFIED;
    if (!udpCheck(buf, at, len, pseudo)) return trace.drop("udp-malformed");
    const out = this.#dhcpOut;
    const body = at + UDP_HEADER;
    // A guest asks for itself only: a message with another chaddr could take that guest's lease.
    if (
      udpLength(buf, at) - UDP_HEADER >= DHCP_CHADDR + 6 &&
      !macEquals(buf, eth + 6, buf.subarray(body + DHCP_CHADDR, body + DHCP_CHADDR + 6))
    )
      return trace.drop("dhcp-malformed");
    // Another DHCP server answers.
    if (!this.#lan.config.dhcp) return;
    const reply = this.#dhcp.receive(buf, body, udpLength(buf, at) - UDP_HEADER, src, now, out, claimant(link));
    if (reply === null) return;
    const mac = reply.broadcast ? null : buf.slice(eth + 6, eth + 12);
    egress.dhcp(link, mac, policy.gateway, reply.dstIp, out, reply.len);
  }
}
