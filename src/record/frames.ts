/** A frame without its payload, and a frame made whole again with bytes that stand for it. */
import { get16, put16 } from "../wire/bytes.ts";
import { finish, sum, valid } from "../wire/checksum.ts";
import { ETH_HEADER, ETH_IPV4, ETH_IPV6 } from "../wire/ethernet.ts";
import { type FrameFacts, frameFacts, readFacts } from "../wire/frame-facts.ts";
import { ICMP_HEADER, ICMP_PARAMETER_PROBLEM, ICMP_TIME_EXCEEDED, ICMP_UNREACHABLE } from "../wire/icmp.ts";
import { ICMP6_ECHO } from "../wire/icmp6.ts";
import { IPV4_HEADER, PROTO_ICMP, PROTO_TCP, PROTO_UDP } from "../wire/ipv4.ts";
import { IPV6_HEADER, PROTO_ICMP6 } from "../wire/ipv6.ts";
import { type Ipv6Walk, ipv6Look, newIpv6Walk } from "../wire/ipv6-extensions.ts";
import { TCP_HEADER, tcpHeaderLength } from "../wire/tcp.ts";
import { UDP_HEADER, udpLength } from "../wire/udp.ts";

/** What our own services are asked is theirs to read: DNS, DHCP, TFTP, DHCPv6. */
const SERVICES: ReadonlySet<number> = new Set([53, 67, 68, 69, 546, 547]);
const LAST_SERVICE = 547;
/** A datagram of no more than that is kept whole: TFTP's acknowledgements are, and hold no secret. */
const SMALL_DATAGRAM = 8;
/** ICMP's errors: they quote a packet, and payload with it. */
const ERRORS: ReadonlySet<number> = new Set([ICMP_UNREACHABLE, 4, 5, ICMP_TIME_EXCEEDED, ICMP_PARAMETER_PROBLEM]);
/** Of a quoted packet's transport header: ports and TCP's number. UDP's checksum, which is over its payload, follows. */
const QUOTED_TCP = 8;
const QUOTED_UDP = 6;

/** How a recorded frame's checksum was: anything, right, or as the network finds it, which drops what is wrong. */
export const UNKNOWN = 0;
export const RIGHT = 1;
export const AS_FOUND = 2;
/** What a wrong checksum is dropped for. */
export const SUM_DROPS: ReadonlySet<string> = new Set(["tcp-checksum", "udp-malformed", "icmp-checksum"]);

const facts: FrameFacts = frameFacts();
const quoted: Ipv6Walk = newIpv6Walk();

/**
 * What of a frame is headers, and what the checksum behind IP's headers is over: TCP's, UDP's, or ICMP's. One
 * record, filled by `readLayout` and read before the next frame is looked at.
 */
const layout = {
  /** Bytes up to the payload; all of them where nothing is left out. */
  headers: 0,
  /** Where the message behind IP's headers begins, and its bytes: -1 unless all of them are in the frame, with a checksum. */
  at: 0,
  size: -1,
  /** Where its checksum stands; -1 where there is none, or where bytes end before. */
  field: -1,
  /** It is TCP's or UDP's. */
  ports: false,
};

/**
 * Fills `layout` from bulk data's frame, one TCP segment over IP without options, fragments or further headers; false where
 * the frame is anything else. Nearly every frame is such a one, and the walk over the others costs as much as the rest of the
 * recorder.
 */
function readSegment(buf: Uint8Array, at: number, len: number): boolean {
  const packet = at + ETH_HEADER;
  if (len < ETH_HEADER + IPV4_HEADER + TCP_HEADER) return false;
  let start = 0;
  let size = 0;
  if (buf[at + 12] === 0x08 && buf[at + 13] === 0x00) {
    if (buf[packet] !== 0x45 || buf[packet + 9] !== PROTO_TCP) return false;
    if ((buf[packet + 6]! & 0x3f) !== 0 || buf[packet + 7] !== 0) return false;
    start = ETH_HEADER + IPV4_HEADER;
    size = get16(buf, packet + 2) - IPV4_HEADER;
  } else if (buf[at + 12] === 0x86 && buf[at + 13] === 0xdd) {
    if (len < ETH_HEADER + IPV6_HEADER + TCP_HEADER || buf[packet + 6] !== PROTO_TCP) return false;
    start = ETH_HEADER + IPV6_HEADER;
    size = get16(buf, packet + 4);
  } else return false;
  if (size < TCP_HEADER || start + size > len) return false;
  layout.at = at + start;
  layout.size = size;
  layout.field = at + start + 16;
  layout.headers = Math.min(len, start + tcpHeaderLength(buf, at + start));
  layout.ports = true;
  return true;
}

