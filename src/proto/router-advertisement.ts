/**
 * The router of a guest network. It tells guests that ask, and from time to time all guests, the prefix, the default
 * route, the MTU and the DNS server (RFC 4861 section 6.2, RFC 8106). Values are libslirp's, unless a comment names an
 * RFC.
 *
 * A solicitation is answered at once, to its sender alone. The random delay of section 6.2.6, up to half a second,
 * keeps several routers from answering together, and there is only one here. A guest that asks from `::` cannot be
 * answered alone. For it, as for a new cable, the next advertisement to all comes earlier, but at least three seconds
 * after the last one.
 *
 * Addresses: with a prefix of 64 bits guests make their own (RFC 4862 section 5.5.3 d), and DHCPv6 is named for other
 * configuration (O), though it gives an address to guests that ask for one. With another length guests are told to ask
 * DHCPv6 for an address (M).
 */
import type { IpText } from "../core/address.ts";
import type { Random } from "../core/random.ts";
import type { Trace } from "../core/trace.ts";
import { dnsEncodeNames } from "../wire/dns.ts";
import { macEquals } from "../wire/ethernet.ts";
import {
  IPV6_ALL_NODES,
  IPV6_HEADER,
  IPV6_MIN_MTU,
  ipv6Copy,
  ipv6Dst,
  ipv6FromText,
  ipv6HopLimit,
  ipv6IsMulticast,
  ipv6IsUnspecified,
  ipv6Src,
  ipv6Write,
  PROTO_ICMP6,
} from "../wire/ipv6.ts";
import * as wire from "../wire/ndp.ts";

/** The source of advertisements, which is the guests' default gateway. */
export const ROUTER_LINK_LOCAL: Uint8Array = ipv6FromText("fe80::2");
/** The most bytes of an advertisement's IPv6 packet. */
export const ROUTER_ADVERT_MAX: number = IPV6_MIN_MTU;

const HOP_LIMIT = 64;
/** Seconds. */
const ROUTER_LIFETIME = 1800;
const PREFIX_VALID = 86_400;
const PREFIX_PREFERRED = 14_400;
/** Three times the longest interval between advertisements (RFC 8106 section 5.1). */
const DNS_LIFETIME = 1800;
/** Bytes for search domains, so that the packet is never longer than `ROUTER_ADVERT_MAX`. */
const MOST_NAMES = 1024;

/** Milliseconds: MaxRtrAdvInterval, MinRtrAdvInterval, MAX_INITIAL_RTR_ADVERT_INTERVAL, MIN_DELAY_BETWEEN_RAS (RFC 4861 sections 6.2.1 and 10). */
const INTERVAL_MOST = 600_000;
const INTERVAL_LEAST = 198_000;
const INITIAL_INTERVAL_MOST = 16_000;
const INITIAL_COUNT = 3;
const PAUSE = 3_000;

export interface RouterConfig {
  /** "fec0::" and its prefix length. */
  readonly net6: IpText;
  readonly prefix6: number;
  /** The virtual DNS server (fec0::3). */
  readonly dns6: IpText;
  readonly dnssearch: readonly string[];
  readonly mtu: number;
  /** A restricted network has no way out: the router is no default router, and names no DNS server. */
  readonly restrict: boolean;
}

export class RouterAdvertiser {
  readonly #random: Random;
  readonly #trace: Trace;
  readonly #mac: Uint8Array;
  readonly #lifetime: number;
  readonly #flags: number;
  /** The advertisement to all nodes. */
  readonly #packet: Uint8Array;
  #initial = INITIAL_COUNT;
  #nextAt = Number.POSITIVE_INFINITY;
  #last = Number.NEGATIVE_INFINITY;

  /** `mac` is the router's. Sends nothing before `linkUp`. */
  constructor(config: RouterConfig, mac: Uint8Array, random: Random, trace: Trace) {
    this.#random = random;
    this.#trace = trace;
    this.#mac = mac;
    this.#lifetime = config.restrict ? 0 : ROUTER_LIFETIME;
    this.#flags = config.prefix6 === 64 ? wire.RA_OTHER : wire.RA_OTHER | wire.RA_MANAGED;
    this.#packet = this.#build(config);
  }

