/**
 * DNS messages (RFC 1035 section 4.1, EDNS by RFC 6891), as a forwarder needs them: the header, the one question, the
 * OPT record, and small answers of our own. Records are passed on without being understood.
 *
 * Call `dnsCheck` first; the accessors then cannot fail. Names in records are only reached through `dnsSkipName` and
 * `dnsReadName`, which check as they go: a compression pointer must lead to before the place where the part of the name
 * read so far began, so that following pointers always ends.
 */
import { get16, get32, put16, put32 } from "./bytes.ts";

export const DNS_HEADER = 12;
export const DNS_MAX_MESSAGE = 65_535;
/** The largest UDP message that a client without an OPT record takes (RFC 1035 section 4.2.1). */
export const DNS_UDP_SIZE = 512;

export const DNS_A = 1;
export const DNS_CNAME = 5;
export const DNS_PTR = 12;
export const DNS_AAAA = 28;
export const DNS_OPT = 41;
export const DNS_SVCB = 64;
export const DNS_HTTPS = 65;
export const DNS_IXFR = 251;
export const DNS_AXFR = 252;
export const DNS_ANY = 255;
export const DNS_IN = 1;

export const DNS_NOERROR = 0;
export const DNS_FORMERR = 1;
export const DNS_SERVFAIL = 2;
export const DNS_NXDOMAIN = 3;
export const DNS_NOTIMP = 4;
export const DNS_REFUSED = 5;

const QR = 0x8000;
const OPCODE = 0x7800;
const TC = 0x0200;
const RD = 0x0100;
const RA = 0x0080;
const AD = 0x0020;
const CD = 0x0010;
const RCODE = 0x000f;

/** The most bytes of a name, its length bytes and the root included (RFC 1035 section 2.3.4). */
const MAX_NAME = 255;
/** The length of an OPT record without options. */
const OPT_LENGTH = 11;
/** The EDNS flag by which a client asks for DNSSEC records (RFC 3225). */
const DO = 0x8000;
/** Extended DNS Errors: the option, and "Blocked" (RFC 8914 sections 2 and 4.16). */
const OPTION_EDE = 15;
export const EDE_BLOCKED = 15;
/**
 * The most characters of an error's text. With the longest name, an answer stays within the 512 bytes that every client
 * takes.
 */
const MOST_EXTRA_TEXT = 200;
/** The UDP size that we announce, which fits an unfragmented IPv6 packet. */
const OUR_UDP_SIZE = 1232;
/** A compression pointer to the question's name, which all records of our own answers bear. */
const POINTER_TO_QUESTION = 0xc000 | DNS_HEADER;
const RECORD_HEADER = 12;

/**
 * Whether `len` bytes hold a header and exactly one question. A question's name cannot be compressed: there is no
 * earlier name to point to.
 */
export function dnsCheck(buf: Uint8Array, at: number, len: number): boolean {
  if (len < DNS_HEADER || len > DNS_MAX_MESSAGE || get16(buf, at + 4) !== 1) return false;
  const start = at + DNS_HEADER;
  const end = at + len;
  for (let i = start; i < end && i - start < MAX_NAME; i += buf[i]! + 1) {
    if (buf[i]! > 63) return false;
    if (buf[i] === 0) return i + 5 <= end;
  }
  return false;
}

export function dnsId(buf: Uint8Array, at: number): number {
  return get16(buf, at);
}

export function dnsSetId(buf: Uint8Array, at: number, id: number): void {
  put16(buf, at, id);
}

export function dnsIsResponse(buf: Uint8Array, at: number): boolean {
  return (get16(buf, at + 2) & QR) !== 0;
}

/** The operation code; 0 is a standard query. */
export function dnsOpcode(buf: Uint8Array, at: number): number {
  return (get16(buf, at + 2) & OPCODE) >> 11;
}

export function dnsTruncated(buf: Uint8Array, at: number): boolean {
  return (get16(buf, at + 2) & TC) !== 0;
}

export function dnsRcode(buf: Uint8Array, at: number): number {
  return get16(buf, at + 2) & RCODE;
}

