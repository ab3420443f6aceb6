/**
 * IP addresses outside packets. Interfaces between parts use text in its shortest form ("10.0.2.2", "fec0::2"); flows,
 * neighbours and forwards hold an `IpAddress`. Both are made once per flow, lease or forward, never per packet.
 */
import { get32, put32 } from "../wire/bytes.ts";
import { scalarSum } from "../wire/checksum.ts";
import { ipv4ToString } from "../wire/ipv4.ts";
import { ipv6Equals, ipv6FromText, ipv6ToString } from "../wire/ipv6.ts";

export type IpText = string;
export type Family = 4 | 6;

export interface Endpoint {
  readonly host: IpText;
  readonly port: number;
}

export class IpAddress {
  readonly family: Family;
  /** 4 or 16 bytes, by family. */
  readonly bytes: Uint8Array;
  /** An IPv4 address as a signed word; 0 for IPv6. */
  readonly ip: number;
  /** The address's share of a pseudo-header's checksum. */
  readonly sum: number;
  #text: IpText | null = null;

  /** Keeps `bytes` without a copy. */
  constructor(bytes: Uint8Array) {
    this.family = bytes.length === 4 ? 4 : 6;
    this.bytes = bytes;
    this.ip = bytes.length === 4 ? get32(bytes, 0) : 0;
    this.sum = scalarSum(bytes, 0, bytes.length);
  }

  get text(): IpText {
    this.#text ??= this.family === 4 ? ipv4ToString(this.ip) : ipv6ToString(this.bytes, 0);
    return this.#text;
  }

  /** Whether the bytes at `at` in `buf` are this address. */
  at(buf: Uint8Array, at: number): boolean {
    return this.family === 4 ? get32(buf, at) === this.ip : ipv6Equals(buf, at, this.bytes, 0);
  }

  is(other: IpAddress): boolean {
    return this.family === other.family && this.at(other.bytes, 0);
  }
}

export function addressAt(family: Family, buf: Uint8Array, at: number): IpAddress {
  return new IpAddress(buf.slice(at, at + (family === 4 ? 4 : 16)));
}

/** The address for a signed word. */
export function ipv4Address(ip: number): IpAddress {
  const bytes = new Uint8Array(4);
  put32(bytes, 0, ip);
  return new IpAddress(bytes);
}

/** The address for a text that has been validated before. An IPv6 zone ("%eth0") is left out. */
export function addressFromText(text: IpText): IpAddress {
  return text.includes(":") ? new IpAddress(ipv6FromText(text.split("%")[0]!)) : ipv4Address(ipv4FromText(text));
}

export function familyOf(text: IpText): Family {
  return text.includes(":") ? 6 : 4;
}

export function endpointText(e: Endpoint): string {
  return e.host.includes(":") ? `[${e.host}]:${e.port}` : `${e.host}:${e.port}`;
}

/** A signed 32-bit number for dotted decimal that has been validated before. */
export function ipv4FromText(text: IpText): number {
  let value = 0;
  for (const part of text.split(".")) value = (value << 8) | Number(part);
  return value | 0;
}
