/**
 * Finishes frames that a sender has left undone: fills in checksums and cuts long TCP segments, as a kernel does in
 * software for a network card that cannot (Linux `net/core/gso.c`, `net/ipv4/tcp_offload.c`).
 *
 * Theory of operation. `planPieces` reads the headers of an unfinished frame once and says how many frames it makes;
 * `pieceLength` and `writePiece` make the frames (pieces) one by one, in memory of the caller's choice. Every piece
 * gets a copy of all headers; then these fields are set for each piece:
 *
 * - IPv4's total length, identification (counted up, with DF set too) and header checksum; IPv6's payload length;
 * - TCP's sequence number; FIN and PSH on the last piece only, CWR on the first only (RFC 3168 section 6.1.2);
 * - the checksum. The field of an unfinished frame holds the sum of the pseudo-header with the whole length. A piece's
 *   sum is that sum less the whole length plus the piece's own. Addresses need not be read: with a routing header, the
 *   destination that counts stands elsewhere than in the IPv6 header, and the sender has summed the right one.
 *
 * Frames may carry 802.1Q tags, since a guest's card offloads tagged frames like others. Fragments are never undone.
 */
import { get16, put16, put32 } from "./bytes.ts";
import { copySum, finish, sum } from "./checksum.ts";
import { ETH_HEADER, ETH_IPV4, ETH_IPV6 } from "./ethernet.ts";
import {
  ipv4Check,
  ipv4HeaderLength,
  ipv4Id,
  ipv4IsFragment,
  ipv4Proto,
  ipv4TotalLength,
  PROTO_TCP,
  PROTO_UDP,
} from "./ipv4.ts";
import { IPV6_HEADER, ipv6Check } from "./ipv6.ts";
import { type Ipv6Walk, ipv6Walk, newIpv6Walk, WALK_UPPER } from "./ipv6-extensions.ts";
import { FIN, PSH, tcpHeaderLength, tcpSeq, tcpShape } from "./tcp.ts";
import { UDP_HEADER, udpLength } from "./udp.ts";

const VLAN_TAG = 4;
const MOST_TAGS = 2;
const TYPE_8021Q = 0x8100;
const TYPE_8021AD = 0x88a8;
/** The offset of the checksum in a TCP and in a UDP header. */
export const TCP_SUM = 16;
export const UDP_SUM = 6;
const TCP_FLAGS = 13;
const CWR = 128;

/** An unfinished frame's headers and pieces. One object is made and filled again and again. */
export interface Pieces {
  count: number;
  /** Payload bytes of each piece; the last one may have fewer. */
  size: number;
  /** Offsets from the frame's first byte: of the IP header, the transport header, the payload, and the packet's end. */
  ip: number;
  transport: number;
  payload: number;
  end: number;
  tcp: boolean;
  v6: boolean;
}

export function newPieces(): Pieces {
  return { count: 0, size: 0, ip: 0, transport: 0, payload: 0, end: 0, tcp: false, v6: false };
}

const walk: Ipv6Walk = newIpv6Walk();

/**
 * Reads the unfinished frame of `len` bytes at `at`, to be cut into TCP payloads of `size` bytes, or to stay whole when
 * `size` is 0. False when the frame is not an unfragmented TCP or UDP packet, or is to be cut and is not TCP.
 */