export function dnsQuestionCount(buf: Uint8Array, at: number): number {
  return get16(buf, at + 4);
}

/** The offset behind a checked message's question. */
export function dnsQuestionEnd(buf: Uint8Array, at: number): number {
  let i = at + DNS_HEADER;
  while (buf[i] !== 0) i += buf[i]! + 1;
  return i + 5;
}

export function dnsQtype(buf: Uint8Array, at: number): number {
  return get16(buf, dnsQuestionEnd(buf, at) - 4);
}

export function dnsQclass(buf: Uint8Array, at: number): number {
  return get16(buf, dnsQuestionEnd(buf, at) - 2);
}

/** A checked message's question name as text (see `dnsReadName`). */
export function dnsQname(buf: Uint8Array, at: number): string {
  return dnsReadName(buf, at, at + DNS_HEADER, dnsQuestionEnd(buf, at)) ?? "";
}

/** Whether two checked messages ask the same question. Names do not distinguish large and small letters (RFC 4343). */
export function dnsSameQuestion(a: Uint8Array, aAt: number, b: Uint8Array, bAt: number): boolean {
  const length = dnsQuestionEnd(a, aAt) - aAt;
  if (dnsQuestionEnd(b, bAt) - bAt !== length) return false;
  // Length bytes are below 64, so never taken for letters; the type HTTPS (65) would be, so types are compared as
  // numbers.
  for (let i = DNS_HEADER; i < length - 4; i++) if (lower(a[aAt + i]!) !== lower(b[bAt + i]!)) return false;
  for (let i = length - 4; i < length; i++) if (a[aAt + i] !== b[bAt + i]) return false;
  return true;
}

function lower(byte: number): number {
  return byte >= 0x41 && byte <= 0x5a ? byte | 0x20 : byte;
}

/** The offset behind the name at `at`; -1 when the name leaves the message, is too long or has an unknown form. */
export function dnsSkipName(buf: Uint8Array, at: number, end: number): number {
  for (let i = at; i < end && i - at < MAX_NAME; i += buf[i]! + 1) {
    const length = buf[i]!;
    if (length === 0) return i + 1;
    if (length >= 0xc0) return i + 2 <= end ? i + 2 : -1;
    if (length > 63) return -1;
  }
  return -1;
}

/**
 * The name at `at` in the message from `start` to `end`, with compression followed: "www.example.com", "." for the
 * root. Special bytes are escaped as in RFC 4343 section 2.1: `\.` and `\007`. Null when the name is malformed.
 */
export function dnsReadName(buf: Uint8Array, start: number, at: number, end: number): string | null {
  let text = "";
  let length = 1;
  let lowest = at;
  for (let i = at; i < end; ) {
    const n = buf[i]!;
    if (n === 0) return text === "" ? "." : text;
    if (n >= 0xc0) {
      if (i + 2 > end) return null;
      const target = start + (get16(buf, i) & 0x3fff);
      if (target >= lowest) return null;
      i = lowest = target;
      continue;
    }
    length += n + 1;
    if (n > 63 || length > MAX_NAME || i + n >= end) return null;
    if (text !== "") text += ".";
    text += dnsLabel(buf, i + 1, n);
    i += n + 1;
  }
  return null;
}

/** A label of `len` bytes as text (see `dnsReadName`). */
export function dnsLabel(buf: Uint8Array, at: number, len: number): string {
  let text = "";
  for (let i = at; i < at + len; i++) text += character(buf[i]!);
  return text;
}

function character(byte: number): string {
  if (byte <= 0x20 || byte >= 0x7f) return `\\${String(byte).padStart(3, "0")}`;
  const c = String.fromCharCode(byte);
  return c === "." || c === "\\" ? `\\${c}` : c;
}

/**
 * A plain host name in wire form, uncompressed. Null when `text` is none: an empty or long label, or a character beyond
 * ASCII.
 */
