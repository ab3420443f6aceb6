/**
 * Where all frames of a network's cables can be looked at, and held up: captures and impairment stand here. While
 * nobody looks, a frame costs one test of `active`.
 */
import type { Link, Slab } from "./link.ts";

export interface FrameTap {
  /** Somebody wants to be asked about each frame. */
  readonly active: boolean;
  /** A guest's frame, before anything is done with it. False: it is taken (lost, or coming later). */
  incoming(link: Link, slab: Slab, at: number, len: number): boolean;
  /** A frame to a guest, complete in `bytes`. False: it is taken and must not be sent. */
  outgoing(link: Link, bytes: Uint8Array, at: number, len: number): boolean;
  /** The cable is gone. */
  detached(link: Link): void;
}

export const NO_TAP: FrameTap = {
  active: false,
  incoming: () => true,
  outgoing: () => true,
  detached() {},
};