export function planPieces(buf: Uint8Array, at: number, len: number, size: number, p: Pieces): boolean {
  let ip = at + ETH_HEADER;
  const end = at + len;
  if (ip > end) return false;
  let type = get16(buf, ip - 2);
  for (let tags = 0; (type === TYPE_8021Q || type === TYPE_8021AD) && tags < MOST_TAGS; tags++) {
    ip += VLAN_TAG;
    if (ip > end) return false;
    type = get16(buf, ip - 2);
  }
  let proto: number;
  let transport: number;
  let length: number;
  if (type === ETH_IPV4) {
    if (!ipv4Check(buf, ip, end - ip) || ipv4IsFragment(buf, ip)) return false;
    proto = ipv4Proto(buf, ip);
    transport = ip + ipv4HeaderLength(buf, ip);
    length = ipv4TotalLength(buf, ip) - (transport - ip);
  } else if (type === ETH_IPV6) {
    if (!ipv6Check(buf, ip, end - ip) || ipv6Walk(buf, ip, walk) !== WALK_UPPER || walk.fragmentAt >= 0) return false;
    proto = walk.proto;
    transport = walk.payloadAt;
    length = walk.payloadLen;
  } else return false;
  let header: number;
  if (proto === PROTO_TCP && tcpShape(buf, transport, length)) header = tcpHeaderLength(buf, transport);
  else if (proto === PROTO_UDP && size === 0 && length >= UDP_HEADER && udpLength(buf, transport) === length)
    header = UDP_HEADER;
  else return false;
  p.v6 = type === ETH_IPV6;
  p.tcp = proto === PROTO_TCP;
  p.ip = ip - at;
  p.transport = transport - at;
  p.payload = p.transport + header;
  p.end = p.transport + length;
  const payload = length - header;
  p.size = size === 0 ? payload : size;
  p.count = payload <= p.size ? 1 : Math.ceil(payload / p.size);
  return true;
}

/**
 * Whether CWR is set on the frame at `at`. Only the first of its pieces may have CWR, which some guests do not know.
 */
export function piecesReduced(buf: Uint8Array, at: number, p: Pieces): boolean {
  return p.tcp && (buf[at + p.transport + TCP_FLAGS]! & CWR) !== 0;
}

/** The length of piece `i` in bytes, its Ethernet header included. */
export function pieceLength(p: Pieces, i: number): number {
  return p.payload + Math.min(p.size, p.end - p.payload - i * p.size);
}

/** Writes piece `i` of the frame at `at`, finished, to `o` in `out`, which does not overlap the frame. */
export function writePiece(buf: Uint8Array, at: number, p: Pieces, i: number, out: Uint8Array, o: number): void {
  for (let k = 0; k < p.payload; k++) out[o + k] = buf[at + k]!;
  const from = i * p.size;
  const payload = pieceLength(p, i) - p.payload;
  const header = p.payload - p.transport;
  const ip = o + p.ip;
  const transport = o + p.transport;
  if (p.v6) put16(out, ip + 4, p.payload - p.ip - IPV6_HEADER + payload);
  else {
    put16(out, ip + 2, p.payload - p.ip + payload);
    put16(out, ip + 4, (ipv4Id(out, ip) + i) & 0xffff);
    put16(out, ip + 10, 0);
    put16(out, ip + 10, finish(sum(out, ip, p.transport - p.ip)));
  }
  const field = transport + (p.tcp ? TCP_SUM : UDP_SUM);
  if (p.tcp) {
    put32(out, transport + 4, (tcpSeq(buf, at + p.transport) + from) | 0);
    if (i < p.count - 1) out[transport + TCP_FLAGS]! &= ~(FIN | PSH);
    if (i > 0) out[transport + TCP_FLAGS]! &= ~CWR;
  }
  const data = payload === 0 ? 0 : copySum(buf, at + p.payload + from, payload, out, o + p.payload);
  // 65535 counts as zero in a ones' complement sum (RFC 1071); adding it keeps this sum above zero.
  const pseudo = get16(buf, at + (field - o)) + 0xffff - (p.end - p.transport) + header + payload;
  put16(out, field, 0);
  const value = finish(pseudo + sum(out, transport, header) + data);
  put16(out, field, value === 0 && !p.tcp ? 0xffff : value);
}

/**
 * Completes a checksum of any protocol in place. It covers the bytes from `start` to `end` and stands at `field`, which
 * already holds the sum of everything else that it covers.
 */
export function completeSum(buf: Uint8Array, start: number, end: number, field: number): void {
  put16(buf, field, finish(sum(buf, start, end - start)) || 0xffff);
}