export function dnsEncodeName(text: string): Uint8Array | null {
  const name = text.endsWith(".") ? text.slice(0, -1) : text;
  if (name.length > MAX_NAME - 2) return null;
  if (name === "") return new Uint8Array(1);
  const out = new Uint8Array(name.length + 2);
  let at = 0;
  for (const label of name.split(".")) {
    if (label === "" || label.length > 63) return null;
    out[at++] = label.length;
    for (let i = 0; i < label.length; i++) {
      const c = label.charCodeAt(i);
      if (c <= 0x20 || c >= 0x7f) return null;
      out[at++] = c;
    }
  }
  return out;
}

/**
 * Domain names in wire form, uncompressed, one after the other (RFC 8106 section 5.2, RFC 8415 section 10), as many as
 * `limit` bytes hold. Names that DNS cannot carry are left out.
 */
export function dnsEncodeNames(names: readonly string[], limit: number): Uint8Array {
  const bytes: number[] = [];
  for (const name of names) {
    const encoded = dnsEncodeName(name.toLowerCase());
    if (encoded === null || encoded.length === 1 || bytes.length + encoded.length > limit) continue;
    bytes.push(...encoded);
  }
  return Uint8Array.from(bytes);
}

/** Receives a record: the offset of its name, its fields, and the offset and length of its data. */
export type DnsRecordVisitor = (
  nameAt: number,
  type: number,
  cls: number,
  ttl: number,
  dataAt: number,
  dataLen: number,
) => void;

/** Calls `visit` for each record of a checked message's answer section, up to the first that is broken. */
export function dnsAnswers(buf: Uint8Array, at: number, len: number, visit: DnsRecordVisitor): void {
  const end = at + len;
  const count = get16(buf, at + 6);
  let i = dnsQuestionEnd(buf, at);
  // Each round advances by 11 bytes at least, whatever the header claims.
  for (let k = 0; k < count; k++) {
    const type = dnsSkipName(buf, i, end);
    if (type < 0 || type + 10 > end) return;
    const data = type + 10;
    const length = get16(buf, type + 8);
    if (data + length > end) return;
    // A TTL with its top bit set counts as zero (RFC 2181 section 8).
    visit(i, get16(buf, type), get16(buf, type + 2), Math.max(0, get32(buf, type + 4)), data, length);
    i = data + length;
  }
}

/**
 * The offset of the type field of a checked message's OPT record; -1 if there is none, or broken records stand in front
 * of it.
 */
function optAt(buf: Uint8Array, at: number, len: number): number {
  const end = at + len;
  const before = get16(buf, at + 6) + get16(buf, at + 8);
  const count = before + get16(buf, at + 10);
  let i = dnsQuestionEnd(buf, at);
  // Each round advances by 11 bytes at least, whatever the header claims.
  for (let k = 0; k < count; k++) {
    const type = dnsSkipName(buf, i, end);
    if (type < 0 || type + 10 > end) return -1;
    const next = type + 10 + get16(buf, type + 8);
    if (next > end) return -1;
    if (k >= before && get16(buf, type) === DNS_OPT) return type;
    i = next;
  }
  return -1;
}

/** The largest UDP payload that the sender of a checked query announces (RFC 6891 section 6.2.3): 512 or more. */
export function dnsUdpSize(buf: Uint8Array, at: number, len: number): number {
  const opt = optAt(buf, at, len);
  return opt < 0 ? DNS_UDP_SIZE : Math.max(DNS_UDP_SIZE, get16(buf, opt + 2));
}

/**
 * A checked query written anew: its ID, the flags that concern its answer (RD, AD, CD), its question, and, if it has an
 * OPT record, one of ours with its DO bit. Records, options, other flags and bytes behind the message are left out.
 */
export function dnsAnew(buf: Uint8Array, at: number, len: number): Uint8Array {
  const question = dnsQuestionEnd(buf, at) - at;
  const opt = optAt(buf, at, len);
  const out = new Uint8Array(question + (opt < 0 ? 0 : OPT_LENGTH));
  out.set(buf.subarray(at, at + question));
  put16(out, 2, get16(buf, at + 2) & (RD | AD | CD));
  put32(out, 6, 0);
  put16(out, 10, opt < 0 ? 0 : 1);
  if (opt < 0) return out;
  put16(out, question + 1, DNS_OPT);
  put16(out, question + 3, OUR_UDP_SIZE);
  put16(out, question + 7, get16(buf, opt + 6) & DO);
  return out;
}

