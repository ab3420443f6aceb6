/** Where a guest's packets may go, and what stands behind the addresses we give ourselves. */
import { addressFromText, type Family, type IpAddress, type IpText, ipv4FromText } from "../../core/address.ts";
import type { StackConfig } from "../../core/config.ts";
import { get16 } from "../../wire/bytes.ts";
import { ipv6IsLinkLocal, ipv6SamePrefix } from "../../wire/ipv6.ts";
import { embedded4 } from "../../wire/ipv6-embedded.ts";
import { guardedPrefix } from "./special-addresses.ts";

const LOOPBACK4 = "127.0.0.1";
const LOOPBACK6 = "::1";
/** The router as IPv6 guests know it (RFC 4861 wants a link-local one), libslirp's. */
const ROUTER: IpAddress = addressFromText("fe80::2");
/** Where clouds' guests ask for metadata (OpenStack). A guest at it would tell the others who they are. */
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
  /** Further addresses that are ours while something within the process serves there. */
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

  /** The network's own broadcast address and the limited one. */
  isBroadcast(ip: number): boolean {
    return ip === -1 || ip === (this.net | ~this.mask);
  }

  /** An address that frames may come from: one of the net's that is neither ours nor the net's ends. */
  isGuest(ip: number): boolean {
    return this.inNet(ip) && !this.isOurs(ip) && ip !== this.net && !this.isBroadcast(ip);
  }

  /** The same for IPv6: of the prefix (but not its anycast address, RFC 4291 section 2.6.1), or link-local (but no metadata service's). */
  isGuest6(buf: Uint8Array, at: number): boolean {
    if (!ipv6IsLinkLocal(buf, at) && (!this.inNet6(buf, at) || this.net6.at(buf, at))) return false;
    return !this.isOurs6(buf, at) && !METADATA6.at(buf, at);
  }

  /** Addresses that we answer ARP for. */
  isOurs(ip: number): boolean {
    if (ip === this.gateway.ip || ip === this.dns.ip) return true;
    return this.#served.length > 0 && this.#served.some((address) => address.family === 4 && address.ip === ip);
  }

  /** Addresses that we answer neighbour solicitations for. */
  isOurs6(buf: Uint8Array, at: number): boolean {
    if (this.gateway6.at(buf, at) || this.dns6.at(buf, at) || this.router6.at(buf, at)) return true;
    return this.#served.length > 0 && this.#served.some((address) => address.family === 6 && address.at(buf, at));
  }

  /** An address of the guests' net becomes ours: it is answered for, and no guest may speak from it. */
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

  /** Which of our addresses speaks to a guest's: the gateway's of the same scope. */
  selfFor({ family, bytes }: IpAddress): IpAddress {
    return family === 6 && ipv6IsLinkLocal(bytes, 0) ? this.router6 : this.gatewayFor(family);
  }

  /** Whether this is the virtual DNS server. */
  isDns(address: IpAddress): boolean {
    return address.is(address.family === 4 ? this.dns : this.dns6);
  }

  /** Whether nothing of the guests' leaves this host. */
  get closed(): boolean {
    return this.#config.restrict || this.#config.hostOnly;
  }

  /** The host's side of a destination; null when guests may not go there. */
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
   * The host's loopback by another name than the gateway's, "this network", link-local with its metadata servers,
   * multicast, reserved, and the guests' own net.
   */
  #refused4(ip: number): boolean {
    const a = ip >>> 24;
    return this.inNet(ip) || a === 127 || a === 0 || a >= 224 || ip >>> 16 === 0xa9fe;
  }

  /**
   * The same in IPv6: ::/96 (unspecified, loopback, IPv4-compatible), IPv4-mapped and -translated, link-local,
   * site-local, multicast, the guests' own net; and addresses with an IPv4 address in them that is refused.
   */
  #refused6(b: Uint8Array): boolean {
    // ff00::/8, and fe80::/10 with fec0::/10.
    if (b[0] === 0xff || get16(b, 0) >> 7 === 0xfe80 >> 7 || this.inNet6(b, 0)) return true;
    const embedded = embedded4(b);
    if (embedded.length === 0) return false;
    // An address that begins with zeros is of ::/96 or the like, whatever its last part is.
    return (get16(b, 0) === 0 && get16(b, 2) === 0) || embedded.some((ip) => this.#refused4(ip));
  }

  /**
   * Whether an address is of the guests' own network, our own among them, or leads there: a name of the Internet that is
   * said to be there is meant to deceive, also where that network's addresses are public ones.
   */
  isInside({ family, ip, bytes }: IpAddress): boolean {
    if (family === 4) return this.inNet(ip);
    return this.inNet6(bytes, 0) || embedded4(bytes).some((each) => this.inNet(each));
  }

  /** The one address by which rules know this one: the gateway has two in IPv6. */
  asRuled(address: IpAddress): IpAddress {
    return address.is(this.router6) ? this.gateway6 : address;
  }

  /** How a host's address is shown to guests: loopback, another family's and the guests' own as the gateway. */
  guestSide(host: IpText, family: Family): IpAddress {
    const address = addressFromText(host.startsWith("::ffff:") ? host.slice(7) : host);
    const { ip, bytes } = address;
    if (address.family !== family) return this.gatewayFor(family);
    const hidden = family === 4 ? ip >>> 24 === 127 || this.inNet(ip) || ip === 0 : this.#refused6(bytes);
    return hidden ? this.gatewayFor(family) : address;
  }
}
