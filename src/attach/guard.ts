/**
 * What one guest may not say to another. The network itself is the LAN's only gateway, DHCP server and router:
 * nobody else answers for its addresses, hands out leases or announces routes, nor speaks from or answers for an
 * address that is another guest's or none of the network's (the "DHCP snooping", "ARP inspection", "source guard" and
 * RA-Guard, RFC 6105, of a real switch).
 *
 * Theory of operation. The guard lists what may pass, not what may not: ARP, IPv4 and IPv6, and nothing that it
 * cannot read as its receiver would. What stands in VLAN tags is judged as it would be outside them, since a receiver
 * takes a frame of VLAN 0 as if it had no tag (IEEE 802.1Q section 6.9.1); IEEE 802.2 frames, which some receivers take
 * for IP as well (RFC 1042), do not pass. Of what has been cut into fragments the first is judged, which must show all
 * that there is to judge; later ones cannot change it, since they begin eight bytes behind at the earliest.
 */
import type { Link } from "../core/link.ts";
import { get16, get32 } from "../wire/bytes.ts";
import { ETH_ARP, ETH_IPV4, ETH_IPV6, macNumber } from "../wire/ethernet.ts";
import { ipv6IsUnspecified } from "../wire/ipv6.ts";
import { type Ipv6Walk, ipv6Look, newIpv6Walk, WALK_DROP, WALK_FRAGMENT } from "../wire/ipv6-extensions.ts";
import {
  NDP_NEIGHBOUR_ADVERT,
  NDP_NEIGHBOUR_SOLICIT,
  NDP_OPT_SOURCE_MAC,
  NDP_OPT_TARGET_MAC,
  NDP_REDIRECT,
  NDP_ROUTER_ADVERT,
  NDP_ROUTER_SOLICIT,
} from "../wire/ndp.ts";

const DHCP_SERVER_PORT = 67;
const DHCP_CLIENT_PORT = 68;
const DHCP6_CLIENT_PORT = 546;
const DHCP6_SERVER_PORT = 547;

/** 802.1Q and 802.1ad: what receivers look into. Other types of tags do not pass. */
const VLAN = 0x8100;
const PROVIDER_VLAN = 0x88a8;
const MOST_TAGS = 4;
/** Below, the field is a length (IEEE 802.3 section 3.2.6). */
const FIRST_TYPE = 0x0600;

const ARP_ETHERNET = 1;
/** Linux takes IEEE 802's hardware type for Ethernet's. */
const ARP_IEEE802 = 6;
const ARP_REQUEST = 1;
const ARP_REPLY = 2;

const ICMP = 1;
const IGMP = 2;
const UDP = 17;
const ICMP6 = 58;

/** ICMP messages that change a host's routes (RFC 792, RFC 1256). */
const REDIRECT = 5;
const ROUTER_ADVERTISEMENT = 9;
/** ICMP errors (RFC 792), which quote a packet. */
const ERRORS: ReadonlySet<number> = new Set([3, 4, 11, 12]);
/** ICMPv6's errors are the types below (RFC 4443 section 2.1). */
const FIRST_INFORMATION = 128;
/** Multicast listeners' reports (RFC 2710, RFC 3810). */
const MLD_REPORTS: ReadonlySet<number> = new Set([131, 132, 143]);

const walk: Ipv6Walk = newIpv6Walk();

/** Whose addresses are, which may change. */
export interface LanAddresses {
  /** The network's own: an IPv4 address as a signed word. */
  isOurs(ip: number): boolean;
  /** The network's own: the IPv6 address that stands at `at`. */
  isOurs6(buf: Uint8Array, at: number): boolean;
  /** One that a guest of the network may have. */
  isGuest(ip: number): boolean;
  isGuest6(buf: Uint8Array, at: number): boolean;
  /** Another's than that of the MAC at `macAt` on `link`. */
  isOthers(link: Link, ip: number, buf: Uint8Array, macAt: number): boolean;
  isOthers6(link: Link, buf: Uint8Array, at: number, macAt: number): boolean;
  /** Leased to another, who has not used it yet: nobody else may say that it is taken. */
  isPromised(link: Link, ip: number, buf: Uint8Array, macAt: number): boolean;
  isPromised6(link: Link, buf: Uint8Array, at: number, macAt: number): boolean;
}

