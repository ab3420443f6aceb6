/**
 * Replaces addresses and MACs.
 *
 * An address that the network treats specially stays of its kind: loopback, multicast, link-local, metadata and the
 * guests' own network stay, and private addresses become private ones. A guest's IPv6 address contains its MAC's last
 * bytes, and so does the solicited-node group of that address (RFC 4291 section 2.7.1). So the last three bytes (the
 * serial) of MACs and of IPv6 addresses have the same substitutes.
 */
import { addressFromText, familyOf } from "../../core/address.ts";
import type { StackConfig } from "../../core/config.ts";
import type { Random } from "../../core/random.ts";
import { GATEWAY_MAC6, gatewayMac } from "../../stack/gateway-mac.ts";
import { get16, get32 } from "../../wire/bytes.ts";
import { macNumber, macToString } from "../../wire/ethernet.ts";
import { ipv4ToString } from "../../wire/ipv4.ts";
import { ipv6SamePrefix, ipv6ToString } from "../../wire/ipv6.ts";
import { isNat64 } from "../../wire/ipv6-embedded.ts";
import { Prefixes } from "./prefixes.ts";
import { bytesOf, hexOf, Substitutes } from "./substitutes.ts";

/** How many bytes of an IPv6 address stand in front of its serial. */
const UPPER = 13;

/**
 * Networks that the network treats specially (`nat/rules/special-addresses`): this host, link-local, groups, metadata
 * of clouds, and classes of private addresses.
 */
const KEPT4 = ["0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/3"];
const METADATA4 = ["100.100.100.200/32", "168.63.129.16/32", "192.0.0.192/32"];
const CLASSES4 = ["10.0.0.0/8", "100.64.0.0/10", "172.16.0.0/12", "192.0.0.0/24", "192.168.0.0/16", "198.18.0.0/15"];
const METADATA6 = [
  "fd00:ec2::/32",
  "fd20:ce::/32",
  "fd00:c1::/32",
  "fd00:42::/32",
  "fd00:a9fe:a9fe::/48",
  "fd00:100::/32",
];
const CLASSES6 = ["2000::/3", "fc00::/7", "fec0::/10", "64:ff9b::/32", "2001::/32", "2002::/16"];

type Net = readonly [Uint8Array, number];

export class Addresses {
  readonly #four: Prefixes;
  readonly #six: Prefixes;
  readonly #serials: Substitutes;
  readonly #identifiers: Substitutes;
  readonly #makers: Substitutes;
  readonly #macs: Set<string> = new Set();
  readonly #ours: ReadonlySet<string>;
  readonly #net6: Net;

  constructor(config: StackConfig, random: Random) {
    const own: Net = [addressFromText(config.net).bytes, config.prefix];
    this.#net6 = [addressFromText(config.net6).bytes, config.prefix6];
    this.#four = new Prefixes(4, random, [own, ...[...KEPT4, ...METADATA4].map(netOf)], CLASSES4.map(netOf));
    this.#six = new Prefixes(UPPER, random, METADATA6.map(netOf), CLASSES6.map(netOf));
    this.#serials = new Substitutes(random);
    this.#identifiers = new Substitutes(random);
    this.#makers = new Substitutes(random);
    this.#ours = new Set([gatewayMac(config), GATEWAY_MAC6].map(hexOf));
  }

