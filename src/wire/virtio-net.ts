/**
 * `struct virtio_net_hdr` (virtio 1.2 section 5.1.6), which precedes each frame on a vhost-user ring and on a TAP with
 * IFF_VNET_HDR. It says which checksum has been left undone, and whether the frame is to be cut. Little-endian fields.
 *
 *     0 flags   1 gso_type   2 hdr_len   4 gso_size   6 csum_start   8 csum_offset   (10 num_buffers, on rings)
 *
 * A guest's header is not trusted: `virtioUndone` compares it with the frame's own headers. A frame with the mark of
 * congestion in `gso_type` (VIRTIO_NET_HDR_GSO_ECN, 0x80) counts as another type: no cable offers to take such frames.
 */
import { get16 } from "./bytes.ts";
import { ETH_HEADER, ETH_IPV4, ETH_IPV6 } from "./ethernet.ts";
import { ipv4HeaderLength, ipv4IsFragment, ipv4Proto, ipv4TotalLength, PROTO_TCP, PROTO_UDP } from "./ipv4.ts";
import { IPV6_HEADER, ipv6NextHeader, ipv6PayloadLength } from "./ipv6.ts";
import { newPieces, type Pieces, planPieces, TCP_SUM, UDP_SUM } from "./segmentation.ts";
import { TCP_HEADER, tcpHeaderLength } from "./tcp.ts";
import { UDP_HEADER } from "./udp.ts";

/** The header's length without `num_buffers`. */
export const VIRTIO_NET_HEADER = 10;
const NEEDS_CSUM = 1;
const GSO_TCP4 = 1;
const GSO_TCP6 = 4;
/** The least segment size that is passed on; smaller sizes are raised to it (`core/link`, LEAST_SEGMENT). */
const LEAST = 64;

/** The header asks for something that cannot be done for the frame: the frame is dropped. */
export const VIRTIO_REFUSED = -1;
/**
 * The undone checksum is not the outer TCP or UDP header's (but a tunnel's inner one, or SCTP's). The attachment
 * completes it (`completeSum` in `wire/segmentation`, from `virtioSumStart` to the frame's end) and hands the frame on
 * as complete.
 */
export const VIRTIO_OTHER_SUM = -2;

const pieces: Pieces = newPieces();
/** Results of `locate`: the transport header's offset from the frame's first byte, and its protocol. */
let transport = 0;
let proto = 0;
let v6 = false;

/** Finds the TCP or UDP header whose checksum may be left undone. */
function locate(buf: Uint8Array, at: number, len: number): boolean {
  const ip = at + ETH_HEADER;
  const type = len < ETH_HEADER + IPV6_HEADER ? 0 : get16(buf, ip - 2);
  let length: number;
  if (type === ETH_IPV4 && buf[ip]! >> 4 === 4 && !ipv4IsFragment(buf, ip)) {
    v6 = false;
    proto = ipv4Proto(buf, ip);
    transport = ETH_HEADER + ipv4HeaderLength(buf, ip);
    length = ETH_HEADER + ipv4TotalLength(buf, ip) - transport;
  } else if (type === ETH_IPV6 && (ipv6NextHeader(buf, ip) === PROTO_TCP || ipv6NextHeader(buf, ip) === PROTO_UDP)) {
    v6 = true;
    proto = ipv6NextHeader(buf, ip);
    transport = ETH_HEADER + IPV6_HEADER;
    length = ipv6PayloadLength(buf, ip);
  } else {
    // Tags, extension headers, or a frame too short for anything but IPv4 and UDP.
    if (!planPieces(buf, at, len, 0, pieces)) return false;
    ({ v6, transport } = pieces);
    proto = pieces.tcp ? PROTO_TCP : PROTO_UDP;
    return true;
  }
  if (proto !== PROTO_TCP && proto !== PROTO_UDP) return false;
  return length >= (proto === PROTO_TCP ? TCP_HEADER : UDP_HEADER) && transport + length <= len;
}

/**
 * What is missing from the frame of `len` bytes at `at` (an `undone` value of `core/link`), according to the header at
 * `header` in `hdr`; `VIRTIO_REFUSED` or `VIRTIO_OTHER_SUM` if no such value fits.
 */
export function virtioUndone(hdr: Uint8Array, header: number, buf: Uint8Array, at: number, len: number): number {
  const gso = hdr[header + 1]!;
  if ((hdr[header]! & NEEDS_CSUM) === 0) return gso === 0 ? 0 : VIRTIO_REFUSED;
  const start = little16(hdr, header + 6);
  const offset = little16(hdr, header + 8);
  if (start < ETH_HEADER || start + offset + 2 > len) return VIRTIO_REFUSED;
  const found = locate(buf, at, len) && start === transport && offset === (proto === PROTO_TCP ? TCP_SUM : UDP_SUM);
  if (gso === 0) return found ? 1 : VIRTIO_OTHER_SUM;
  const size = little16(hdr, header + 4);
  if (!found || proto !== PROTO_TCP || gso !== (v6 ? GSO_TCP6 : GSO_TCP4) || size === 0) return VIRTIO_REFUSED;
  return Math.max(size, LEAST);
}

/**
 * Offsets from the frame's first byte: the first byte that the undone checksum covers, and below the checksum's own.
 */
export function virtioSumStart(hdr: Uint8Array, header: number): number {
  return little16(hdr, header + 6);
}

export function virtioSumField(hdr: Uint8Array, header: number): number {
  return little16(hdr, header + 6) + little16(hdr, header + 8);
}

/** Writes the header for a frame at `at` with `undone` missing from it. Does not write `num_buffers`. */
export function virtioWrite(
  hdr: Uint8Array,
  header: number,
  undone: number,
  buf: Uint8Array,
  at: number,
  len: number,
): void {
  for (let i = 0; i < VIRTIO_NET_HEADER; i++) hdr[header + i] = 0;
  if (undone === 0 || !locate(buf, at, len)) return;
  hdr[header] = NEEDS_CSUM;
  putLittle16(hdr, header + 6, transport);
  putLittle16(hdr, header + 8, proto === PROTO_TCP ? TCP_SUM : UDP_SUM);
  if (undone < LEAST) return;
  hdr[header + 1] = v6 ? GSO_TCP6 : GSO_TCP4;
  putLittle16(hdr, header + 2, transport + tcpHeaderLength(buf, at + transport));
  putLittle16(hdr, header + 4, undone);
}

function little16(buf: Uint8Array, at: number): number {
  return buf[at]! | (buf[at + 1]! << 8);
}

function putLittle16(buf: Uint8Array, at: number, value: number): void {
  buf[at] = value & 0xff;
  buf[at + 1] = value >> 8;
}
