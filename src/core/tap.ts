/**
 * The place where captures see, and impairment delays, all frames of a network's cables. While neither is in use, a
 * frame costs one test of `active`.
 */
import type { Link, Slab } from "./link.ts";

export interface FrameTap {
  /** Whether to call `incoming` and `outgoing` for each frame. */
  readonly active: boolean;
  /** Whether frames are wanted one by one and finished, as a wire carries them: then cables offer no `offload`. */
  readonly byFrame: boolean;
  /**
   * A guest's frame, before the network sees it; `undone` says what is missing from it. False: the network must not see
   * it now (it is lost, delayed, or delivered in pieces).
   */
  incoming(link: Link, slab: Slab, at: number, len: number, undone: number): boolean;
  /** A frame to a guest, whole in `bytes`. False: it must not be sent now. */
  outgoing(link: Link, bytes: Uint8Array, at: number, len: number): boolean;
  /** The cable is gone. */
  detached(link: Link): void;
}

export const NO_TAP: FrameTap = {
  active: false,
  byFrame: false,
  incoming: () => true,
  outgoing: () => true,
  detached() {},
};
