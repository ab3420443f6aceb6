/** Where a guest's packets may go, and what the addresses that are ours stand for. */
import { addressFromText, type Family, type IpAddress, type IpText, ipv4FromText } from "../../core/address.ts";
import type { StackConfig } from "../../core/config.ts";
import { get16 } from "../../wire/bytes.ts";
import { ipv6IsLinkLocal, ipv6SamePrefix } from "../../wire/ipv6.ts";
import { embedded4 } from "../../wire/ipv6-embedded.ts";
import { guardedPrefix } from "./special-addresses.ts";

const LOOPBACK4 = "127.0.0.1";
const LOOPBACK6 = "::1";
/** The router's address for IPv6 guests: link-local, as RFC 4861 demands, and the one that libslirp uses. */
const ROUTER: IpAddress = addressFromText("fe80::2");
/**
 * Where clouds' guests ask for metadata (OpenStack). A guest that had this address could tell the others who they are.
 */
const METADATA6: IpAddress = addressFromText("fe80::a9fe:a9fe");

export class Policy {
  readonly #config: StackConfig;
  readonly net: number;
  readonly mask: number;
  readonly gateway: IpAddress;
  readonly dns: IpAddress;
  readonly net6: IpAddress;
  readonly gateway6: IpAddress;
  readonly dns6: IpAddress;
  readonly router6: IpAddress = ROUTER;
  /** Further addresses that are ours while a service within the process answers there. */
  #served: readonly IpAddress[] = [];

  constructor(config: StackConfig) {
    this.#config = config;
    this.net = ipv4FromText(config.net);
    this.mask = config.prefix === 0 ? 0 : (-1 << (32 - config.prefix)) | 0;
    this.gateway = addressFromText(config.host);
    this.dns = addressFromText(config.dns);
    this.net6 = addressFromText(config.net6);
    this.gateway6 = addressFromText(config.host6);
    this.dns6 = addressFromText(config.dns6);
  }

  inNet(ip: number): boolean {
    return (ip & this.mask) === this.net;
  }

