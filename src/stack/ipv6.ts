/**
 * IPv6 from guests (RFC 8200, RFC 4443): checks who may send, walks extension headers, reassembles fragments, and hands
 * packets to their protocols.
 *
 * Groups: packets to all nodes, all routers and DHCPv6's servers are answered; packets to other groups stay on the
 * cables. No error answers a packet to a group, except as RFC 4443 section 2.4 e.3 demands.
 */
import { COMPLETE, LEAST_SEGMENT, type Link, type Slab } from "../core/link.ts";
import { BEYOND_SCOPE, EXPIRED, headerProblem } from "../nat/icmp/icmp-cause.ts";
import { DHCP6_MAX_REPLY, type Dhcp6Server } from "../proto/dhcp6.ts";
import type { Neighbour } from "../proto/neighbours.ts";
import type { Reassembler } from "../proto/reassembly.ts";
import { get16, get32 } from "../wire/bytes.ts";
import { scalarSum, UNVERIFIED } from "../wire/checksum.ts";
import { DHCP6_CLIENT_PORT, DHCP6_SERVER_PORT } from "../wire/dhcp6.ts";
import { ETH_HEADER, macEquals, macIsGroup, macToString } from "../wire/ethernet.ts";
import { ICMP6_ECHO, ICMP6_ECHO_REPLY, ICMP6_HEADER, icmp6Check } from "../wire/icmp6.ts";
import { PROTO_TCP, PROTO_UDP } from "../wire/ipv4.ts";
import {
  IPV6_ALL_NODES,
  IPV6_ALL_ROUTERS,
  IPV6_HEADER,
  ipv6Check,
  ipv6Dst,
  ipv6Equals,
  ipv6HopLimit,
  ipv6IsLinkLocal,
  ipv6IsMulticast,
  ipv6IsUnspecified,
  ipv6PayloadLength,
  ipv6Src,
  PROTO_ICMP6,
} from "../wire/ipv6.ts";
import {
  type Ipv6Walk,
  ipv6ProblemReported,
  ipv6Walk,
  newIpv6Walk,
  WALK_DROP,
  WALK_FRAGMENT,
  WALK_PROBLEM,
} from "../wire/ipv6-extensions.ts";
import { ndpIsNdp } from "../wire/ndp.ts";
import { UDP_HEADER, udpCheck, udpDst, udpLength } from "../wire/udp.ts";
import { claimant } from "./address-ownership.ts";
import { receiveIcmp } from "./icmp.ts";
import type { Lan } from "./lan.ts";
import type { Ndp } from "./ndp.ts";
import { receiveUdp } from "./udp.ts";

export class Ipv6 {
  readonly #lan: Lan;
  readonly #ndp: Ndp;
  readonly #dhcp6: Dhcp6Server;
  readonly #reassembler: Reassembler;
  readonly #walk: Ipv6Walk = newIpv6Walk();
  readonly #dhcpOut: Uint8Array = new Uint8Array(DHCP6_MAX_REPLY);

  constructor(lan: Lan, ndp: Ndp, dhcp6: Dhcp6Server, reassembler: Reassembler) {
    this.#lan = lan;
    this.#ndp = ndp;
    this.#dhcp6 = dhcp6;
    this.#reassembler = reassembler;
  }