/** Where no gateway of ours is. */
export const NO_ADDRESSES: LanAddresses = {
  isOurs: () => false,
  isOurs6: () => false,
  isGuest: () => true,
  isGuest6: () => true,
  isOthers: () => false,
  isOthers6: () => false,
  isPromised: () => false,
  isPromised6: () => false,
};

export class LanGuard {
  readonly #own: LanAddresses;
  readonly #segmentServes: boolean;
  /** Of the frame that is looked at. */
  #mayServe = false;
  #link: Link | null = null;
  #macAt = 0;

  /** `segmentServes`: the machines beyond an uplink may be DHCP servers and routers. */
  constructor(own: LanAddresses, segmentServes = false) {
    this.#own = own;
    this.#segmentServes = segmentServes;
  }

  /** Whether the frame of `len` bytes at `at`, which came by `link`, may go to others. */
  allows(link: Link, buf: Uint8Array, at: number, len: number): boolean {
    this.#mayServe = this.#segmentServes && link.uplink === true;
    this.#link = link;
    this.#macAt = at + 6;
    const end = at + len;
    let field = at + 12;
    for (let tags = 0; tags <= MOST_TAGS; tags++, field += 4) {
      if (field + 2 > end) return false;
      const type = get16(buf, field);
      if (type === VLAN || type === PROVIDER_VLAN) continue;
      const packet = field + 2;
      if (type === ETH_IPV4) return packet + 20 <= end && this.#allowsIpv4(buf, packet, end);
      if (type === ETH_IPV6) return packet + 40 <= end && this.#allowsIpv6(buf, packet, end);
      if (type === ETH_ARP) return packet + 28 <= end && this.#allowsArp(buf, packet);
      // A segment's machines may have protocols of their own.
      return link.uplink === true && type >= FIRST_TYPE;
    }
    return false;
  }

  /** The sender's hardware address is the frame's, its protocol address its own (RFC 826). */
  #allowsArp(buf: Uint8Array, arp: number): boolean {
    const hardware = get16(buf, arp);
    if (hardware !== ARP_ETHERNET && hardware !== ARP_IEEE802) return false;
    if (get16(buf, arp + 2) !== ETH_IPV4 || buf[arp + 4] !== 6 || buf[arp + 5] !== 4) return false;
    if (!this.#isSender(buf, arp + 8)) return false;
    const op = get16(buf, arp + 6);
    const sender = get32(buf, arp + 14);
    // Who has no address asks whether one is in use (RFC 5227 section 2.1.1).
    if (sender === 0)
      return op === ARP_REQUEST && !this.#own.isPromised(this.#link!, get32(buf, arp + 24), buf, this.#macAt);
    return (op === ARP_REQUEST || op === ARP_REPLY) && this.#mayUse(buf, sender);
  }

