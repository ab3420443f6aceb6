/**
 * Observers of a network's cables: captures, which watch, and impairment, which holds frames up. They see frames as the
 * cable carries them, unfinished ones included: frames from guests before impairment, frames to guests after it.
 */
import type { Link, Slab } from "../core/link.ts";
import type { FrameTap } from "../core/tap.ts";
import { INBOUND, OUTBOUND } from "../wire/pcapng.ts";
import { userFailed } from "./user-errors.ts";

/**
 * Watches frames. `direction` is `INBOUND` (from a guest) or `OUTBOUND`; the bytes are valid during the call. A watcher
 * that throws stops no frame. `MemoryCable.send` throws its error; on other cables it is an uncaught exception.
 */
export interface FrameWatcher {
  frame(link: Link, direction: number, bytes: Uint8Array, at: number, len: number): void;
}

export class CableTap implements FrameTap {
  active = false;
  byFrame = false;
  readonly #watchers: Set<FrameWatcher> = new Set();
  #impairment: FrameTap | null = null;

  watch(watcher: FrameWatcher): void {
    this.#watchers.add(watcher);
    this.#update();
  }

  unwatch(watcher: FrameWatcher): void {
    this.#watchers.delete(watcher);
    this.#update();
  }

  /** Sets the impairment; there is at most one. Null removes it. */
  impair(impairment: FrameTap | null): void {
    this.#impairment = impairment;
    this.#update();
  }

  incoming(link: Link, slab: Slab, at: number, len: number, undone: number): boolean {
    this.#show(link, INBOUND, slab.bytes, at, len);
    return this.#impairment === null || this.#impairment.incoming(link, slab, at, len, undone);
  }

  outgoing(link: Link, bytes: Uint8Array, at: number, len: number): boolean {
    if (this.#impairment !== null && !this.#impairment.outgoing(link, bytes, at, len)) return false;
    this.#show(link, OUTBOUND, bytes, at, len);
    return true;
  }

  detached(link: Link): void {
    this.#impairment?.detached(link);
  }

  #show(link: Link, direction: number, bytes: Uint8Array, at: number, len: number): void {
    for (const watcher of this.#watchers) {
      try {
        watcher.frame(link, direction, bytes, at, len);
      } catch (error) {
        userFailed(error);
      }
    }
  }

  #update(): void {
    this.byFrame = this.#impairment !== null;
    this.active = this.#impairment !== null || this.#watchers.size > 0;
  }
}
