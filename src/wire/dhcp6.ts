/**
 * DHCP for IPv6 (RFC 8415) as UDP payload: a message type, three bytes of transaction identifier, then options of two
 * bytes of code, two of length, and data. Some options carry options themselves (an association, an address).
 *
 * Messages are few and small, so they are read into lists of views. A list comes from a range of bytes that it never
 * leaves, every option takes four bytes at least, and nothing recurses: a caller that needs inner options reads the
 * range of the outer option.
 */
import { get16, get32, put16, put32 } from "./bytes.ts";
import { ipv6Copy } from "./ipv6.ts";

export const DHCP6_CLIENT_PORT = 546;
export const DHCP6_SERVER_PORT = 547;
export const DHCP6_HEADER = 4;

/** Message types (RFC 8415 section 7.3). */
export const DHCP6_SOLICIT = 1;
export const DHCP6_ADVERTISE = 2;
export const DHCP6_REQUEST = 3;
export const DHCP6_CONFIRM = 4;
export const DHCP6_RENEW = 5;
export const DHCP6_REBIND = 6;
export const DHCP6_REPLY = 7;
export const DHCP6_RELEASE = 8;
export const DHCP6_DECLINE = 9;
export const DHCP6_INFORMATION_REQUEST = 11;
export const DHCP6_RELAY_FORWARD = 12;

/** Option codes (RFC 8415 section 21 unless said otherwise). */
export const OPT6_CLIENT_ID = 1;
export const OPT6_SERVER_ID = 2;
export const OPT6_IA_NA = 3;
export const OPT6_IA_TA = 4;
export const OPT6_IA_ADDR = 5;
export const OPT6_OPTION_REQUEST = 6;
export const OPT6_PREFERENCE = 7;
export const OPT6_STATUS = 13;
export const OPT6_RAPID_COMMIT = 14;
export const OPT6_VENDOR_CLASS = 16;
/** RFC 3646. */
export const OPT6_DNS = 23;
export const OPT6_DOMAIN_LIST = 24;
export const OPT6_IA_PD = 25;
export const OPT6_REFRESH_TIME = 32;
/** RFC 5970. */
export const OPT6_BOOTFILE_URL = 59;

/** Status codes (RFC 8415 section 21.13). */
export const STATUS6_SUCCESS = 0;
export const STATUS6_NO_ADDRS = 2;
export const STATUS6_NO_BINDING = 3;
export const STATUS6_NOT_ON_LINK = 4;
export const STATUS6_USE_MULTICAST = 5;
export const STATUS6_NO_PREFIX = 6;

/** The longest DUID (RFC 8415 section 11.1), its type included. */
export const DUID_MAX = 130;
/** The shortest DUID that identifies anybody: its type and one byte. */
export const DUID_MIN = 3;

export interface Dhcp6Option {
  readonly code: number;
  readonly data: Uint8Array;
}

/** An identity association from a client's message. Its times are only what the client wishes. */
export interface Dhcp6Ia {
  readonly iaid: number;
  readonly options: readonly Dhcp6Option[];
}

/** The message type; -1 when `len` bytes cannot be a message. */
export function dhcp6Type(buf: Uint8Array, at: number, len: number): number {
  return len < DHCP6_HEADER ? -1 : buf[at]!;
}

/** The transaction identifier, 24 bits. */
export function dhcp6Xid(buf: Uint8Array, at: number): number {
  return get32(buf, at) & 0xffffff;
}

/**
 * The options in `len` bytes at `at`, in order, as views. Null when one runs over the end: no part of such a message is
 * to be believed (RFC 8415 section 16).
 */
export function dhcp6Options(buf: Uint8Array, at: number, len: number): Dhcp6Option[] | null {
  const list: Dhcp6Option[] = [];
  const end = at + len;
  let i = at;
  while (i < end) {
    if (i + 4 > end) return null;
    const next = i + 4 + get16(buf, i + 2);
    if (next > end) return null;
    list.push({ code: get16(buf, i), data: buf.subarray(i + 4, next) });
    i = next;
  }
  return list;
}

/** The first option of this code, or null. */
export function dhcp6Find(options: readonly Dhcp6Option[], code: number): Uint8Array | null {
  return options.find((option) => option.code === code)?.data ?? null;
}

