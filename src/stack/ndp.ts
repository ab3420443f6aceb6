/**
 * Neighbour and router discovery on the cables (RFC 4861, RFC 4862): answers for our addresses, learns guests'
 * addresses and asks for them, and announces the network's prefix. The rules are in `proto/`; this file handles the
 * frames.
 */
import { addressAt } from "../core/address.ts";
import type { Link } from "../core/link.ts";
import type { Random } from "../core/random.ts";
import type { Dhcp6Server } from "../proto/dhcp6.ts";
import { NDP_PACKET, NeighbourDiscovery } from "../proto/ndp.ts";
import type { Neighbour } from "../proto/neighbours.ts";
import { ROUTER_ADVERT_MAX, RouterAdvertiser } from "../proto/router-advertisement.ts";
import { ETH_HEADER, ETH_IPV6, ethWrite, macEquals, macIsGroup, macToString } from "../wire/ethernet.ts";
import { ipv6Dst, ipv6IsMulticast, ipv6IsUnspecified, ipv6Src, ipv6WriteMulticastMac } from "../wire/ipv6.ts";
import { NDP_ROUTER_SOLICIT } from "../wire/ndp.ts";
import { claimant, isElsewhere } from "./address-ownership.ts";
import type { Lan } from "./lan.ts";

export class Ndp {
  readonly #lan: Lan;
  readonly #dhcp6: Dhcp6Server;
  readonly #neighbours: NeighbourDiscovery;
  readonly #router: RouterAdvertiser;
  /** Room for an answer, written before it is known whether there is one. */
  readonly #out: Uint8Array = new Uint8Array(Math.max(NDP_PACKET, ROUTER_ADVERT_MAX));
  readonly #mac: Uint8Array = new Uint8Array(6);

  constructor(lan: Lan, dhcp6: Dhcp6Server, random: Random) {
    const { config, policy, egress, trace } = lan;
    this.#lan = lan;
    this.#dhcp6 = dhcp6;
    this.#neighbours = new NeighbourDiscovery(policy, egress.mac6, trace);
    this.#router = new RouterAdvertiser(config, egress.mac6, random, trace);
  }

  /** A message of `len` bytes at `at`, whose checksum is right, under the IPv6 header at `ip` of the frame at `eth`. */
  receive(link: Link, buf: Uint8Array, eth: number, ip: number, at: number, len: number, now: number): void {
    const macAt = eth + 6;
    const out = this.#out;
    if (buf[at] === NDP_ROUTER_SOLICIT) {
      const src = ipv6Src(buf, ip);
      if (!ipv6IsUnspecified(buf, src) && this.learn(link, buf, macAt, src, now) === null)
        return this.#lan.trace.drop("ndp-spoofed");
      if (!this.#lan.config.dhcp) return;
      const size = this.#router.receive(buf, ip, at, len, macAt, now, out, 0);
      if (size > 0) this.#send(link, size, buf, macAt);
      this.#lan.wake();
      return;
    }
    const size = this.#neighbours.receive(buf, ip, at, len, macAt, out, 0);
    const heard = this.#neighbours.heardAt;
    if (heard >= 0) {
      if (this.learn(link, buf, macAt, heard, now) === null) return this.#lan.trace.drop("ndp-spoofed");
      this.#dhcp6.heard(buf, heard);
    }
    if (size > 0) this.#send(link, size, buf, macAt);
  }

  /**
   * The guest that sends from the address at `srcAt`; null when it may not: our own address, outside the net, leased to
   * another guest, or in use behind another cable. The first guest that is heard with an address has it until its cable
   * is gone.
   */
  learn(link: Link, buf: Uint8Array, macAt: number, srcAt: number, now: number): Neighbour | null {
    const { neighbours, policy, egress } = this.#lan;
    const known = neighbours.get6(buf, srcAt);
    if (known !== null && known.link === link && macEquals(buf, macAt, known.mac)) return known;
    if (!policy.isGuest6(buf, srcAt) || macIsGroup(buf, macAt) || macEquals(buf, macAt, egress.mac6)) return null;
    if (isElsewhere(known, link, buf, macAt)) return null;
    if (!this.#dhcp6.seen(buf, srcAt, macToString(buf, macAt), now, claimant(link))) return null;
    const guest = neighbours.learn(addressAt(6, buf, srcAt), buf, macAt, link);
    this.#lan.found(guest);
    return guest;
  }

  /** Asks on `links` who has a guest's address. False when a cable is full. */
  solicit(guest: Neighbour, links: Iterable<Link> = this.#lan.links): boolean {
    const { policy } = this.#lan;
    const size = this.#neighbours.solicit(this.#out, 0, policy.router6.bytes, guest.address.bytes, 0);
    let sent = true;
    for (const link of links) if (!this.#send(link, size, guest.mac, 0)) sent = false;
    return sent;
  }

  /** A cable was plugged in. */
  linkUp(now: number): void {
    this.#router.linkUp(now);
    this.#lan.wake();
  }

  pollAt(): number {
    return this.#router.nextAt();
  }

  poll(now: number): void {
    const size = this.#router.poll(now, this.#out, 0);
    if (size > 0) for (const link of this.#lan.links) this.#send(link, size, this.#out, 0);
  }

  /**
   * Sends the packet in `out`: to its destination if that is a group, otherwise to the MAC at `macAt`. False: the cable
   * is full.
   */
  #send(link: Link, size: number, buf: Uint8Array, macAt: number): boolean {
    const out = this.#out;
    const o = link.reserve(ETH_HEADER + size);
    if (o < 0) {
      this.#lan.trace.drop("cable-full");
      return false;
    }
    const dst = ipv6Dst(out, 0);
    if (ipv6IsMulticast(out, dst)) ipv6WriteMulticastMac(this.#mac, 0, out, dst);
    else this.#mac.set(buf.subarray(macAt, macAt + 6));
    ethWrite(link.tx, o, this.#mac, this.#lan.egress.mac6, ETH_IPV6);
    link.tx.set(out.subarray(0, size), o + ETH_HEADER);
    link.commit(ETH_HEADER + size);
    this.#lan.touchLink(link);
    return true;
  }
}
