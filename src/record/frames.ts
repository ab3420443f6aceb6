/** Finds how much of a frame to record without its payload, and makes such a frame whole again with other bytes. */
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

/** Ports of our own services, which read their payload: DNS, DHCP, TFTP, DHCPv6. */
const SERVICES: ReadonlySet<number> = new Set([53, 67, 68, 69, 546, 547]);
const LAST_SERVICE = 547;
/**
 * A datagram with at most this many bytes of payload is kept whole: TFTP's acknowledgements are so short, and hold no
 * secret.
 */
const SMALL_DATAGRAM = 8;
/** ICMP's errors, which quote a packet with part of its payload. */
const ERRORS: ReadonlySet<number> = new Set([ICMP_UNREACHABLE, 4, 5, ICMP_TIME_EXCEEDED, ICMP_PARAMETER_PROBLEM]);
/**
 * How many bytes of a quoted packet's transport header are kept: the ports, and TCP's sequence number or UDP's length.
 * UDP's checksum, which follows, covers payload.
 */
const QUOTED_TCP = 8;
const QUOTED_UDP = 6;

/** The state of a recorded frame's checksum: unknown, right, or right unless the network drops the frame for it. */
export const UNKNOWN = 0;
export const RIGHT = 1;
export const AS_FOUND = 2;
/** The drop reasons for a wrong checksum. */
export const SUM_DROPS: ReadonlySet<string> = new Set(["tcp-checksum", "udp-malformed", "icmp-checksum"]);

const facts: FrameFacts = frameFacts();
const quoted: Ipv6Walk = newIpv6Walk();

/**
 * Which bytes of a frame are headers, and which bytes the checksum behind IP's headers covers (TCP's, UDP's, or
 * ICMP's). There is one object; `readLayout` fills it, and it is read before the next frame.
 */
const layout = {
  /** Bytes up to the payload; all bytes of the frame if none are left out. */
  headers: 0,
  /**
   * The offset and length of the message behind IP's headers. The length is -1 unless the frame holds the whole
   * message, with a checksum.
   */
  at: 0,
  size: -1,
  /** The offset of the message's checksum; -1 if there is none, or the frame ends before it. */
  field: -1,
  /** Whether the message is TCP's or UDP's. */
  ports: false,
};

/**
 * Fills `layout` for a frame of bulk data: one TCP segment over IP without options, fragments or extension headers.
 * False if the frame is anything else. Nearly every frame is such a segment, and the general walk costs as much as the
 * rest of the recorder.
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
    // Later fragments have no transport header.
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

/** Whether `facts` describe an ICMP message within one packet. */
function isWholeIcmp(end: number): boolean {
  const { buf, proto, payload, ethType, eth } = facts;
  if (payload < 0 || payload + ICMP_HEADER > end) return false;
  if (ethType === ETH_IPV4) return proto === PROTO_ICMP && (get16(buf, eth + ETH_HEADER + 6) & 0x3fff) === 0;
  // Behind extension headers the message may be a fragment.
  return ethType === ETH_IPV6 && proto === PROTO_ICMP6 && payload === eth + ETH_HEADER + IPV6_HEADER;
}

function isService(port: number): boolean {
  return port <= LAST_SERVICE && SERVICES.has(port);
}

function isError(buf: Uint8Array): boolean {
  const type = buf[facts.payload]!;
  return facts.proto === PROTO_ICMP ? ERRORS.has(type) : type < ICMP6_ECHO;
}

/** The end of the headers of the packet that an ICMP error quotes. */
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
 * How many bytes of a guest's frame to record: those up to its payload. All bytes if our own services read the payload,
 * or if the frame holds no TCP, UDP or ICMP error.
 */
export function keptLength(buf: Uint8Array, at: number, len: number): number {
  if (readSegment(buf, at, len)) {
    const ports = layout.at;
    return isService(get16(buf, ports)) || isService(get16(buf, ports + 2)) ? len : layout.headers;
  }
  readLayout(buf, at, len);
  return isService(facts.srcPort) || isService(facts.dstPort) ? len : layout.headers;
}

/**
 * How many bytes a frame has up to its payload, for our own services as well; all bytes if it holds no TCP, UDP or ICMP
 * error.
 */
export function headersLength(buf: Uint8Array, at: number, len: number): number {
  if (!readSegment(buf, at, len)) readLayout(buf, at, len);
  return layout.headers;
}

/**
 * Whether the last frame that `keptLength` looked at has a whole message with a checksum. The network verifies it
 * anyway, so the recorder, which is to cost little with bulk data, need not. `undone` frames have no checksum, except
 * ICMP's.
 */
export function isSummed(undone: boolean): boolean {
  return layout.size >= 0 && (!undone || !layout.ports);
}

/** The checksum's sum over the message in `layout` and its pseudo-header. */
function messageSum(buf: Uint8Array): number {
  const { proto, ethType, src } = facts;
  const { at, size } = layout;
  const pseudo = proto === PROTO_ICMP ? 0 : sum(buf, src, ethType === ETH_IPV4 ? 8 : 32) + proto + size;
  return pseudo + sum(buf, at, size);
}

/** Whether a frame has a right checksum behind IP's headers. */
export function isSealed(buf: Uint8Array, at: number, len: number): boolean {
  readLayout(buf, at, len);
  return layout.size >= 0 && valid(messageSum(buf));
}

/** Makes a frame's checksum behind IP's headers right, or wrong if `right` is false. Does nothing if there is none. */
export function seal(buf: Uint8Array, at: number, len: number, right = true): void {
  readLayout(buf, at, len);
  const { field, size } = layout;
  if (size < 0) return;
  put16(buf, field, 0xffff);
  // The field's own 0xffff counts as zero in ones' complement.
  const sealed = finish(messageSum(buf));
  const sent = facts.proto === PROTO_UDP && sealed === 0 ? 0xffff : sealed;
  // Flipping one bit makes the checksum wrong. It is not the lowest bit where that would give 0, which means no
  // checksum in UDP, nor in 0xffff, another form of 0.
  put16(buf, field, right ? sent : sent === 1 || sent === 0xffff ? 0x0100 ^ sent : sent ^ 1);
}

/**
 * Removes the checksum of a first fragment, because it covers bytes of later fragments that were also left out. UDP
 * over IPv4 may lack a checksum. UDP over IPv6 may not (RFC 8200 section 8.1), and the replay finds the datagram
 * malformed.
 */
export function unseal(buf: Uint8Array, at: number, len: number): void {
  readFacts(facts, buf, at, len);
  const fragment = facts.ethType === ETH_IPV4 && (get16(buf, at + ETH_HEADER + 6) & 0x2000) !== 0;
  if (fragment && facts.proto === PROTO_UDP && facts.srcPort >= 0 && facts.payload + UDP_HEADER <= at + len)
    put16(buf, facts.payload + 6, 0);
}

/**
 * The offset of the checksum behind IP's headers in `head`, the first bytes of a frame; -1 for none. It is not
 * compared, because it covers payload that was left out.
 */
export function checksumField(head: Uint8Array): number {
  readLayout(head, 0, head.length);
  // An ICMP message that is no error is recorded whole.
  return facts.srcPort < 0 && !isError(head) ? -1 : layout.field;
}

/** The offset of the checksum of TCP, UDP or ICMP in a frame; -1 for none. */
export function messageField(frame: Uint8Array): number {
  readLayout(frame, 0, frame.length);
  return layout.field;
}

/** Bytes that stand for payload left out: the same for the same seed and place, and unlike any text. */
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
