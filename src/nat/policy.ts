/** Where a guest's packets may go, and what stands behind the addresses we give ourselves. */
import { type IpText, ipv4FromText } from "../core/address.ts";
import type { StackConfig } from "../core/config.ts";
import { ipv4ToString } from "../wire/ipv4.ts";

const LOOPBACK_TEXT = "127.0.0.1";

export class Policy {
  readonly #config: StackConfig;
  readonly net: number;
  readonly mask: number;
  readonly gateway: number;
  readonly dns: number;

  constructor(config: StackConfig) {
    this.#config = config;
    this.net = ipv4FromText(config.net);
    this.mask = config.prefix === 0 ? 0 : (-1 << (32 - config.prefix)) | 0;
    this.gateway = ipv4FromText(config.host);
    this.dns = ipv4FromText(config.dns);
  }

  inNet(ip: number): boolean {
    return (ip & this.mask) === this.net;
  }

  /** The network's own broadcast address and the limited one. */
  isBroadcast(ip: number): boolean {
    return ip === -1 || ip === (this.net | ~this.mask);
  }

  /** An address that frames may come from: one of the net's that is neither ours nor the net's ends. */
  isGuest(ip: number): boolean {
    return this.inNet(ip) && ip !== this.gateway && ip !== this.dns && ip !== this.net && !this.isBroadcast(ip);
  }

  /** Addresses that we answer ARP for. */
  isOurs(ip: number): boolean {
    return ip === this.gateway || ip === this.dns;
  }

  /**
   * The host's side of a destination; null when guests may not go there: the host's loopback by another name than the
   * gateway's, "this network", link-local with its metadata servers, multicast, reserved, and their own net.
   */
  hostSide(dst: number): IpText | null {
    if (dst === this.gateway) return this.#config.hostLoopback && !this.#config.restrict ? LOOPBACK_TEXT : null;
    if (this.#config.restrict || this.inNet(dst)) return null;
    const a = dst >>> 24;
    if (a === 127 || a === 0 || a >= 224 || dst >>> 16 === 0xa9fe) return null;
    return ipv4ToString(dst);
  }

  /** How a host's address is shown to guests: loopback and addresses of the guests' own net as the gateway. */
  guestSide(host: IpText): number {
    const text = host.startsWith("::ffff:") ? host.slice(7) : host;
    if (text.includes(":")) return this.gateway;
    const ip = ipv4FromText(text);
    return ip >>> 24 === 127 || this.inNet(ip) || ip === 0 ? this.gateway : ip;
  }
}
