/**
 * What one guest may not say to another. The network itself is the LAN's only gateway, DHCP server and router:
 * nobody else answers for its addresses, hands out leases or announces routes (the "DHCP snooping", "ARP inspection"
 * and RA-Guard, RFC 6105, of a real switch).
 */
import type { Link } from "../core/link.ts";
import { get16, get32 } from "../wire/bytes.ts";
import { ETH_ARP, ETH_HEADER, ETH_IPV4, ETH_IPV6, ethType } from "../wire/ethernet.ts";

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

/** Where no gateway of ours is. */
export const NO_ADDRESSES: OwnAddresses = { isOurs: () => false, isOurs6: () => false };

/** The network's own addresses, which may change. */
export interface OwnAddresses {
  /** An IPv4 address as a signed word. */
  isOurs(ip: number): boolean;
  /** The IPv6 address that stands at `at`. */
  isOurs6(buf: Uint8Array, at: number): boolean;
}

export class LanGuard {
  readonly #own: OwnAddresses;
  readonly #segmentServes: boolean;
  /** Of the frame that is looked at. */
  #mayServe = false;

  /** `segmentServes`: the machines beyond an uplink may be DHCP servers and routers. */
  constructor(own: OwnAddresses, segmentServes = false) {
    this.#own = own;
    this.#segmentServes = segmentServes;
  }

  /** Whether the frame of `len` bytes at `at`, which came by `link`, may go to others. */
  allows(link: Link, buf: Uint8Array, at: number, len: number): boolean {
    this.#mayServe = this.#segmentServes && link.uplink === true;
    const end = at + len;
    const packet = at + ETH_HEADER;
    switch (ethType(buf, at)) {
      case ETH_ARP:
        // Sender protocol address (RFC 826).
        return packet + 28 > end || !this.#own.isOurs(get32(buf, packet + 14));
      case ETH_IPV4:
        return packet + 20 > end || this.#allowsIpv4(buf, packet, end);
      case ETH_IPV6:
        return packet + 40 > end || this.#allowsIpv6(buf, packet, end);
      default:
        return true;
    }
  }

  #allowsIpv4(buf: Uint8Array, ip: number, end: number): boolean {
    if (this.#own.isOurs(get32(buf, ip + 12))) return false;
    if (buf[ip + 9] !== UDP || (get16(buf, ip + 6) & 0x1fff) !== 0) return true;
    const udp = ip + (buf[ip]! & 15) * 4;
    // A first fragment too short to show its ports must not be what shows them later.
    if (udp + 8 > end) return false;
    return this.#mayServe || get16(buf, udp) !== DHCP_SERVER_PORT;
  }

  #allowsIpv6(buf: Uint8Array, ip: number, end: number): boolean {
    if (this.#own.isOurs6(buf, ip + 8)) return false;
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
    return type !== NEIGHBOUR_ADVERTISEMENT || at + 24 > end || !this.#own.isOurs6(buf, at + 8);
  }
}