function readLayout(buf: Uint8Array, at: number, len: number): void {
  readFacts(facts, buf, at, len);
  layout.ports = facts.srcPort >= 0;
  const { proto, payload, ethType } = facts;
  layout.headers = len;
  layout.at = payload;
  layout.size = layout.field = -1;
  const end = at + len;
  const start = payload - at;
  if (proto === PROTO_TCP || proto === PROTO_UDP) {
    // A fragment that is not the first has no header of its own.
    if (facts.srcPort < 0) layout.headers = Math.min(start, len);
    else if (proto === PROTO_UDP) {
      if (len - start > UDP_HEADER + SMALL_DATAGRAM) layout.headers = start + UDP_HEADER;
    } else if (start + TCP_HEADER <= len) layout.headers = Math.min(len, start + tcpHeaderLength(buf, payload));
    if (facts.srcPort < 0) return;
  } else if (!isWholeIcmp(end)) return;
  else if (isError(buf)) layout.headers = Math.min(len, quotedEnd(buf, end) - at);
  const field = payload + (proto === PROTO_TCP ? 16 : proto === PROTO_UDP ? 6 : 2);
  if (field + 2 > end) return;
  layout.field = field;
  const packet = at + ETH_HEADER;
  let size = -1;
  if (ethType === ETH_IPV6) size = get16(buf, packet + 4) + IPV6_HEADER - (payload - packet);
  else if ((get16(buf, packet + 6) & 0x2000) === 0) size = get16(buf, packet + 2) - (payload - packet);
  if (size < (proto === PROTO_TCP ? TCP_HEADER : UDP_HEADER) || payload + size > end) return;
  if (proto === PROTO_UDP && (udpLength(buf, payload) !== size || get16(buf, field) === 0)) return;
  layout.size = size;
}

/** Whether `facts` are of an ICMP message that is in one packet. */
function isWholeIcmp(end: number): boolean {
  const { buf, proto, payload, ethType, eth } = facts;
  if (payload < 0 || payload + ICMP_HEADER > end) return false;
  if (ethType === ETH_IPV4) return proto === PROTO_ICMP && (get16(buf, eth + ETH_HEADER + 6) & 0x3fff) === 0;
  // Behind other headers it may be a fragment.
  return ethType === ETH_IPV6 && proto === PROTO_ICMP6 && payload === eth + ETH_HEADER + IPV6_HEADER;
}

function isService(port: number): boolean {
  return port <= LAST_SERVICE && SERVICES.has(port);
}

function isError(buf: Uint8Array): boolean {
  const type = buf[facts.payload]!;
  return facts.proto === PROTO_ICMP ? ERRORS.has(type) : type < ICMP6_ECHO;
}

/** Where the headers of the packet end that an ICMP error quotes. */
function quotedEnd(buf: Uint8Array, end: number): number {
  const at = facts.payload + ICMP_HEADER;
  if (facts.ethType === ETH_IPV4) {
    if (at + 20 > end) return end;
    return at + (buf[at]! & 15) * 4 + (buf[at + 9] === PROTO_UDP ? QUOTED_UDP : QUOTED_TCP);
  }
  if (at + IPV6_HEADER > end) return end;
  ipv6Look(buf, at, end, quoted);
  return quoted.payloadAt + (quoted.proto === PROTO_UDP ? QUOTED_UDP : QUOTED_TCP);
}

/**
 * Bytes of a guest's frame up to its payload. All of them where our own services read the payload, or where there is no
 * TCP, UDP or ICMP error.
 */