/** Puts the question's name in small letters, in place: the choice of large letters could carry a hidden message. */
export function dnsLowerName(buf: Uint8Array, at: number): void {
  for (let i = at + DNS_HEADER; buf[i] !== 0; i += buf[i]! + 1)
    for (let k = i + 1; k <= i + buf[i]!; k++) buf[k] = lower(buf[k]!);
}

/**
 * A checked answer cut down to header, question and OPT, with the TC bit set. A client that sees TC must not use the
 * records (RFC 2181 section 9), so none are kept. At most 282 bytes.
 */
export function dnsTruncate(buf: Uint8Array, at: number, len: number): Uint8Array {
  const question = dnsQuestionEnd(buf, at) - at;
  const opt = optAt(buf, at, len);
  const out = new Uint8Array(question + (opt < 0 ? 0 : OPT_LENGTH));
  out.set(buf.subarray(at, at + question));
  put16(out, 2, get16(buf, at + 2) | TC);
  put32(out, 6, 0);
  put16(out, 10, opt < 0 ? 0 : 1);
  // Type, size, extended rcode, version and flags stay; the options go, so the length becomes 0.
  if (opt >= 0) out.set(buf.subarray(opt, opt + 8), question + 1);
  return out;
}

/**
 * Our own answer to a checked query: its ID and question unchanged, `rcode`, and a record for each entry of `rdata`
 * under the question's name, type and class, good for `ttl` seconds. A query with an OPT record gets one back (RFC 6891
 * section 6.1.1). The caller bounds `rdata` so that the message holds it.
 */
export function dnsReply(
  buf: Uint8Array,
  at: number,
  len: number,
  rcode: number,
  rdata: readonly Uint8Array[] = [],
  ttl = 0,
): Uint8Array {
  const question = dnsQuestionEnd(buf, at) - at;
  const opt = optAt(buf, at, len) >= 0;
  let size = question + (opt ? OPT_LENGTH : 0);
  for (const data of rdata) size += RECORD_HEADER + data.length;
  const out = new Uint8Array(size);
  out.set(buf.subarray(at, at + question));
  put16(out, 2, (get16(buf, at + 2) & (OPCODE | RD | CD)) | QR | RA | rcode);
  put16(out, 6, rdata.length);
  put16(out, 8, 0);
  put16(out, 10, opt ? 1 : 0);
  let i = question;
  for (const data of rdata) {
    put16(out, i, POINTER_TO_QUESTION);
    out.set(out.subarray(question - 4, question), i + 2);
    put32(out, i + 6, ttl);
    put16(out, i + 10, data.length);
    out.set(data, i + RECORD_HEADER);
    i += RECORD_HEADER + data.length;
  }
  if (opt) {
    put16(out, i + 1, DNS_OPT);
    put16(out, i + 3, OUR_UDP_SIZE);
  }
  return out;
}

/**
 * An answer of `dnsReply` with an Extended DNS Error (RFC 8914), which `dig` and resolvers' logs show, if the query had
 * an OPT record; otherwise the answer unchanged. `text` is cut to 200 characters; characters beyond printable ASCII
 * become question marks.
 */
export function dnsExplained(reply: Uint8Array, infoCode: number, text: string): Uint8Array {
  const opt = optAt(reply, 0, reply.length);
  if (opt < 0) return reply;
  const said = text.slice(0, MOST_EXTRA_TEXT).replace(/[^ -~]/g, "?");
  const out = new Uint8Array(reply.length + 6 + said.length);
  out.set(reply);
  const end = reply.length;
  // The OPT record is the last one, and has no options yet.
  put16(out, end - 2, 6 + said.length);
  put16(out, end, OPTION_EDE);
  put16(out, end + 2, 2 + said.length);
  put16(out, end + 4, infoCode);
  for (let i = 0; i < said.length; i++) out[end + 6 + i] = said.charCodeAt(i);
  return out;
}
