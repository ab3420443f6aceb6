import { get16, get32, put16, put32 } from "./bytes.ts";

/**
 * DHCP for IPv4 (RFC 2131) and BOOTP, its ancestor (RFC 951, RFC 1542), as UDP payload: a fixed part of 236 bytes, a
 * magic cookie, then options (RFC 2132). `at` is the message's first byte throughout.
 *
 *   0 op  1 htype  2 hlen  3 hops  4 xid  8 secs  10 flags  12 ciaddr  16 yiaddr  20 siaddr  24 giaddr
 *   28 chaddr (16)  44 sname (64)  108 file (128)  236 cookie  240 options
 *
 * `file` and `sname` may carry options too when option 52 says so ("overload").
 */
export const DHCP_SERVER_PORT = 67;
export const DHCP_CLIENT_PORT = 68;

/** Length of the fixed part and the cookie. Shorter messages are not read. */
export const DHCP_HEADER = 240;
/** Length of a BOOTP message (RFC 951 section 3), and the least that a server sends (RFC 1542 section 2.1). */
export const BOOTP_LENGTH = 300;
/** Where the client's hardware address stands. */
export const DHCP_CHADDR = 28;
const SNAME = 44;
const FILE = 108;
const COOKIE = 236;
/** The longest names that fit their fields with the closing NUL. */
export const DHCP_FILE_MAX: number = COOKIE - FILE - 1;
export const DHCP_SNAME_MAX: number = FILE - SNAME - 1;
const MAGIC = 0x63825363;

const BOOT_REQUEST = 1;
const BOOT_REPLY = 2;

/** Values of option 53 (RFC 2132 section 9.6). */
export const DHCP_DISCOVER = 1;
export const DHCP_OFFER = 2;
export const DHCP_REQUEST = 3;
export const DHCP_DECLINE = 4;
export const DHCP_ACK = 5;
export const DHCP_NAK = 6;
export const DHCP_RELEASE = 7;
export const DHCP_INFORM = 8;

/** Option codes (RFC 2132 unless said otherwise). */
export const OPT_SUBNET_MASK = 1;
export const OPT_ROUTER = 3;
export const OPT_DNS = 6;
export const OPT_HOST_NAME = 12;
export const OPT_DOMAIN_NAME = 15;
export const OPT_MTU = 26;
export const OPT_REQUESTED_IP = 50;
export const OPT_LEASE_TIME = 51;
const OPT_OVERLOAD = 52;
export const OPT_MESSAGE_TYPE = 53;
export const OPT_SERVER_ID = 54;
export const OPT_PARAMETER_LIST = 55;
export const OPT_MESSAGE = 56;
export const OPT_MAX_SIZE = 57;
export const OPT_RENEWAL_TIME = 58;
export const OPT_REBINDING_TIME = 59;
export const OPT_VENDOR_CLASS = 60;
export const OPT_CLIENT_ID = 61;
export const OPT_TFTP_SERVER = 66;
export const OPT_BOOTFILE = 67;
/** RFC 3397. */
export const OPT_SEARCH_LIST = 119;
/** RFC 3442. */
export const OPT_CLASSLESS_ROUTES = 121;
const OPT_PAD = 0;
const OPT_END = 255;

/**
 * Whether `len` bytes hold a client's message for Ethernet: at least the fixed part and the length of a cookie, op 1
 * and hlen 6. A message without the cookie is plain BOOTP, which is never shorter than 300 bytes.
 */
export function dhcpCheck(buf: Uint8Array, at: number, len: number): boolean {
  if (len < DHCP_HEADER || buf[at] !== BOOT_REQUEST || buf[at + 2] !== 6) return false;
  return dhcpHasCookie(buf, at) || len >= BOOTP_LENGTH;
}

/** Whether options follow the fixed part. */
export function dhcpHasCookie(buf: Uint8Array, at: number): boolean {
  return get32(buf, at + COOKIE) === MAGIC;
}

/** The address that the client has and uses; 0 while it has none. */
export function dhcpCiaddr(buf: Uint8Array, at: number): number {
  return get32(buf, at + 12);
}

/** The relay agent's address; 0 when the client itself sent the message. */
export function dhcpGiaddr(buf: Uint8Array, at: number): number {
  return get32(buf, at + 24);
}

/**
 * The value of option `code` in a checked message, or null. Usually a view of `buf`; an option in several pieces is
 * joined in a copy (RFC 3396 section 7: the option field first, then `file`, then `sname`). An option that is longer
 * than the rest of its field ends the reading of that field.
 */
