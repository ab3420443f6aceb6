/** What the header of a guest's frame may say is undone, by what its driver has agreed to. The header itself: `wire/virtio-net`. */
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

/** The header says what cannot be, or leaves undone what the driver was not allowed to. */
export const FALSE_HEADER = -1;

/**
 * What is undone in a frame of the guest's, whose header stands at `at` and which itself stands at `frame` with `len`
 * bytes, or `FALSE_HEADER`. A checksum that is undone in something else than TCP or UDP over IP is done here.
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