  #allowsIpv4(buf: Uint8Array, ip: number, end: number): boolean {
    const at = ip + (buf[ip]! & 15) * 4;
    if (buf[ip]! >> 4 !== 4 || at < ip + 20 || at > end) return false;
    const proto = buf[ip + 9]!;
    const src = get32(buf, ip + 12);
    const fragment = get16(buf, ip + 6) & 0x3fff;
    if (src === 0) {
      // Who has no address asks a DHCP server for one, and says which groups it hears (RFC 3376 section 4.2.13).
      if (proto === IGMP) return true;
      return proto === UDP && fragment === 0 && at + 8 <= end && get16(buf, at + 2) === DHCP_SERVER_PORT;
    }
    if (!this.#mayUse(buf, src)) return false;
    // A later fragment: the first one is judged.
    if ((fragment & 0x1fff) !== 0) return true;
    if (proto === UDP) return at + 8 <= end && this.#allowsPorts(buf, at, DHCP_SERVER_PORT, DHCP_CLIENT_PORT);
    return proto !== ICMP || (at + 8 <= end && this.#allowsIcmp(buf, at, end));
  }

  /** An error is about a packet to whoever reports it; routers, which report others, are ours. */
  #allowsIcmp(buf: Uint8Array, at: number, end: number): boolean {
    const type = buf[at]!;
    if (type === REDIRECT || type === ROUTER_ADVERTISEMENT) return this.#mayServe;
    return !ERRORS.has(type) || (at + 28 <= end && this.#mayUse(buf, get32(buf, at + 24)));
  }

  #allowsIpv6(buf: Uint8Array, ip: number, end: number): boolean {
    if (buf[ip]! >> 4 !== 6) return false;
    const nameless = ipv6IsUnspecified(buf, ip + 8);
    if (!nameless && !this.#mayUse6(buf, ip + 8)) return false;
    const found = ipv6Look(buf, ip, end, walk);
    // A chain that does not end within the first fragment hides what it carries (RFC 7113 section 3). A packet with addresses
    // left to visit has another destination than it says. Without an address nobody has fragments to send.
    if (found === WALK_DROP || walk.routed || (nameless && walk.fragmentAt >= 0)) return false;
    if (found === WALK_FRAGMENT) return true;
    const { proto, payloadAt: at } = walk;
    if (proto === ICMP6) return at + 8 <= end && this.#allowsIcmp6(buf, at, end, walk.fragmentAt < 0, nameless);
    // Without an address one discovers neighbours and reports groups, nothing else (RFC 4862, RFC 3590).
    if (nameless) return false;
    return proto !== UDP || (at + 8 <= end && this.#allowsPorts(buf, at, DHCP6_SERVER_PORT, DHCP6_CLIENT_PORT));
  }

  #allowsIcmp6(buf: Uint8Array, at: number, end: number, whole: boolean, nameless: boolean): boolean {
    const type = buf[at]!;
    if (type < FIRST_INFORMATION) return !nameless && at + 48 <= end && this.#mayUse6(buf, at + 32);
    switch (type) {
      case NDP_ROUTER_ADVERT:
      case NDP_REDIRECT:
        return this.#mayServe && whole && !nameless;
      case NDP_NEIGHBOUR_ADVERT:
        if (nameless || at + 24 > end || !this.#mayUse6(buf, at + 8)) return false;
        return whole && this.#namesSender(buf, at + 24, end);
      case NDP_NEIGHBOUR_SOLICIT:
        if (at + 24 > end || (nameless && this.#own.isPromised6(this.#link!, buf, at + 8, this.#macAt))) return false;
        return whole && this.#namesSender(buf, at + 24, end);
      case NDP_ROUTER_SOLICIT:
        return whole && this.#namesSender(buf, at + 8, end);
      default:
        return !nameless || MLD_REPORTS.has(type);
    }
  }

  /** Whether options of neighbour discovery name no other MAC than the frame's sender. */
  #namesSender(buf: Uint8Array, at: number, end: number): boolean {
    // Bytes of the frame behind the packet are looked at as well: they say nothing worse than options do.
    while (at + 8 <= end) {
      const size = buf[at + 1]! * 8;
      // Without a length it is no option, and a receiver drops the whole (RFC 4861 section 4.6). Here padding has begun.
      if (size === 0) return true;
      const named = buf[at] === NDP_OPT_SOURCE_MAC || buf[at] === NDP_OPT_TARGET_MAC;
      if (named && !this.#isSender(buf, at + 2)) return false;
      at += size;
    }
    return true;
  }

  /** A server's answers, whatever port they come from: it is the destination that a client listens at. */
  #allowsPorts(buf: Uint8Array, at: number, server: number, client: number): boolean {
    return this.#mayServe || (get16(buf, at) !== server && get16(buf, at + 2) !== client);
  }

  /** Whether the MAC at `at` is the frame's sender. Beyond an uplink there may be those that speak for others. */
  #isSender(buf: Uint8Array, at: number): boolean {
    return this.#link!.uplink === true || macNumber(buf, at) === macNumber(buf, this.#macAt);
  }

  /** A guest speaks from addresses of the network; the segment has its own, and routers to others. */
  #mayUse(buf: Uint8Array, ip: number): boolean {
    if (this.#own.isOurs(ip) || (this.#link!.uplink !== true && !this.#own.isGuest(ip))) return false;
    return !this.#own.isOthers(this.#link!, ip, buf, this.#macAt);
  }

  #mayUse6(buf: Uint8Array, at: number): boolean {
    if (this.#own.isOurs6(buf, at) || (this.#link!.uplink !== true && !this.#own.isGuest6(buf, at))) return false;
    return !this.#own.isOthers6(this.#link!, buf, at, this.#macAt);
  }
}
