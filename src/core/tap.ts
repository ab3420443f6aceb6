/**
 * Where all frames of a network's cables can be looked at, and held up: captures and impairment stand here. While
 * nobody looks, a frame costs one test of `active`.
 */
import type { Link, Slab } from "./link.ts";

export interface FrameTap {
  /** Somebody wants to be asked about each frame. */
  readonly active: boolean;
  /** Somebody wants to have frames one by one, as a wire carries them: cables offer no `offload`. */
  readonly byFrame: boolean;
  /**
   * A guest's frame, before anything is done with it; `undone` is what is missing from it. False: it is taken (lost,
   * coming later, or delivered in pieces).
   */
  incoming(link: Link, slab: Slab, at: number, len: number, undone: number): boolean;
  /** A frame to a guest, complete in `bytes`. False: it is taken and must not be sent. */
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