  /** A frame of `len` bytes at `at`, from which `undone` is missing; `whole` unless it was put together from fragments. */
  receive(link: Link, slab: Slab, at: number, len: number, undone: number, now: number, whole = true): void {
    const { trace, egress } = this.#lan;
    const buf = slab.bytes;
    const ip = at + ETH_HEADER;
    if (!ipv6Check(buf, ip, len - ETH_HEADER)) return trace.drop("ip-malformed");
    const group = ipv6IsMulticast(buf, ipv6Dst(buf, ip));
    if (group ? !macIsGroup(buf, at) : !macEquals(buf, at, egress.mac6)) return trace.drop("ip-destination");
    const walk = this.#walk;
    const found = ipv6Walk(buf, ip, walk);
    if (found === WALK_DROP) return trace.drop("ip-malformed");
    const discovery = walk.proto === PROTO_ICMP6 && found !== WALK_PROBLEM && found !== WALK_FRAGMENT;
    if (discovery && walk.payloadLen > 0 && ndpIsNdp(buf[walk.payloadAt]!)) {
      // Neighbour discovery must not be fragmented (RFC 6980): even a lone fragment header is refused.
      if (walk.fragmentAt >= 0) return trace.drop("ndp-malformed");
      if (!icmp6Check(buf, ip, walk.payloadAt, walk.payloadLen)) return trace.drop("icmp-checksum");
      return this.#ndp.receive(link, buf, at, ip, walk.payloadAt, walk.payloadLen, now);
    }
    // A guest that has no address yet may only say which groups it listens to (RFC 3590).
    if (group && ipv6IsUnspecified(buf, ipv6Src(buf, ip))) return trace.drop("icmp-type");
    const guest = this.#ndp.learn(link, buf, at + 6, ipv6Src(buf, ip), now);
    if (guest === null) return trace.drop("ip-source");
    if (found === WALK_FRAGMENT)
      return undone === COMPLETE ? this.#fragment(link, buf, at, ip, now) : trace.drop("ip-fragment");
    if (found === WALK_PROBLEM) {
      trace.drop("ip-header");
      if (!ipv6ProblemReported(buf, ip, walk)) return;
      const cause = headerProblem(walk.problemCode);
      const size = IPV6_HEADER + ipv6PayloadLength(buf, ip);
      return this.#lan.errors.about(
        guest,
        this.#lan.policy.selfFor(guest.address),
        cause,
        buf,
        ip,
        -1,
        ip,
        size,
        walk.problemPointer,
      );
    }
    const length = IPV6_HEADER + ipv6PayloadLength(buf, ip);
    if (whole && undone < LEAST_SEGMENT && length > guest.shown) guest.shown = length;
    if (group) this.#group(guest, buf, at, ip, undone, now);
    else this.#unicast(guest, slab, at, ip, undone, whole, now);
  }

  /**
   * A packet that came `whole` may not be fragmented on its way: in IPv6 only the source does that (RFC 8200 section
   * 5).
   */
  #unicast(guest: Neighbour, slab: Slab, eth: number, ip: number, undone: number, whole: boolean, now: number): void {
    const { trace, policy, errors } = this.#lan;
    const { proto, payloadAt: at, payloadLen: len } = this.#walk;
    const buf = slab.bytes;
    const dst = ipv6Dst(buf, ip);
    const hops = ipv6HopLimit(buf, ip);
    if (!policy.isOurs6(buf, dst)) {
      if (hops <= 1) {
        trace.drop("ip-ttl");
        return errors.about(guest, this.#lan.policy.selfFor(guest.address), EXPIRED, buf, ip, proto, at, len);
      }
      // A packet from a link-local address may not leave the cable (RFC 4291 section 2.5.6).
      if (ipv6IsLinkLocal(buf, ipv6Src(buf, ip))) {
        trace.drop("ip-source");
        return errors.about(guest, this.#lan.policy.selfFor(guest.address), BEYOND_SCOPE, buf, ip, proto, at, len);
      }
    }
    const addresses = undone === COMPLETE ? scalarSum(buf, ipv6Src(buf, ip), 32) : UNVERIFIED;
    if (proto === PROTO_TCP) this.#lan.tcp.receive(guest, slab, dst, at, len, addresses + PROTO_TCP + len, now);
    else if (proto === PROTO_UDP) {
      if (this.#isDhcp(buf) && policy.isOurs6(buf, dst)) this.#dhcp(guest, buf, eth, ip, undone, false, now);
      else receiveUdp(this.#lan, guest, buf, ip, dst, at, len, addresses, hops, whole, now);
    } else if (proto === PROTO_ICMP6) {
      if (!icmp6Check(buf, ip, at, len)) return trace.drop("icmp-checksum");
      receiveIcmp(this.#lan, guest, buf, ip, dst, at, len, hops, whole, now);
    } else trace.drop("ip-protocol");
  }

  /** A packet to a group: DHCPv6, and echoes to all nodes or routers. */
  #group(guest: Neighbour, buf: Uint8Array, eth: number, ip: number, undone: number, now: number): void {
    const { proto } = this.#walk;
    const dst = ipv6Dst(buf, ip);
    if (proto === PROTO_UDP && this.#isDhcp(buf)) return this.#dhcp(guest, buf, eth, ip, undone, true, now);
    const toUs = ipv6Equals(buf, dst, IPV6_ALL_NODES, 0) || ipv6Equals(buf, dst, IPV6_ALL_ROUTERS, 0);
    if (proto === PROTO_ICMP6 && toUs) this.#groupEcho(guest, buf, ip);
    else this.#lan.trace.drop(proto === PROTO_ICMP6 ? "icmp-type" : "policy");
  }

  /** An echo to a group is answered from one of our own addresses (RFC 4443 section 4.2). */
  #groupEcho(guest: Neighbour, buf: Uint8Array, ip: number): void {
    const { trace, egress } = this.#lan;
    const { payloadAt: at, payloadLen: len } = this.#walk;
    if (!icmp6Check(buf, ip, at, len)) return trace.drop("icmp-checksum");
    if (buf[at] !== ICMP6_ECHO) return trace.drop("icmp-type");
    egress.icmp(
      guest,
      this.#lan.policy.selfFor(guest.address),
      ICMP6_ECHO_REPLY,
      0,
      get32(buf, at + 4),
      buf,
      at + ICMP6_HEADER,
      len - ICMP6_HEADER,
    );
  }

  /** The last missing fragment completes a packet, which is then received as if it had come whole. */
  #fragment(link: Link, buf: Uint8Array, at: number, ip: number, now: number): void {
    const { trace } = this.#lan;
    const packet = this.#reassembler.receive6(link, buf, ip, this.#walk, now);
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

  #isDhcp(buf: Uint8Array): boolean {
    const { payloadAt, payloadLen } = this.#walk;
    return payloadLen >= UDP_HEADER && udpDst(buf, payloadAt) === DHCP6_SERVER_PORT;
  }

  /** A DHCPv6 message to the servers' group, or to one of our addresses (RFC 8415). */
  #dhcp(guest: Neighbour, buf: Uint8Array, eth: number, ip: number, undone: number, group: boolean, now: number): void {
    const { trace, egress, config } = this.#lan;
    const { payloadAt: at, payloadLen: len } = this.#walk;
    const length = udpLength(buf, at);
    const pseudo = undone === COMPLETE ? scalarSum(buf, ipv6Src(buf, ip), 32) + PROTO_UDP + length : UNVERIFIED;
    if (get16(buf, at + 6) === 0 || !udpCheck(buf, at, len, pseudo)) return trace.drop("udp-malformed");
    // Another DHCPv6 server answers.
    if (!config.dhcp) return;
    const out = this.#dhcpOut;
    const mac = macToString(buf, eth + 6);
    const cable = guest.link === null ? null : claimant(guest.link);
    const size = this.#dhcp6.receive(buf, at + UDP_HEADER, length - UDP_HEADER, mac, group, now, out, cable);
    if (size > 0)
      egress.udp(guest, this.#lan.policy.selfFor(guest.address), DHCP6_SERVER_PORT, DHCP6_CLIENT_PORT, out, 0, size);
  }
}