export function dhcpOption(buf: Uint8Array, at: number, len: number, code: number): Uint8Array | null {
  if (!dhcpHasCookie(buf, at)) return null;
  const pieces: Uint8Array[] = [];
  const end = at + len;
  gather(buf, at + DHCP_HEADER, end, code, pieces);
  if (code !== OPT_OVERLOAD) {
    const overload = dhcpOption(buf, at, len, OPT_OVERLOAD);
    const fields = overload !== null && overload.length === 1 ? overload[0]! : 0;
    if ((fields & 1) !== 0) gather(buf, at + FILE, at + COOKIE, code, pieces);
    if ((fields & 2) !== 0) gather(buf, at + SNAME, at + FILE, code, pieces);
  }
  if (pieces.length < 2) return pieces[0] ?? null;
  let total = 0;
  for (const piece of pieces) total += piece.length;
  const joined = new Uint8Array(total);
  let to = 0;
  for (const piece of pieces) {
    joined.set(piece, to);
    to += piece.length;
  }
  return joined;
}

/** Collects the pieces of option `code` from `i` on. Every step moves on by at least one byte and never past `end`. */
function gather(buf: Uint8Array, i: number, end: number, code: number, pieces: Uint8Array[]): void {
  while (i < end) {
    const kind = buf[i]!;
    if (kind === OPT_END) return;
    if (kind === OPT_PAD) {
      i++;
      continue;
    }
    if (i + 1 >= end) return;
    const next = i + 2 + buf[i + 1]!;
    if (next > end) return;
    if (kind === code) pieces.push(buf.subarray(i + 2, next));
    i = next;
  }
}

/** An option to send. More than 255 bytes go out in pieces (RFC 3396). */
export interface DhcpOption {
  readonly code: number;
  readonly data: Uint8Array;
}

/**
 * Writes the fixed part of the reply to the request at (`buf`, `at`) into `out` from offset 0, with the request's xid,
 * flags and chaddr. The first `limit` bytes are all overwritten, so that nothing older is left in them.
 */
export function dhcpWriteHeader(
  out: Uint8Array,
  limit: number,
  buf: Uint8Array,
  at: number,
  ciaddr: number,
  yiaddr: number,
  siaddr: number,
): void {
  out.fill(0, 0, limit);
  out[0] = BOOT_REPLY;
  out[1] = buf[at + 1]!;
  out[2] = 6;
  put32(out, 4, get32(buf, at + 4));
  put16(out, 10, get16(buf, at + 10));
  put32(out, 12, ciaddr);
  put32(out, 16, yiaddr);
  put32(out, 20, siaddr);
  for (let i = 0; i < 6; i++) out[DHCP_CHADDR + i] = buf[at + DHCP_CHADDR + i]!;
  put32(out, COOKIE, MAGIC);
}

/** Writes the boot file's name into its field, which stays empty when the name is longer than `DHCP_FILE_MAX`. */
export function dhcpWriteFile(out: Uint8Array, name: Uint8Array): void {
  if (name.length <= DHCP_FILE_MAX) out.set(name, FILE);
}

/** Writes the boot server's name into its field, which stays empty when the name is longer than `DHCP_SNAME_MAX`. */
export function dhcpWriteServerName(out: Uint8Array, name: Uint8Array): void {
  if (name.length <= DHCP_SNAME_MAX) out.set(name, SNAME);
}

/**
 * Writes `options`, the important ones first, behind the header in `out`, and ends the message: `limit` bytes at most,
 * 300 at least. Returns the message's length. If the options need more room and `overload` allows it, `file` and
 * `sname` carry some, unless they are in use (RFC 2131 section 4.1); an option that still finds no room is left out.
 * The search list comes last and keeps as many names as fit; `onCut` is called when some are missing.
 */