  /** How many addresses and MACs have been replaced. */
  get counts(): { readonly addresses: number; readonly macs: number } {
    return { addresses: this.#four.count + this.#six.count, macs: this.#macs.size };
  }

  /** Ends the collecting of values: from now on each has a substitute. */
  seal(): void {
    for (const each of [this.#four, this.#six, this.#serials, this.#identifiers, this.#makers]) each.seal();
  }

  /** The substitute of an address of 4 or 16 bytes. */
  ip(bytes: Uint8Array): Uint8Array {
    return bytes.length === 4 ? this.#four.address(bytes) : this.#ip6(bytes);
  }

  text(address: string): string {
    const bytes = this.ip(addressFromText(address).bytes);
    return bytes.length === 4 ? ipv4ToString(get32(bytes, 0)) : ipv6ToString(bytes, 0);
  }

  /**
   * The substitute of a network such as `203.0.113.0/24`. An IPv6 prefix that reaches into the serial is cut to the
   * bytes in front of it.
   */
  net(text: string): string {
    const [bytes, length] = netOf(text);
    if (length === bytes.length * 8) return `${this.text(text.split("/")[0]!)}/${length}`;
    if (familyOf(text) === 4) return `${ipv4ToString(get32(this.#four.net(bytes, length), 0))}/${length}`;
    const shorter = Math.min(length, UPPER * 8);
    const other = new Uint8Array(16);
    if (ipv6SamePrefix(bytes, 0, this.#net6[0], 0, Math.min(length, this.#net6[1]))) return text;
    other.set(this.#six.net(bytes.subarray(0, UPPER), shorter));
    return `${ipv6ToString(other, 0)}/${shorter}`;
  }

  /** The substitute of a MAC of six bytes. The maker's bytes stay, unless they are random; the serial is replaced. */
  mac(bytes: Uint8Array): Uint8Array {
    const isGroup = (bytes[0]! & 1) !== 0;
    const isSolicited = get16(bytes, 0) === 0x3333 && bytes[2] === 0xff;
    if ((isGroup && !isSolicited) || bytes.every((byte) => byte === 0) || this.#ours.has(hexOf(bytes))) return bytes;
    if (!isGroup) this.#macs.add(hexOf(bytes));
    const maker = bytes.subarray(0, 3);
    return joined(isGroup ? maker : this.#maker(maker), this.#serial(bytes.subarray(3)));
  }

  macText(text: string): string {
    return macToString(this.mac(Uint8Array.from(text.split(/[:-]/), (byte) => Number.parseInt(byte, 16))));
  }

  macNumber(mac: number): number {
    return macNumber(this.mac(bytesOf(mac.toString(16).padStart(12, "0"))), 0);
  }

  #ip6(bytes: Uint8Array): Uint8Array {
    const upper = bytes.subarray(0, UPPER);
    const low = bytes.subarray(UPPER);
    if (get32(bytes, 0) === 0 && get32(bytes, 4) === 0) {
      // ::, ::1, and addresses that contain IPv4 addresses.
      if (get32(bytes, 8) === 0 && get32(bytes, 12) >>> 8 === 0) return bytes;
      return joined(bytes.subarray(0, 12), this.#four.address(bytes.subarray(12)));
    }
    if (isNat64(bytes)) return joined(bytes.subarray(0, 12), this.#four.address(bytes.subarray(12)));
    if (bytes[0] === 0xff) {
      const isSolicited = get32(bytes, 8) === 1 && bytes[12] === 0xff && get16(bytes, 0) === 0xff02;
      return isSolicited ? joined(upper, this.#serial(low)) : bytes;
    }
    const isGuests = ipv6SamePrefix(bytes, 0, this.#net6[0], 0, this.#net6[1]) || get16(bytes, 0) >>> 6 === 0x3fa;
    if (!isGuests) return joined(this.#six.address(upper), this.#serial(low));
    const identifier = bytes.subarray(8, UPPER);
    // The gateway's addresses, and those of the DHCPv6 pool.
    if (identifier.every((byte) => byte === 0)) return bytes;
    const isMacs = bytes[11] === 0xff && bytes[12] === 0xfe;
    if (!isMacs) return joined(bytes.subarray(0, 8), this.#identifier(identifier), this.#serial(low));
    // An interface identifier made from a MAC with one bit inverted (RFC 4291 appendix A).
    const [first = 0, second = 0, third = 0] = this.#maker(Uint8Array.of(bytes[8]! ^ 2, bytes[9]!, bytes[10]!));
    return joined(bytes.subarray(0, 8), Uint8Array.of(first ^ 2, second, third, 0xff, 0xfe), this.#serial(low));
  }

  /**
   * The substitute of a MAC's first three bytes. If they belong to no maker, they may identify somebody as a name does;
   * QEMU's are common to all.
   */
  #maker(bytes: Uint8Array): Uint8Array {
    const isLocal = (bytes[0]! & 2) !== 0;
    if (!isLocal || hexOf(bytes) === "525400") return bytes;
    const propose = (): string =>
      hexOf(bytes.map((byte, i) => (i === 0 ? (this.#makers.below(64) << 2) | (byte & 3) : this.#makers.below(256))));
    return bytesOf(this.#makers.of(hexOf(bytes), propose));
  }

  #serial(bytes: Uint8Array): Uint8Array {
    return this.#chance(this.#serials, bytes);
  }

  #identifier(bytes: Uint8Array): Uint8Array {
    return this.#chance(this.#identifiers, bytes);
  }

  #chance(values: Substitutes, bytes: Uint8Array): Uint8Array {
    return bytesOf(values.of(hexOf(bytes), () => hexOf(bytes.map(() => values.below(256)))));
  }
}

/** Parses a network such as `10.0.0.0/8`. */
function netOf(text: string): Net {
  const [address = "", length] = text.split("/");
  const { bytes } = addressFromText(address);
  return [bytes, length === undefined ? bytes.length * 8 : Number(length)];
}

function joined(...parts: readonly Uint8Array[]): Uint8Array {
  return Uint8Array.from(parts.flatMap((part) => [...part]));
}
