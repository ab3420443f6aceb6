/** ARP (RFC 826): answers for our addresses, learns guests' addresses and asks for them. */
import { ipv4Address } from "../core/address.ts";
import type { Link } from "../core/link.ts";
import type { DhcpServer } from "../proto/dhcp.ts";
import type { Neighbour } from "../proto/neighbours.ts";
import {
  ARP_LENGTH,
  ARP_REPLY,
  ARP_REQUEST,
  ARP_SENDER_MAC,
  arpCheck,
  arpOp,
  arpSenderIp,
  arpTargetIp,
  arpWrite,
} from "../wire/arp.ts";
import { ETH_ARP, ETH_HEADER, ethWrite, MAC_BROADCAST, macEquals, macIsGroup, macToString } from "../wire/ethernet.ts";
import { claimant, isElsewhere } from "./address-ownership.ts";
import type { Lan } from "./lan.ts";

const NO_MAC = new Uint8Array(6);

export class Arp {
  readonly #lan: Lan;
  readonly #dhcp: DhcpServer;

  constructor(lan: Lan, dhcp: DhcpServer) {
    this.#lan = lan;
    this.#dhcp = dhcp;
  }

  /** A frame of `len` bytes at `at`. A guest's probe for its own address (RFC 5227) is not answered. */
  receive(link: Link, buf: Uint8Array, at: number, len: number, now: number): void {
    const { trace, policy } = this.#lan;
    const arp = at + ETH_HEADER;
    const senderMac = arp + ARP_SENDER_MAC;
    if (!arpCheck(buf, arp, len - ETH_HEADER) || macIsGroup(buf, senderMac)) return trace.drop("arp-malformed");
    // The frame's source MAC has to be the sender's MAC in the message. Beyond an uplink, machines may speak for
    // others.
    if (link.uplink !== true && !macEquals(buf, at + 6, buf.subarray(senderMac, senderMac + 6)))
      return trace.drop("arp-spoofed");
    const sender = arpSenderIp(buf, arp);
    if (sender !== 0) {
      if (this.learn(link, buf, senderMac, sender, now) === null) return trace.drop("arp-spoofed");
      this.#dhcp.heard(sender);
    }
    const target = arpTargetIp(buf, arp);
    if (arpOp(buf, arp) !== ARP_REQUEST || sender === target || !policy.isOurs(target)) return;
    if (!this.#send(link, buf.subarray(senderMac, senderMac + 6), ARP_REPLY, target, sender)) trace.drop("cable-full");
  }

  /**
   * The guest that sends from `ip`; null when it may not: our address, outside the net, leased to another, or used
   * elsewhere.
   */
  learn(link: Link, buf: Uint8Array, macAt: number, ip: number, now: number): Neighbour | null {
    const { neighbours, policy, egress } = this.#lan;
    const known = neighbours.get(ip);
    if (known !== null && known.link === link && macEquals(buf, macAt, known.mac)) return known;
    if (!policy.isGuest(ip) || macIsGroup(buf, macAt) || macEquals(buf, macAt, egress.mac)) return null;
    if (isElsewhere(known, link, buf, macAt)) return null;
    if (!this.#dhcp.seen(ip, macToString(buf, macAt), now, claimant(link))) return null;
    const guest = neighbours.learn(ipv4Address(ip), buf, macAt, link);
    this.#lan.found(guest);
    return guest;
  }

  /** Asks on `links` who has a guest's address. False when a cable is full. */
  solicit(guest: Neighbour, links: Iterable<Link> = this.#lan.links): boolean {
    const { policy } = this.#lan;
    let sent = true;
    for (const link of links)
      if (!this.#send(link, MAC_BROADCAST, ARP_REQUEST, policy.gateway.ip, guest.address.ip)) sent = false;
    return sent;
  }

  /** A request goes to the broadcast address and names no MAC (RFC 826). False when the cable is full. */
  #send(link: Link, mac: Uint8Array, op: number, sender: number, target: number): boolean {
    const ours = this.#lan.egress.mac;
    const o = link.reserve(ETH_HEADER + ARP_LENGTH);
    if (o < 0) return false;
    ethWrite(link.tx, o, mac, ours, ETH_ARP);
    arpWrite(link.tx, o + ETH_HEADER, op, ours, sender, op === ARP_REQUEST ? NO_MAC : mac, target);
    link.commit(ETH_HEADER + ARP_LENGTH);
    this.#lan.touchLink(link);
    return true;
  }
}
