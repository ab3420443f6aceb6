/**
 * Addresses as users type them, made canonical, or null for an invalid text. Used at the edges only, never per
 * packet.
 */
import { Address4, Address6 } from "ip-address";
import type { Endpoint, IpText } from "../core/address.ts";
import { ipv6FromText } from "../wire/ipv6.ts";

/** Dotted decimal of four parts, without a prefix and without leading zeros, which some programs read as octal. */
export function parseIpv4(text: string): IpText | null {
  return /^[0-9.]+$/.test(text) && Address4.isValid(text) ? new Address4(text).correctForm() : null;
}

/** IPv6 in its shortest form, without prefix, zone or brackets. */
export function parseIpv6(text: string): IpText | null {
  return /^[0-9a-fA-F:.]+$/.test(text) && Address6.isValid(text) ? new Address6(text).correctForm() : null;
}

export function parseIp(text: string): IpText | null {
  return parseIpv4(text) ?? parseIpv6(text);
}

/** A whole decimal number from `min` to `max`. */
export function parseNumber(text: string, min: number, max: number): number | null {
  if (!/^[0-9]{1,9}$/.test(text)) return null;
  const value = Number(text);
  return value >= min && value <= max ? value : null;
}

/** `IP`, `IP:PORT`, `IPV6` or `[IPV6]:PORT`. */
export function parseEndpoint(text: string, defaultPort: number): Endpoint | null {
  const alone = parseIp(text);
  if (alone !== null) return { host: alone, port: defaultPort };
  const match = /^(?:\[([^\]]*)\]|([^:]*))(?::([0-9]+))?$/.exec(text);
  if (match === null) return null;
  const host = match[1] !== undefined ? parseIpv6(match[1]) : parseIpv4(match[2] ?? "");
  const port = match[3] === undefined ? defaultPort : parseNumber(match[3], 1, 65_535);
  return host === null || port === null ? null : { host, port };
}

/** A network as 32-bit numbers, unsigned. */
export interface Net4 {
  readonly net: number;
  readonly prefix: number;
}

/**
 * `ADDR/PREFIX`, `ADDR/MASK`, or `ADDR` alone, which takes the prefix of its class, as QEMU's `net=` does. Host bits
 * are dropped, as in QEMU.
 */
export function parseNet4(text: string): Net4 | null {
  const [addressText = "", prefixText, more] = text.split("/");
  const address = parseIpv4(addressText);
  if (address === null || more !== undefined) return null;
  const ip = toNumber(address);
  const prefix =
    prefixText === undefined ? classPrefix(ip) : (parseNumber(prefixText, 0, 32) ?? maskPrefix(prefixText));
  return prefix === null ? null : { net: (ip & prefixMask(prefix)) >>> 0, prefix };
}

export function prefixMask(prefix: number): number {
  return prefix === 0 ? 0 : (-1 << (32 - prefix)) >>> 0;
}

/** Dotted decimal to an unsigned number. */
export function toNumber(ip: IpText): number {
  return ip.split(".").reduce((value, part) => value * 256 + Number(part), 0);
}

/** An unsigned number to dotted decimal. */
export function fromNumber(ip: number): IpText {
  return [ip >>> 24, (ip >>> 16) & 255, (ip >>> 8) & 255, ip & 255].join(".");
}

function maskPrefix(text: string): number | null {
  const mask = parseIpv4(text);
  if (mask === null) return null;
  const prefix = Math.clz32(~toNumber(mask));
  return toNumber(mask) === prefixMask(prefix) ? prefix : null;
}

/** The prefix of an address's class, with the private and the benchmark ranges known, as in QEMU's net/slirp.c. */
function classPrefix(ip: number): number {
  if (ip < 0x80000000) return 8;
  if (ip >>> 20 === 0xac1) return 12;
  if (ip >>> 30 === 2) return 16;
  if (ip >>> 16 === 0xc0a8) return 16;
  if (ip >>> 17 === 0xc612 >>> 1) return 15;
  return 24;
}

/** The 4 or 16 bytes of an address in canonical form. */
export function addressBytes(ip: IpText): Uint8Array {
  return ip.includes(":") ? ipv6FromText(ip) : Uint8Array.from(ip.split("."), Number);
}
