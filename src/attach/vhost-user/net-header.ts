/**
 * `struct virtio_net_hdr` (virtio 1.2, 5.1.6) and what it leaves undone in a frame, as `core/link` counts it. Little-endian: flags,
 * gso_type (8 bits each), hdr_len, gso_size, csum_start, csum_offset, and num_buffers where there is one (16 bits each).
 */
import { COMPLETE, LEAST_SEGMENT, SUM_UNDONE } from "../../core/link.ts";
import { completeSum, newPieces, type Pieces, planPieces, TCP_SUM, UDP_SUM } from "../../wire/segmentation.ts";
import type { Features } from "./features.ts";

const NEEDS_CSUM = 1;
const GSO_TCPV4 = 1;
const GSO_TCPV6 = 4;

/** The header says what cannot be, or leaves undone what the driver was not allowed to. */
export const FALSE_HEADER = -1;

/** What the frame at hand is made of. */
const pieces: Pieces = newPieces();

/**
 * What is undone in a frame of the guest's, whose header stands at `at` and which itself stands at `frame` with `len`
 * bytes, or `FALSE_HEADER`. A checksum that is undone in something else than TCP or UDP over IP is done here. `hdr_len` is a
 * hint that nobody needs.
 */
export function undoneOf(features: Features, bytes: Uint8Array, at: number, frame: number, len: number): number {
  const needsSum = (bytes[at]! & NEEDS_CSUM) !== 0;
  const gso = bytes[at + 1]!;
  if (!needsSum) return gso === 0 ? COMPLETE : FALSE_HEADER;
  const start = bytes[at + 6]! | (bytes[at + 7]! << 8);
  const offset = bytes[at + 8]! | (bytes[at + 9]! << 8);
  if (!features.csum || start + offset + 2 > len) return FALSE_HEADER;
  if (gso === 0) {
    if (isHeadersOwn(bytes, frame, len, 0, start, offset)) return SUM_UNDONE;
    completeSum(bytes, frame + start, frame + len, frame + start + offset);
    return COMPLETE;
  }
  const size = bytes[at + 4]! | (bytes[at + 5]! << 8);
  if (size === 0 || !isHeadersOwn(bytes, frame, len, size, start, offset) || !pieces.tcp) return FALSE_HEADER;
  if (pieces.v6 ? gso !== GSO_TCPV6 || !features.hostTso6 : gso !== GSO_TCPV4 || !features.hostTso4)
    return FALSE_HEADER;
  return Math.max(size, LEAST_SEGMENT);
}

/** Whether it is a frame of TCP or UDP over IP whose checksum is where the header says. Leaves what it is in `pieces`. */
function isHeadersOwn(
  bytes: Uint8Array,
  frame: number,
  len: number,
  size: number,
  start: number,
  offset: number,
): boolean {
  return (
    planPieces(bytes, frame, len, size, pieces) &&
    start === pieces.transport &&
    offset === (pieces.tcp ? TCP_SUM : UDP_SUM)
  );
}

/** Writes at `at` the header, of `header` bytes, of a frame to the guest that stands behind it with `len` bytes. */
export function writeHeader(bytes: Uint8Array, at: number, header: number, len: number, undone: number): void {
  bytes.fill(0, at, at + header);
  if (undone === COMPLETE) return;
  const size = undone >= LEAST_SEGMENT ? undone : 0;
  if (!planPieces(bytes, at + header, len, size, pieces)) return;
  const { transport, payload, tcp, v6, count } = pieces;
  const offset = tcp ? TCP_SUM : UDP_SUM;
  bytes[at] = NEEDS_CSUM;
  if (count > 1) {
    bytes[at + 1] = v6 ? GSO_TCPV6 : GSO_TCPV4;
    bytes[at + 4] = size;
    bytes[at + 5] = size >> 8;
  }
  bytes[at + 2] = payload;
  bytes[at + 3] = payload >> 8;
  bytes[at + 6] = transport;
  bytes[at + 7] = transport >> 8;
  bytes[at + 8] = offset;
}
