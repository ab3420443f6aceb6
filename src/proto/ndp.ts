/**
 * Neighbour discovery between guests and our own addresses (RFC 4861 section 7). Questions about our addresses are
 * answered; what a guest says about its own addresses is passed on to the keeper of the neighbours.
 *
 * A guest's duplicate address detection (RFC 4862 section 5.4) is a solicitation from `::`. About one of our addresses,
 * it is answered to all nodes, so that the guest does not take the address. About any other, it must be neither
 * answered nor believed: the address is not the guest's yet.
 *
 * A message is not believed if its hop limit is not 255, if it names another MAC than its frame's, or if it speaks for
 * us. Guests are no routers: their advertisements and redirects are dropped.
 */
import type { Trace } from "../core/trace.ts";
import { macEquals } from "../wire/ethernet.ts";
import {
  IPV6_ALL_NODES,
  IPV6_HEADER,
  ipv6Dst,
  ipv6FromText,
  ipv6HopLimit,
  ipv6IsMulticast,
  ipv6IsUnspecified,
  ipv6SamePrefix,
  ipv6Src,
  ipv6Write,
  ipv6WriteSolicitedNode,
  PROTO_ICMP6,
} from "../wire/ipv6.ts";
import * as wire from "../wire/ndp.ts";

/** Bytes of an answer or a question of ours, as an IPv6 packet. */
export const NDP_PACKET: number = IPV6_HEADER + wire.NDP_NEIGHBOUR_LENGTH;

/** Addresses of this prefix are solicited-node addresses (RFC 4291 section 2.7.1). */
const SOLICITED_NODES = ipv6FromText("ff02::1:ff00:0");
const SOLICITED_NODE_BITS = 104;

/** Tells which addresses are our own now. */
export interface OwnAddresses6 {
  /** Whether the address at `at` is one of our own. */
  isOurs6(buf: Uint8Array, at: number): boolean;
}

export class NeighbourDiscovery {
  /**
   * After `receive`: offset of the address that the frame's sender has, by its message, or -1. The caller decides
   * whether it may have that address.
   */
  heardAt = -1;
  readonly #own: OwnAddresses6;
  readonly #mac: Uint8Array;
  readonly #trace: Trace;

  /** `mac` answers for all addresses of our own. */
  constructor(own: OwnAddresses6, mac: Uint8Array, trace: Trace) {
    this.#own = own;
    this.#mac = mac;
    this.#trace = trace;
  }

  /**
   * Takes a message of `len` bytes at `at`, whose checksum is right, under the IPv6 header at `ip`; the frame's source
   * stands at `macAt`. An answer is written to `out` as an IPv6 packet and its length returned, 0 if there is none: it
   * goes to the frame's sender, or to a group if its destination is one.
   */
  receive(buf: Uint8Array, ip: number, at: number, len: number, macAt: number, out: Uint8Array, outAt: number): number {
    this.heardAt = -1;
    if (ipv6HopLimit(buf, ip) !== wire.NDP_HOP_LIMIT || !wire.ndpCheck(buf, at, len))
      return this.#drop("ndp-malformed");
    switch (buf[at]) {
      case wire.NDP_NEIGHBOUR_SOLICIT:
        return this.#solicited(buf, ip, at, len, macAt, out, outAt);
      case wire.NDP_NEIGHBOUR_ADVERT:
        return this.#advertised(buf, ip, at, len, macAt);
      default:
        return this.#drop("ndp-rogue");
    }
  }

  /**
   * Writes the question who has the address at `targetAt` as an IPv6 packet from `src`, one of our addresses, and
   * returns its length. It goes to the group that is its destination (RFC 4861 section 7.2.2).
   */
  solicit(out: Uint8Array, outAt: number, src: Uint8Array, target: Uint8Array, targetAt: number): number {
    const at = ipv6Write(out, outAt, src, 0, IPV6_ALL_NODES, 0, PROTO_ICMP6, NDP_PACKET - IPV6_HEADER, 255);
    ipv6WriteSolicitedNode(out, ipv6Dst(out, outAt), target, targetAt);
    wire.ndpWriteSolicit(out, outAt, at, target, targetAt, this.#mac);
    return NDP_PACKET;
  }

  #solicited(
    buf: Uint8Array,
    ip: number,
    at: number,
    len: number,
    macAt: number,
    out: Uint8Array,
    outAt: number,
  ): number {
    const src = ipv6Src(buf, ip);
    const target = wire.ndpTarget(buf, at);
    const mac = wire.ndpMac(buf, at, len, wire.NDP_OPT_SOURCE_MAC);
    const tentative = ipv6IsUnspecified(buf, src);
    // RFC 4861 section 7.1.1.
    if (ipv6IsMulticast(buf, target) || ipv6IsMulticast(buf, src)) return this.#drop("ndp-malformed");
    if (tentative && (mac >= 0 || !ipv6SamePrefix(buf, ipv6Dst(buf, ip), SOLICITED_NODES, 0, SOLICITED_NODE_BITS)))
      return this.#drop("ndp-malformed");
    if (this.#own.isOurs6(buf, src) || !sameMac(buf, mac, macAt)) return this.#drop("ndp-spoofed");
    if (mac >= 0) this.heardAt = src;
    if (!this.#own.isOurs6(buf, target)) return 0;
    // RFC 4861 section 7.2.4.
    const flags = wire.NA_ROUTER | wire.NA_OVERRIDE | (tentative ? 0 : wire.NA_SOLICITED);
    const length = NDP_PACKET - IPV6_HEADER;
    const to = tentative ? IPV6_ALL_NODES : buf;
    const body = ipv6Write(out, outAt, buf, target, to, tentative ? 0 : src, PROTO_ICMP6, length, wire.NDP_HOP_LIMIT);
    wire.ndpWriteAdvert(out, outAt, body, flags, buf, target, this.#mac);
    return NDP_PACKET;
  }

  #advertised(buf: Uint8Array, ip: number, at: number, len: number, macAt: number): number {
    const target = wire.ndpTarget(buf, at);
    const mac = wire.ndpMac(buf, at, len, wire.NDP_OPT_TARGET_MAC);
    const toGroup = ipv6IsMulticast(buf, ipv6Dst(buf, ip));
    const solicited = (buf[at + 4]! & 0x40) !== 0;
    // RFC 4861 section 7.1.2.
    if (ipv6IsMulticast(buf, target) || ipv6IsUnspecified(buf, target) || (toGroup && solicited)) {
      return this.#drop("ndp-malformed");
    }
    if (this.#own.isOurs6(buf, target) || this.#own.isOurs6(buf, ipv6Src(buf, ip)) || !sameMac(buf, mac, macAt)) {
      return this.#drop("ndp-spoofed");
    }
    // An advertisement without a MAC confirms the known one (section 7.2.5), which is the frame's.
    if (mac >= 0 || solicited) this.heardAt = target;
    return 0;
  }

  #drop(reason: "ndp-malformed" | "ndp-rogue" | "ndp-spoofed"): number {
    this.#trace.drop(reason);
    return 0;
  }
}

/** Whether the message names no MAC, or the one that the frame came from. */
function sameMac(buf: Uint8Array, mac: number, macAt: number): boolean {
  return mac < 0 || macEquals(buf, mac, buf.subarray(macAt, macAt + 6));
}