/** The association in an IA_NA's data, or null when it is malformed. */
export function dhcp6Ia(data: Uint8Array): Dhcp6Ia | null {
  if (data.length < 12) return null;
  const options = dhcp6Options(data, 12, data.length - 12);
  return options === null ? null : { iaid: get32(data, 0), options };
}

/** The address in an IAADDR's data as 16 bytes, or null when it is malformed. */
export function dhcp6IaAddr(data: Uint8Array): Uint8Array | null {
  return data.length < 24 || dhcp6Options(data, 24, data.length - 24) === null ? null : data.subarray(0, 16);
}

/** The codes that an option request names. */
export function dhcp6RequestedCodes(options: readonly Dhcp6Option[]): Set<number> {
  const data = dhcp6Find(options, OPT6_OPTION_REQUEST);
  const codes = new Set<number>();
  for (let i = 0; data !== null && i + 2 <= data.length; i += 2) codes.add(get16(data, i));
  return codes;
}

/** How many bytes these options take. */
export function dhcp6OptionsLength(options: readonly Dhcp6Option[]): number {
  let length = 0;
  for (const option of options) length += 4 + option.data.length;
  return length;
}

/**
 * Writes a message to `out` from offset 0, and returns its length. Options that do not fit within `limit` bytes are
 * left out.
 */
export function dhcp6Write(
  out: Uint8Array,
  limit: number,
  type: number,
  xid: number,
  options: readonly Dhcp6Option[],
): number {
  put32(out, 0, (type << 24) | xid);
  return putOptions(out, DHCP6_HEADER, limit, options);
}

function putOptions(out: Uint8Array, at: number, limit: number, options: readonly Dhcp6Option[]): number {
  for (const option of options) {
    const next = at + 4 + option.data.length;
    if (next > limit) continue;
    put16(out, at, option.code);
    put16(out, at + 2, option.data.length);
    out.set(option.data, at + 4);
    at = next;
  }
  return at;
}

/** An IA_NA, IA_PD or IA_TA (RFC 8415 sections 21.4, 21.5 and 21.21). Times are in seconds; an IA_TA has none. */
export function dhcp6IaOption(
  code: number,
  iaid: number,
  t1: number,
  t2: number,
  options: readonly Dhcp6Option[],
): Dhcp6Option {
  const fixed = code === OPT6_IA_TA ? 4 : 12;
  const data = new Uint8Array(fixed + dhcp6OptionsLength(options));
  put32(data, 0, iaid);
  if (code !== OPT6_IA_TA) {
    put32(data, 4, t1);
    put32(data, 8, t2);
  }
  putOptions(data, fixed, data.length, options);
  return { code, data };
}

/** An IAADDR option (RFC 8415 section 21.6); lifetimes in seconds. */
export function dhcp6IaAddrOption(
  addr: Uint8Array,
  addrAt: number,
  preferred: number,
  valid: number,
  options: readonly Dhcp6Option[] = [],
): Dhcp6Option {
  const data = new Uint8Array(24 + dhcp6OptionsLength(options));
  ipv6Copy(data, 0, addr, addrAt);
  put32(data, 16, preferred);
  put32(data, 20, valid);
  putOptions(data, 24, data.length, options);
  return { code: OPT6_IA_ADDR, data };
}

/** A status (RFC 8415 section 21.13) with a message for people, ASCII. */
export function dhcp6StatusOption(status: number, message: string): Dhcp6Option {
  const data = new Uint8Array(2 + message.length);
  put16(data, 0, status);
  for (let i = 0; i < message.length; i++) data[2 + i] = message.charCodeAt(i);
  return { code: OPT6_STATUS, data };
}

/** The addresses of option 23 (RFC 3646 section 3), 16 bytes each. */
export function dhcp6DnsOption(servers: readonly Uint8Array[]): Dhcp6Option {
  const data = new Uint8Array(16 * servers.length);
  for (const [i, server] of servers.entries()) ipv6Copy(data, 16 * i, server, 0);
  return { code: OPT6_DNS, data };
}

/** A DUID from a MAC, type 3 (RFC 8415 section 11.4). */
export function duidFromMac(mac: Uint8Array): Uint8Array {
  const duid = new Uint8Array(10);
  put16(duid, 0, 3);
  put16(duid, 2, 1);
  duid.set(mac.subarray(0, 6), 4);
  return duid;
}
