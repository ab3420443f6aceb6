/**
 * `struct virtio_net_hdr` (virtio 1.2, 5.1.6): what has been left undone in a frame. Little-endian: flags, gso_type, hdr_len
 * (16 bits from here on), gso_size, csum_start, csum_offset, and num_buffers where there is one.
 */
import type { Features } from "./features.ts";

const NEEDS_CSUM = 1;

/**
 * What is undone in a frame of the guest's, whose header stands at `at` and which itself stands at `frame` with `len`
 * bytes; -1 when the header cannot be true, or leaves undone what the driver was not allowed to.
 */
export function undoneOf(_features: Features, bytes: Uint8Array, at: number, _frame: number, _len: number): number {
  const flags = bytes[at]!;
  const gso = bytes[at + 1]!;
  return (flags & NEEDS_CSUM) === 0 && gso === 0 ? 0 : -1;
}

/** Writes the header of a frame to the guest in which nothing is undone. */
export function writeHeader(bytes: Uint8Array, at: number, header: number): void {
  bytes.fill(0, at, at + header);
}
