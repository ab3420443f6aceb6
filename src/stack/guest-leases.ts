/** The leases of DHCP and DHCPv6 together, and the guest that a forward without a guest's name leads to. */
import { addressAt, addressFromText, type IpAddress, ipv4Address } from "../core/address.ts";
import type { Clock } from "../core/clock.ts";
import type { StackConfig } from "../core/config.ts";
import type { Link } from "../core/link.ts";
import type { DhcpServer, Lease } from "../proto/dhcp.ts";
import type { Dhcp6Server } from "../proto/dhcp6.ts";
import type { Neighbour, Neighbours } from "../proto/neighbours.ts";
import { macToString } from "../wire/ethernet.ts";

export class GuestLeases {
  readonly #firstGuest: IpAddress;
  readonly #dhcp: DhcpServer;
  readonly #dhcp6: Dhcp6Server;
  readonly #neighbours: Neighbours;
  readonly #clock: Clock;

  constructor(config: StackConfig, dhcp: DhcpServer, dhcp6: Dhcp6Server, neighbours: Neighbours, clock: Clock) {
    this.#firstGuest = addressFromText(config.firstGuest);
    this.#dhcp = dhcp;
    this.#dhcp6 = dhcp6;
    this.#neighbours = neighbours;
    this.#clock = clock;
  }

  /** All leases; with `live`, only those of guests that are there. */
  list(live: boolean): Lease[] {
    const now = this.#clock.now();
    return [...this.#dhcp.leases(now, live), ...this.#dhcp6.leases(now, live)];
  }

  /**
   * The guest of forwards that name none: the first address of the pool if anybody uses it, otherwise the first leased
   * address whose guest is there.
   */
  first(): IpAddress {
    const first = this.#firstGuest;
    const now = this.#clock.now();
    const v4 = first.family === 4;
    const isGone = v4 ? this.#dhcp.isGone(first.ip, now) : this.#dhcp6.isGone(first.bytes, now);
    if (!isGone && this.#neighbours.find(first)?.link) return first;
    if (v4) {
      const ip = this.#dhcp.firstLive(now);
      return ip === null ? first : ipv4Address(ip);
    }
    const bytes = this.#dhcp6.firstLive(now);
    return bytes === null ? first : addressAt(6, bytes, 0);
  }

  /** A cable is gone, and these guests with it. */
  detached(link: Link, guests: Iterable<Neighbour>): void {
    const now = this.#clock.now();
    for (const guest of guests) {
      if (guest.family === 4) this.#dhcp.vacate(macToString(guest.mac), now);
      else this.#dhcp6.vacate(macToString(guest.mac), now);
    }
    // Also ends leases of guests that have not been heard since they were given an address.
    this.#dhcp.unplugged(link, now);
    this.#dhcp6.unplugged(link, now);
  }
}
