/**
 * Who owns an address of the guests' net: we, or a guest. A lease decides first; after that the guest that was first
 * heard with the address, for as long as its cable is there. An address that nobody owns may be used by anybody, and so
 * may one that is leased to a guest that is gone. A guest is whatever is on one cable: it may change its MAC and keeps
 * its addresses.
 */
import type { Clock } from "../core/clock.ts";
import type { StackConfig } from "../core/config.ts";
import type { Link } from "../core/link.ts";
import type { Policy } from "../nat/rules/policy.ts";
import type { DhcpServer } from "../proto/dhcp.ts";
import type { Dhcp6Server } from "../proto/dhcp6.ts";
import type { Neighbour, Neighbours } from "../proto/neighbours.ts";
import { macEquals, macToString } from "../wire/ethernet.ts";

export class AddressOwnership {
  readonly #ipv4: boolean;
  readonly #ipv6: boolean;
  readonly #policy: Policy;
  readonly #neighbours: Neighbours;
  readonly #dhcp: DhcpServer;
  readonly #dhcp6: Dhcp6Server;
  readonly #clock: Clock;

  constructor(
    { ipv4, ipv6 }: StackConfig,
    policy: Policy,
    neighbours: Neighbours,
    dhcp: DhcpServer,
    dhcp6: Dhcp6Server,
    clock: Clock,
  ) {
    this.#ipv4 = ipv4;
    this.#ipv6 = ipv6;
    this.#policy = policy;
    this.#neighbours = neighbours;
    this.#dhcp = dhcp;
    this.#dhcp6 = dhcp6;
    this.#clock = clock;
  }

  /** Whether an IPv4 address, a signed word, is ours. */
  isOurs(ip: number): boolean {
    return this.#policy.isOurs(ip);
  }

  isOurs6(buf: Uint8Array, at: number): boolean {
    return this.#policy.isOurs6(buf, at);
  }

  /** Whether a guest may have the address: its family is served, and it is in the guests' net. */
  isGuest(ip: number): boolean {
    return this.#ipv4 && this.#policy.isGuest(ip);
  }

  isGuest6(buf: Uint8Array, at: number): boolean {
    return this.#ipv6 && this.#policy.isGuest6(buf, at);
  }

  /**
   * Whether an IPv4 address is leased to another MAC than the one at `macAt` on `link`, and that MAC has not been heard
   * with it yet. If a guest probes for such an address, an answer would make its owner give it up (RFC 5227 section
   * 2.1.1).
   */
  isPromised(link: Link, ip: number, buf: Uint8Array, macAt: number): boolean {
    const known = this.#neighbours.get(ip);
    return (known === null || known.link === null) && this.isOthers(link, ip, buf, macAt);
  }

  isPromised6(link: Link, buf: Uint8Array, at: number, macAt: number): boolean {
    const known = this.#neighbours.get6(buf, at);
    return (known === null || known.link === null) && this.isOthers6(link, buf, at, macAt);
  }

  /** Whether an IPv4 address belongs to another guest than the MAC at `macAt` on `link`. */
  isOthers(link: Link, ip: number, buf: Uint8Array, macAt: number): boolean {
    const known = this.#neighbours.get(ip);
    if (known !== null && known.link === link && macEquals(buf, macAt, known.mac)) return false;
    if (!this.#policy.isGuest(ip)) return false;
    if (isElsewhere(known, link, buf, macAt)) return true;
    return this.#dhcp.isAnothers(ip, macToString(buf, macAt), this.#clock.now(), claimant(link));
  }

  /** The same for the IPv6 address at `at`. */
  isOthers6(link: Link, buf: Uint8Array, at: number, macAt: number): boolean {
    const known = this.#neighbours.get6(buf, at);
    if (known !== null && known.link === link && macEquals(buf, macAt, known.mac)) return false;
    if (!this.#policy.isGuest6(buf, at)) return false;
    if (isElsewhere(known, link, buf, macAt)) return true;
    return this.#dhcp6.isAnothers(buf, at, macToString(buf, macAt), this.#clock.now(), claimant(link));
  }
}

/** The cable whose claims to addresses are counted; null for an uplink, behind which there are many machines. */
export function claimant(link: Link): Link | null {
  return link.uplink === true ? null : link;
}

/** Whether an address is in use behind another cable and by another MAC. The same MAC may have moved to this cable. */
export function isElsewhere(known: Neighbour | null, link: Link, buf: Uint8Array, macAt: number): boolean {
  return known !== null && known.link !== null && known.link !== link && !macEquals(buf, macAt, known.mac);
}
