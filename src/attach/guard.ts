/**
 * Keeps one guest from posing as the network, or as another guest, towards the others. The network itself is the LAN's
 * only gateway, DHCP server and router: nobody else may answer for its addresses, hand out leases or announce routes.
 * Nor may a guest send from, or answer for, an address that is another guest's or none of the network's. (Real switches
 * call this "DHCP snooping", "ARP inspection", "source guard" and RA-Guard, RFC 6105.)
 *
 * Theory of operation. The guard lists what may pass, not what may not: ARP, IPv4 and IPv6, and only frames that it can
 * read as their receiver would. Frames with VLAN tags are judged as if they had none, because a receiver takes a frame
 * of VLAN 0 so (IEEE 802.1Q section 6.9.1). IEEE 802.2 frames do not pass, because some receivers take them for IP, too
 * (RFC 1042). Of a fragmented packet the first fragment is judged, and has to show everything that is judged; later
 * fragments cannot change that, since they begin at least eight bytes further on.
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

/** 802.1Q and 802.1ad, the tags that receivers look behind. Frames with other tags do not pass. */
const VLAN = 0x8100;
const PROVIDER_VLAN = 0x88a8;
const MOST_TAGS = 4;
/** Smaller values of the type field are lengths (IEEE 802.3 section 3.2.6). */
const FIRST_TYPE = 0x0600;

const ARP_ETHERNET = 1;
/** Linux treats IEEE 802's hardware type as Ethernet's. */
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
/** ICMP errors (RFC 792); each quotes a packet. */
const ERRORS: ReadonlySet<number> = new Set([3, 4, 11, 12]);
/** Smaller ICMPv6 types are errors (RFC 4443 section 2.1). */
const FIRST_INFORMATION = 128;
/** Reports of multicast listeners (RFC 2710, RFC 3810). */
const MLD_REPORTS: ReadonlySet<number> = new Set([131, 132, 143]);

const walk: Ipv6Walk = newIpv6Walk();

/** Tells whose an address is now. */
export interface LanAddresses {
  /** Whether an IPv4 address, a signed word, is the network's own. */
  isOurs(ip: number): boolean;
  /** Whether the IPv6 address at `at` is the network's own. */
  isOurs6(buf: Uint8Array, at: number): boolean;
  /** Whether a guest of the network may have the address. */
  isGuest(ip: number): boolean;
  isGuest6(buf: Uint8Array, at: number): boolean;
  /** Whether the address belongs to another guest than the MAC at `macAt` on `link`. */
  isOthers(link: Link, ip: number, buf: Uint8Array, macAt: number): boolean;
  isOthers6(link: Link, buf: Uint8Array, at: number, macAt: number): boolean;
  /** Whether the address is leased to another guest that has not used it yet: then nobody may say that it is taken. */
  isPromised(link: Link, ip: number, buf: Uint8Array, macAt: number): boolean;
  isPromised6(link: Link, buf: Uint8Array, at: number, macAt: number): boolean;
}

/** For a LAN without a gateway of ours. */
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
  /** Set for the frame that is being judged. */
  #mayServe = false;
  #link: Link | null = null;
  #macAt = 0;

  /** `segmentServes`: machines beyond an uplink may be DHCP servers and routers. */
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
      // Machines of a segment may use other protocols.
      return link.uplink === true && type >= FIRST_TYPE;
    }
    return false;
  }

  /** The sender's hardware address has to be the frame's, and its protocol address its own (RFC 826). */
  #allowsArp(buf: Uint8Array, arp: number): boolean {
    const hardware = get16(buf, arp);
    if (hardware !== ARP_ETHERNET && hardware !== ARP_IEEE802) return false;
    if (get16(buf, arp + 2) !== ETH_IPV4 || buf[arp + 4] !== 6 || buf[arp + 5] !== 4) return false;
    if (!this.#isSender(buf, arp + 8)) return false;
    const op = get16(buf, arp + 6);
    const sender = get32(buf, arp + 14);
    // A machine without an address asks whether one is in use (RFC 5227 section 2.1.1).
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
      // A machine without an address asks a DHCP server for one, and reports its groups (RFC 3376 section 4.2.13).
      if (proto === IGMP) return true;
      return proto === UDP && fragment === 0 && at + 8 <= end && get16(buf, at + 2) === DHCP_SERVER_PORT;
    }
    if (!this.#mayUse(buf, src)) return false;
    // A later fragment passes, because the first one is judged.
    if ((fragment & 0x1fff) !== 0) return true;
    if (proto === UDP) return at + 8 <= end && this.#allowsPorts(buf, at, DHCP_SERVER_PORT, DHCP_CLIENT_PORT);
    return proto !== ICMP || (at + 8 <= end && this.#allowsIcmp(buf, at, end));
  }

  /** A machine may report errors about packets that it received; only routers, which are ours, report others. */
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
    // If the chain of headers does not end within the first fragment, it hides the payload (RFC 7113 section 3). With
    // addresses left to visit, the packet has another destination than its header says. A machine without an address
    // sends no fragments.
    if (found === WALK_DROP || walk.routed || (nameless && walk.fragmentAt >= 0)) return false;
    if (found === WALK_FRAGMENT) return true;
    const { proto, payloadAt: at } = walk;
    if (proto === ICMP6) return at + 8 <= end && this.#allowsIcmp6(buf, at, end, walk.fragmentAt < 0, nameless);
    // Without an address a machine discovers neighbours and reports groups, nothing else (RFC 4862, RFC 3590).
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

  /** Whether the options of a neighbour discovery message name no other MAC than the frame's sender. */
  #namesSender(buf: Uint8Array, at: number, end: number): boolean {
    // Bytes of the frame behind the packet are read, too: they can do no more harm than options.
    while (at + 8 <= end) {
      const size = buf[at + 1]! * 8;
      // An option of length zero makes a receiver drop the whole message (RFC 4861 section 4.6), so this is padding.
      if (size === 0) return true;
      const named = buf[at] === NDP_OPT_SOURCE_MAC || buf[at] === NDP_OPT_TARGET_MAC;
      if (named && !this.#isSender(buf, at + 2)) return false;
      at += size;
    }
    return true;
  }

  /** A server's answers are known by their destination port, where clients listen; they may come from any port. */
  #allowsPorts(buf: Uint8Array, at: number, server: number, client: number): boolean {
    return this.#mayServe || (get16(buf, at) !== server && get16(buf, at + 2) !== client);
  }

  /** Whether the MAC at `at` is the frame's sender. Beyond an uplink, machines may speak for others. */
  #isSender(buf: Uint8Array, at: number): boolean {
    return this.#link!.uplink === true || macNumber(buf, at) === macNumber(buf, this.#macAt);
  }

  /** A guest may send from addresses of the network. A segment has addresses of its own, and routers to others. */
  #mayUse(buf: Uint8Array, ip: number): boolean {
    if (this.#own.isOurs(ip) || (this.#link!.uplink !== true && !this.#own.isGuest(ip))) return false;
    return !this.#own.isOthers(this.#link!, ip, buf, this.#macAt);
  }

  #mayUse6(buf: Uint8Array, at: number): boolean {
    if (this.#own.isOurs6(buf, at) || (this.#link!.uplink !== true && !this.#own.isGuest6(buf, at))) return false;
    return !this.#own.isOthers6(this.#link!, buf, at, this.#macAt);
  }
}
