/**
 * What one guest may not say to another. The network itself is the LAN's only gateway, DHCP server and router:
 * nobody else answers for its addresses, hands out leases or announces routes, nor speaks from or answers for an
 * address that is another guest's (the "DHCP snooping", "ARP inspection", "source guard" and RA-Guard, RFC 6105, of a real
 * switch).
 */
import type { Link } from "../core/link.ts";
import { get16, get32 } from "../wire/bytes.ts";
import { ETH_ARP, ETH_HEADER, ETH_IPV4, ETH_IPV6, ethType, macNumber } from "../wire/ethernet.ts";

const DHCP_SERVER_PORT = 67;
const DHCP6_SERVER_PORT = 547;
const UDP = 17;
const ICMP6 = 58;
const ROUTER_ADVERTISEMENT = 134;
const NEIGHBOUR_ADVERTISEMENT = 136;
const REDIRECT = 137;
const HOP_BY_HOP = 0;
const ROUTING = 43;
const FRAGMENT = 44;
const DESTINATION_OPTIONS = 60;

/** Whose addresses are, which may change. */
export interface LanAddresses {
  /** The network's own: an IPv4 address as a signed word. */
  isOurs(ip: number): boolean;
  /** The network's own: the IPv6 address that stands at `at`. */
  isOurs6(buf: Uint8Array, at: number): boolean;
  /** Another's than that of the MAC at `macAt` on `link`. */
  isOthers(link: Link, ip: number, buf: Uint8Array, macAt: number): boolean;
  isOthers6(link: Link, buf: Uint8Array, at: number, macAt: number): boolean;
}

/** Where no gateway of ours is. */
export const NO_ADDRESSES: LanAddresses = {
  isOurs: () => false,
  isOurs6: () => false,
  isOthers: () => false,
  isOthers6: () => false,
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
    const packet = at + ETH_HEADER;
    switch (ethType(buf, at)) {
      case ETH_ARP:
        return packet + 28 > end || this.#allowsArp(buf, packet);
      case ETH_IPV4:
        return packet + 20 > end || this.#allowsIpv4(buf, packet, end);
      case ETH_IPV6:
        return packet + 40 > end || this.#allowsIpv6(buf, packet, end);
      default:
        return true;
    }
  }

  /** The sender's hardware address is the frame's, its protocol address its own (RFC 826). */
  #allowsArp(buf: Uint8Array, arp: number): boolean {
    const own = macNumber(buf, arp + 8) === macNumber(buf, this.#macAt);
    return (own || this.#link!.uplink === true) && this.#mayUse(buf, get32(buf, arp + 14));
  }

  #allowsIpv4(buf: Uint8Array, ip: number, end: number): boolean {
    if (!this.#mayUse(buf, get32(buf, ip + 12))) return false;
    if (buf[ip + 9] !== UDP || (get16(buf, ip + 6) & 0x1fff) !== 0) return true;
    const udp = ip + (buf[ip]! & 15) * 4;
    // A first fragment too short to show its ports must not be what shows them later.
    if (udp + 8 > end) return false;
    return this.#mayServe || get16(buf, udp) !== DHCP_SERVER_PORT;
  }

  #allowsIpv6(buf: Uint8Array, ip: number, end: number): boolean {
    if (!this.#mayUse6(buf, ip + 8)) return false;
    let next = buf[ip + 6]!;
    let at = ip + 40;
    // A chain that does not end within the first fragment hides what it carries: refused (RFC 7113 section 3).
    for (let headers = 0; headers < 16; headers++) {
      if (next === UDP) return at + 8 <= end && (this.#mayServe || get16(buf, at) !== DHCP6_SERVER_PORT);
      if (next === ICMP6) return at + 8 <= end && this.#allowsIcmp6(buf, at, end);
      if (next !== HOP_BY_HOP && next !== ROUTING && next !== DESTINATION_OPTIONS && next !== FRAGMENT) return true;
      if (at + 8 > end) return false;
      // A later fragment: its first one has been judged.
      if (next === FRAGMENT && (get16(buf, at + 2) & 0xfff8) !== 0) return true;
      const header = next;
      next = buf[at]!;
      at += header === FRAGMENT ? 8 : 8 + buf[at + 1]! * 8;
    }
    return false;
  }

  #allowsIcmp6(buf: Uint8Array, at: number, end: number): boolean {
    const type = buf[at]!;
    if (type === ROUTER_ADVERTISEMENT || type === REDIRECT) return this.#mayServe;
    return type !== NEIGHBOUR_ADVERTISEMENT || at + 24 > end || this.#mayUse6(buf, at + 8);
  }

  #mayUse(buf: Uint8Array, ip: number): boolean {
    return !this.#own.isOurs(ip) && !this.#own.isOthers(this.#link!, ip, buf, this.#macAt);
  }

  #mayUse6(buf: Uint8Array, at: number): boolean {
    return !this.#own.isOurs6(buf, at) && !this.#own.isOthers6(this.#link!, buf, at, this.#macAt);
  }
}