  /** When `poll` wants to be called. */
  nextAt(): number {
    return this.#nextAt;
  }

  /** A cable was plugged in: guests on it are told of the router soon (RFC 4861 section 6.2.4). */
  linkUp(now: number): void {
    this.#initial = INITIAL_COUNT;
    this.#hurry(now);
  }

  /**
   * Takes the solicitation of `len` bytes at `at`, whose checksum is right, under the IPv6 header at `ip`; the frame's
   * source stands at `macAt`. An answer for it alone is written to `out` as an IPv6 packet, its length returned; 0 if
   * there is none.
   */
  receive(
    buf: Uint8Array,
    ip: number,
    at: number,
    len: number,
    macAt: number,
    now: number,
    out: Uint8Array,
    outAt: number,
  ): number {
    // RFC 4861 section 6.1.1.
    const src = ipv6Src(buf, ip);
    const anonymous = ipv6IsUnspecified(buf, src);
    if (ipv6HopLimit(buf, ip) !== wire.NDP_HOP_LIMIT || !wire.ndpCheck(buf, at, len) || ipv6IsMulticast(buf, src)) {
      this.#trace.drop("ndp-malformed");
      return 0;
    }
    const mac = wire.ndpMac(buf, at, len, wire.NDP_OPT_SOURCE_MAC);
    if (anonymous && mac >= 0) {
      this.#trace.drop("ndp-malformed");
      return 0;
    }
    if (mac >= 0 && !macEquals(buf, mac, buf.subarray(macAt, macAt + 6))) {
      this.#trace.drop("ndp-spoofed");
      return 0;
    }
    if (anonymous) {
      this.#hurry(now);
      return 0;
    }
    out.set(this.#packet, outAt);
    ipv6Copy(out, ipv6Dst(out, outAt), buf, src);
    this.#seal(out, outAt, outAt + this.#packet.length);
    return this.#packet.length;
  }

  /** Writes the advertisement to all nodes that is due at `now` and returns its length, 0 if none is. */
  poll(now: number, out: Uint8Array, outAt: number): number {
    if (now < this.#nextAt) return 0;
    out.set(this.#packet, outAt);
    this.#last = now;
    let interval = INTERVAL_LEAST + (this.#random.u32() % (INTERVAL_MOST - INTERVAL_LEAST + 1));
    if (this.#initial > 0 && --this.#initial > 0) interval = Math.min(interval, INITIAL_INTERVAL_MOST);
    this.#nextAt = now + interval;
    return this.#packet.length;
  }

  #hurry(now: number): void {
    this.#nextAt = Math.min(this.#nextAt, Math.max(now, this.#last + PAUSE));
  }

  #build(config: RouterConfig): Uint8Array {
    const buf = new Uint8Array(ROUTER_ADVERT_MAX);
    const at = IPV6_HEADER;
    let i = wire.ndpPutMac(buf, wire.ndpRouterOptions(at), wire.NDP_OPT_SOURCE_MAC, this.#mac);
    const flags = wire.PREFIX_ON_LINK | (config.prefix6 === 64 ? wire.PREFIX_AUTONOMOUS : 0);
    const prefix = ipv6FromText(config.net6);
    i = wire.ndpPutPrefix(buf, i, prefix, config.prefix6, flags, PREFIX_VALID, PREFIX_PREFERRED);
    i = wire.ndpPutMtu(buf, i, config.mtu);
    if (!config.restrict) i = wire.ndpPutRdnss(buf, i, [ipv6FromText(config.dns6)], DNS_LIFETIME);
    const names = dnsEncodeNames(config.dnssearch, MOST_NAMES);
    if (names.length > 0 && !config.restrict) i = wire.ndpPutDnssl(buf, i, names, DNS_LIFETIME);
    const payload = i - at;
    ipv6Write(buf, 0, ROUTER_LINK_LOCAL, 0, IPV6_ALL_NODES, 0, PROTO_ICMP6, payload, wire.NDP_HOP_LIMIT);
    this.#seal(buf, 0, i);
    return buf.slice(0, i);
  }

  #seal(buf: Uint8Array, ip: number, end: number): void {
    wire.ndpWriteRouter(buf, ip, ip + IPV6_HEADER, end, HOP_LIMIT, this.#flags, this.#lifetime);
  }
}