export function keptLength(buf: Uint8Array, at: number, len: number): number {
  if (readSegment(buf, at, len)) {
    const ports = layout.at;
    return isService(get16(buf, ports)) || isService(get16(buf, ports + 2)) ? len : layout.headers;
  }
  readLayout(buf, at, len);
  return isService(facts.srcPort) || isService(facts.dstPort) ? len : layout.headers;
}

/** Bytes of a frame up to its payload, also of our own services'; all of them where there is no TCP, UDP or ICMP error. */
export function headersLength(buf: Uint8Array, at: number, len: number): number {
  if (!readSegment(buf, at, len)) readLayout(buf, at, len);
  return layout.headers;
}

/**
 * Whether the frame that `keptLength` was asked about last has a whole message with a checksum, which the network sums: so
 * the recorder, whom bulk data should cost little, need not. `undone` frames have none, but for ICMP's.
 */
export function isSummed(undone: boolean): boolean {
  return layout.size >= 0 && (!undone || !layout.ports);
}

/** The sum of `layout`'s message and its pseudo-header. */
function messageSum(buf: Uint8Array): number {
  const { proto, ethType, src } = facts;
  const { at, size } = layout;
  const pseudo = proto === PROTO_ICMP ? 0 : sum(buf, src, ethType === ETH_IPV4 ? 8 : 32) + proto + size;
  return pseudo + sum(buf, at, size);
}

/** Whether a frame's checksum behind IP's headers is there and right. */
export function isSealed(buf: Uint8Array, at: number, len: number): boolean {
  readLayout(buf, at, len);
  return layout.size >= 0 && valid(messageSum(buf));
}

/** Makes a frame's checksum behind IP's headers right, or, if not `right`, wrong. Where there is none nothing happens. */
export function seal(buf: Uint8Array, at: number, len: number, right = true): void {
  readLayout(buf, at, len);
  const { field, size } = layout;
  if (size < 0) return;
  put16(buf, field, 0xffff);
  // The field's own 0xffff does not count: in ones' complement it is zero.
  const sealed = finish(messageSum(buf));
  const sent = facts.proto === PROTO_UDP && sealed === 0 ? 0xffff : sealed;
  // One bit makes it wrong; in UDP nothing but zero means none, and 0xffff is zero's other form.
  put16(buf, field, right ? sent : sent === 1 || sent === 0xffff ? 0x0100 ^ sent : sent ^ 1);
}

/**
 * A first fragment's checksum is over what the others hold, which was left out of them, too: over IPv4 UDP may say that there
 * is none. Over IPv6 it may not (RFC 8200 section 8.1), and the replay finds the datagram malformed.
 */
export function unseal(buf: Uint8Array, at: number, len: number): void {
  readFacts(facts, buf, at, len);
  const fragment = facts.ethType === ETH_IPV4 && (get16(buf, at + ETH_HEADER + 6) & 0x2000) !== 0;
  if (fragment && facts.proto === PROTO_UDP && facts.srcPort >= 0 && facts.payload + UDP_HEADER <= at + len)
    put16(buf, facts.payload + 6, 0);
}

/**
 * Where the checksum behind IP's headers stands in `head`, the first bytes of a frame, so that it can be passed over: it is over
 * payload that was left out. -1 for nowhere.
 */
export function checksumField(head: Uint8Array): number {
  readLayout(head, 0, head.length);
  // An ICMP message that is no error is there whole.
  return facts.srcPort < 0 && !isError(head) ? -1 : layout.field;
}

/** Where the checksum of TCP, UDP or ICMP stands in a frame; -1 for nowhere. */
export function messageField(frame: Uint8Array): number {
  readLayout(frame, 0, frame.length);
  return layout.field;
}

/** The same bytes for the same seed and place, unlike any text. */
export function standIn(seed: number, place: number, length: number): Uint8Array {
  const bytes = new Uint8Array(length);
  let state = (seed ^ Math.imul(place, 0x9e3779b1)) | 1;
  for (let i = 0; i < length; i++) {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    bytes[i] = state | 0x80;
  }
  return bytes;
}
