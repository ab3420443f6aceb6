/** A frame without its payload, and a frame made whole again with bytes that stand for it. */
import { get16, put16 } from "../wire/bytes.ts";
import { finish, sum, valid } from "../wire/checksum.ts";
import { ETH_HEADER, ETH_IPV4, ETH_IPV6 } from "../wire/ethernet.ts";
import { type FrameFacts, frameFacts, readFacts } from "../wire/frame-facts.ts";
import { PROTO_TCP, PROTO_UDP } from "../wire/ipv4.ts";
import { IPV6_HEADER } from "../wire/ipv6.ts";
import { TCP_HEADER, tcpHeaderLength } from "../wire/tcp.ts";
import { UDP_HEADER, udpLength } from "../wire/udp.ts";

/** What our own services are asked is theirs to read: DNS, DHCP, TFTP, DHCPv6. */
const SERVICES: ReadonlySet<number> = new Set([53, 67, 68, 69, 546, 547]);
/** A datagram of no more than that is kept whole: TFTP's acknowledgements are, and hold no secret. */
const SMALL_DATAGRAM = 8;

const facts: FrameFacts = frameFacts();

/**
 * Bytes of a guest's frame up to its payload. All of them where our own services read the payload, or where there is no
 * TCP or UDP.
 */
export function keptLength(buf: Uint8Array, at: number, len: number): number {
  readFacts(facts, buf, at, len);
  if (SERVICES.has(facts.srcPort) || SERVICES.has(facts.dstPort)) return len;
  const headers = headersLength(buf, at, len);
  return facts.proto === PROTO_UDP && facts.srcPort >= 0 && len - headers <= SMALL_DATAGRAM ? len : headers;
}

/** Bytes of a frame up to its TCP or UDP payload; all of them where there is neither. */
export function headersLength(buf: Uint8Array, at: number, len: number): number {
  readFacts(facts, buf, at, len);
  if (facts.proto !== PROTO_TCP && facts.proto !== PROTO_UDP) return len;
  const start = facts.payload - at;
  // A fragment that is not the first has no header of its own.
  if (facts.srcPort < 0) return Math.min(start, len);
  if (facts.proto === PROTO_UDP)
    return len - start <= UDP_HEADER + SMALL_DATAGRAM ? len : Math.min(len, start + UDP_HEADER);
  return start + TCP_HEADER > len ? len : Math.min(len, start + tcpHeaderLength(buf, facts.payload));
}

/** The sum of the transport's bytes and pseudo-header; -1 where there is no whole segment or datagram with a checksum. */
function transportSum(buf: Uint8Array, at: number, len: number): number {
  readFacts(facts, buf, at, len);
  const { proto, payload, src, ethType } = facts;
  if ((proto !== PROTO_TCP && proto !== PROTO_UDP) || facts.srcPort < 0) return -1;
  const packet = at + ETH_HEADER;
  let size = -1;
  if (ethType === ETH_IPV4 && (get16(buf, packet + 6) & 0x2000) === 0)
    size = get16(buf, packet + 2) - (payload - packet);
  else if (ethType === ETH_IPV6) size = get16(buf, packet + 4) + IPV6_HEADER - (payload - packet);
  if (size < UDP_HEADER || payload + size > at + len) return -1;
  if (proto === PROTO_TCP && size < TCP_HEADER) return -1;
  if (proto === PROTO_UDP && (udpLength(buf, payload) !== size || get16(buf, payload + 6) === 0)) return -1;
  const addresses = ethType === ETH_IPV4 ? 8 : 32;
  return sum(buf, src, addresses) + proto + size + sum(buf, payload, size);
}

/** Whether a frame's transport checksum is there and right. */
export function isSealed(buf: Uint8Array, at: number, len: number): boolean {
  const total = transportSum(buf, at, len);
  return total >= 0 && valid(total);
}

/** Makes a frame's transport checksum right. */
export function seal(buf: Uint8Array, at: number, len: number): void {
  readFacts(facts, buf, at, len);
  const field = facts.payload + (facts.proto === PROTO_TCP ? 16 : 6);
  put16(buf, field, 0xffff);
  const total = transportSum(buf, at, len);
  if (total < 0) return;
  // The field's own 0xffff does not count: in ones' complement it is zero.
  const sealed = finish(total);
  put16(buf, field, facts.proto === PROTO_UDP && sealed === 0 ? 0xffff : sealed);
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

/** Where the transport checksum stands in `head`, the first bytes of a frame, so that it can be passed over; -1 for nowhere. */
export function checksumField(head: Uint8Array): number {
  readFacts(facts, head, 0, head.length);
  if (facts.srcPort < 0) return -1;
  const field = facts.payload + (facts.proto === PROTO_TCP ? 16 : 6);
  return field + 2 <= head.length ? field : -1;
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