export function dhcpWriteOptions(
  out: Uint8Array,
  limit: number,
  options: readonly DhcpOption[],
  overload: boolean,
  onCut: () => void = () => {},
): number {
  const fileFree = out[FILE] === 0;
  const snameFree = out[SNAME] === 0;
  const spread = overload && DHCP_HEADER + dhcpOptionsSize(options) > limit && (fileFree || snameFree);
  // Each field ends with an end option (RFC 2131 section 4.1); the first field also says, by option 52, that others
  // carry options.
  const mainEnd = limit - 1 - (spread ? 3 : 0);
  let main = DHCP_HEADER;
  let file = FILE;
  let sname = SNAME;
  const rooms = [
    mainEnd - main,
    spread && fileFree ? COOKIE - 1 - file : 0,
    spread && snameFree ? FILE - 1 - sname : 0,
  ];
  const crowded = !allFit(options, rooms);
  for (const each of crowded ? [...options].sort(searchListLast) : options) {
    let option = each;
    if (crowded && each.code === OPT_SEARCH_LIST) {
      const inFile = spread && fileFree ? COOKIE - 1 - file : 0;
      const inSname = spread && snameFree ? FILE - 1 - sname : 0;
      const data = searchListWithin(each.data, Math.max(mainEnd - main, inFile, inSname));
      if (data.length < each.data.length) onCut();
      if (data.length === 0) continue;
      option = { code: each.code, data };
    }
    const size = optionSize(option);
    if (main + size <= mainEnd) main = writeOption(out, main, option);
    else if (spread && fileFree && file + size < COOKIE) file = writeOption(out, file, option);
    else if (spread && snameFree && sname + size < FILE) sname = writeOption(out, sname, option);
  }
  const fields = (file > FILE ? 1 : 0) | (sname > SNAME ? 2 : 0);
  if (fields !== 0) {
    if (file > FILE) out[file] = OPT_END;
    if (sname > SNAME) out[sname] = OPT_END;
    out[main] = OPT_OVERLOAD;
    out[main + 1] = 1;
    out[main + 2] = fields;
    main += 3;
  }
  out[main] = OPT_END;
  return Math.max(main + 1, BOOTP_LENGTH);
}

/** How many bytes `options` take behind the cookie, the end option included. */
export function dhcpOptionsSize(options: readonly DhcpOption[]): number {
  let size = 1;
  for (const option of options) size += optionSize(option);
  return size;
}

/** Whether every option finds a place when each takes the first room that is large enough. */
function allFit(options: readonly DhcpOption[], rooms: readonly number[]): boolean {
  const left = [...rooms];
  return options.every((option) => {
    const size = optionSize(option);
    const room = left.findIndex((each) => size <= each);
    if (room >= 0) left[room]! -= size;
    return room >= 0;
  });
}

function searchListLast(a: DhcpOption, b: DhcpOption): number {
  return Number(a.code === OPT_SEARCH_LIST) - Number(b.code === OPT_SEARCH_LIST);
}

/**
 * The first names of a search list, as many as fit an option of `room` bytes. Pointers only lead backwards, so a list
 * that is cut behind a name stays valid.
 */
function searchListWithin(list: Uint8Array, room: number): Uint8Array {
  if (list.length + 2 * Math.ceil(list.length / 255) <= room) return list;
  let end = 0;
  for (let at = 0; at < list.length; ) {
    // A name ends with its root label or with a pointer.
    const length = list[at]!;
    at += length >= 0xc0 ? 2 : 1 + length;
    if (length !== 0 && length < 0xc0) continue;
    if (at + 2 * Math.ceil(at / 255) > room) break;
    end = at;
  }
  return list.subarray(0, end);
}

function optionSize(option: DhcpOption): number {
  return option.data.length + 2 * Math.ceil(option.data.length / 255);
}

function writeOption(out: Uint8Array, at: number, option: DhcpOption): number {
  for (let from = 0; from < option.data.length; from += 255) {
    const piece = option.data.subarray(from, from + 255);
    out[at] = option.code;
    out[at + 1] = piece.length;
    out.set(piece, at + 2);
    at += 2 + piece.length;
  }
  return at;
}

/**
 * A domain search list (RFC 3397): names as in DNS. Each name shares its tail with an earlier name, if they have one in
 * common, by a pointer (RFC 1035 section 4.1.4) that counts from the option's first byte. Names that DNS cannot carry
 * are left out.
 */
export function dhcpSearchList(names: readonly string[]): Uint8Array {
  const bytes: number[] = [];
  const seen = new Map<string, number>();
  for (const name of names) {
    const labels = name.toLowerCase().replace(/\.$/, "").split(".");
    if (name.length > 254 || !labels.every((label) => /^[\x21-\x7e]{1,63}$/.test(label))) continue;
    let i = 0;
    for (; i < labels.length; i++) {
      const tail = labels.slice(i).join(".");
      const earlier = seen.get(tail);
      if (earlier !== undefined) {
        bytes.push(0xc0 | (earlier >> 8), earlier & 255);
        break;
      }
      if (bytes.length < 0x4000) seen.set(tail, bytes.length);
      const label = labels[i]!;
      bytes.push(label.length);
      for (let k = 0; k < label.length; k++) bytes.push(label.charCodeAt(k));
    }
    if (i === labels.length) bytes.push(0);
  }
  return Uint8Array.from(bytes);
}
