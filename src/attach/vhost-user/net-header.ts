/**
 * What a guest's frame leaves undone, by its header and the features that its driver has accepted. The header itself is
 * in `wire/virtio-net`.
 */
import { COMPLETE, LEAST_SEGMENT } from "../../core/link.ts";
import { completeSum } from "../../wire/segmentation.ts";
import {
  VIRTIO_OTHER_SUM,
  VIRTIO_REFUSED,
  virtioSumField,
  virtioSumStart,
  virtioUndone,
} from "../../wire/virtio-net.ts";
import type { Features } from "./features.ts";

const GSO_TCPV4 = 1;

/** The header is impossible, or leaves undone what the driver may not. */
export const FALSE_HEADER = -1;

/**
 * What is undone in a guest's frame of `len` bytes at `frame`, whose header stands at `at`; or `FALSE_HEADER`. If the
 * undone checksum is not TCP's or UDP's over IP, it is computed here.
 */
export function undoneOf(features: Features, bytes: Uint8Array, at: number, frame: number, len: number): number {
  const undone = virtioUndone(bytes, at, bytes, frame, len);
  if (undone === COMPLETE) return COMPLETE;
  if (undone === VIRTIO_REFUSED || !features.csum) return FALSE_HEADER;
  if (undone === VIRTIO_OTHER_SUM) {
    completeSum(bytes, frame + virtioSumStart(bytes, at), frame + len, frame + virtioSumField(bytes, at));
    return COMPLETE;
  }
  if (undone < LEAST_SEGMENT) return undone;
  return (bytes[at + 1] === GSO_TCPV4 ? features.hostTso4 : features.hostTso6) ? undone : FALSE_HEADER;
}