  /** Whether the IPv6 address at `at` has the network's prefix. */
  inNet6(buf: Uint8Array, at: number): boolean {
    return ipv6SamePrefix(buf, at, this.net6.bytes, 0, this.#config.prefix6);
  }

  /** Whether the address is the network's own broadcast address or the limited one. */
  isBroadcast(ip: number): boolean {
    return ip === -1 || ip === (this.net | ~this.mask);
  }

  /** Whether a guest may have the address: one of the net's that is neither ours nor the net's first or last. */
  isGuest(ip: number): boolean {
    return this.inNet(ip) && !this.isOurs(ip) && ip !== this.net && !this.isBroadcast(ip);
  }

  /**
   * The same for IPv6: in the prefix (except its anycast address, RFC 4291 section 2.6.1), or link-local (except
   * METADATA6).
   */
  isGuest6(buf: Uint8Array, at: number): boolean {
    if (!ipv6IsLinkLocal(buf, at) && (!this.inNet6(buf, at) || this.net6.at(buf, at))) return false;
    return !this.isOurs6(buf, at) && !METADATA6.at(buf, at);
  }

  /** Whether we answer ARP for the address. */
  isOurs(ip: number): boolean {
    if (ip === this.gateway.ip || ip === this.dns.ip) return true;
    return this.#served.length > 0 && this.#served.some((address) => address.family === 4 && address.ip === ip);
  }

  /** Whether we answer neighbour solicitations for the address. */
  isOurs6(buf: Uint8Array, at: number): boolean {
    if (this.gateway6.at(buf, at) || this.dns6.at(buf, at) || this.router6.at(buf, at)) return true;
    return this.#served.length > 0 && this.#served.some((address) => address.family === 6 && address.at(buf, at));
  }

  /** Makes an address of the guests' net ours: we answer for it, and no guest may send from it. */
  serve(address: IpAddress): void {
    if (!this.#served.some((each) => each.is(address))) this.#served = [...this.#served, address];
  }

  unserve(address: IpAddress): void {
    this.#served = this.#served.filter((each) => !each.is(address));
  }

  /** Which of our addresses stands at `at`; null when it is none. */
  oursAt(family: Family, buf: Uint8Array, at: number): IpAddress | null {
    const own = family === 4 ? [this.gateway, this.dns] : [this.gateway6, this.dns6, this.router6];
    return [...own, ...this.#served].find((ours) => ours.family === family && ours.at(buf, at)) ?? null;
  }

  /** The gateway as a guest of this family knows it. */
  gatewayFor(family: Family): IpAddress {
    return family === 4 ? this.gateway : this.gateway6;
  }

  /** The source address that we use towards a guest's address: the gateway's of the same scope. */
  selfFor({ family, bytes }: IpAddress): IpAddress {
    return family === 6 && ipv6IsLinkLocal(bytes, 0) ? this.router6 : this.gatewayFor(family);
  }

  /** Whether the address is the virtual DNS server's. */
  isDns(address: IpAddress): boolean {
    return address.is(address.family === 4 ? this.dns : this.dns6);
  }

  /** Whether no traffic of guests may leave this host. */
  get closed(): boolean {
    return this.#config.restrict || this.#config.hostOnly;
  }

  /** The host's address for a guest's destination; null when guests may not go there. */
  hostSide(dst: IpAddress): IpText | null {
    const { restrict, hostOnly, hostLoopback } = this.#config;
    if (restrict || guardedPrefix(dst) > 0) return null;
    if (dst.family === 4) {
      if (dst.ip === this.gateway.ip) return hostLoopback ? LOOPBACK4 : null;
      return hostOnly || this.#refused4(dst.ip) ? null : dst.text;
    }
    if (dst.is(this.gateway6) || dst.is(this.router6)) return hostLoopback ? LOOPBACK6 : null;
    return hostOnly || this.#refused6(dst.bytes) ? null : dst.text;
  }

  /**
   * Refused: the host's loopback by any address but the gateway's, "this network", link-local addresses with their
   * metadata servers, multicast, reserved addresses, and the guests' own net.
   */
  #refused4(ip: number): boolean {
    const a = ip >>> 24;
    return this.inNet(ip) || a === 127 || a === 0 || a >= 224 || ip >>> 16 === 0xa9fe;
  }

  /**
   * Refused in IPv6: ::/96 (unspecified, loopback, IPv4-compatible), IPv4-mapped and -translated, link-local,
   * site-local, multicast, the guests' own net, and addresses that contain a refused IPv4 address.
   */
  #refused6(b: Uint8Array): boolean {
    // ff00::/8, and fe80::/10 with fec0::/10.
    if (b[0] === 0xff || get16(b, 0) >> 7 === 0xfe80 >> 7 || this.inNet6(b, 0)) return true;
    const embedded = embedded4(b);
    if (embedded.length === 0) return false;
    // An address that begins with zeros is in ::/96 or like those, whatever its last part is.
    return (get16(b, 0) === 0 && get16(b, 2) === 0) || embedded.some((ip) => this.#refused4(ip));
  }

  /**
   * Whether an address is of the guests' own network (ours included), or leads there. A name of the Internet that leads
   * there is a deception, even where that network's addresses are public ones.
   */
  isInside({ family, ip, bytes }: IpAddress): boolean {
    if (family === 4) return this.inNet(ip);
    return this.inNet6(bytes, 0) || embedded4(bytes).some((each) => this.inNet(each));
  }

  /** The one address by which rules know this one, because the gateway has two in IPv6. */
  asRuled(address: IpAddress): IpAddress {
    return address.is(this.router6) ? this.gateway6 : address;
  }

  /**
   * How a host's address is shown to guests. Loopback, another family's and the guests' own addresses become the
   * gateway's.
   */
  guestSide(host: IpText, family: Family): IpAddress {
    const address = addressFromText(host.startsWith("::ffff:") ? host.slice(7) : host);
    const { ip, bytes } = address;
    if (address.family !== family) return this.gatewayFor(family);
    const hidden = family === 4 ? ip >>> 24 === 127 || this.inNet(ip) || ip === 0 : this.#refused6(bytes);
    return hidden ? this.gatewayFor(family) : address;
  }
}
