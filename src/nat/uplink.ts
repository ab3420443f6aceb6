/**
 * Guest → host payload on its way from the read slab to a host socket, without leaving the slab.
 *
 * Segments of MTU 1500 stand in the slab with headers between them. Writing each costs a call and an iovec; so a flow's
 * next payload is moved down against its last one, over headers that have been handled, and the *run* goes out in one
 * write. Only the flow that added last has a run: another flow's payload first sends it off, so a move never passes
 * over bytes that wait. Long payloads stay where they are (a move costs more than a call).
 */
import type { HostTcp } from "../core/host-net.ts";
import type { Slab } from "../core/link.ts";

/** Above this a payload is written by itself. */
const MOVE_LIMIT = 16_384;

export class Uplink {
  #slab: Slab | null = null;
  #to: HostTcp | null = null;
  #at = 0;
  #len = 0;

  append(to: HostTcp, slab: Slab, at: number, len: number): void {
    if (this.#to === to && this.#slab === slab) {
      const end = this.#at + this.#len;
      if (end === at) {
        this.#len += len;
        return;
      }
      if (len <= MOVE_LIMIT && end < at) {
        slab.bytes.copyWithin(end, at, at + len);
        this.#len += len;
        return;
      }
    }
    this.flush();
    this.#to = to;
    this.#slab = slab;
    this.#at = at;
    this.#len = len;
  }

  /** Bytes waiting for `to`. */
  pending(to: HostTcp): number {
    return this.#to === to ? this.#len : 0;
  }

  flush(): void {
    const to = this.#to;
    if (to === null) return;
    this.#to = null;
    to.write(this.#slab!, this.#at, this.#len);
    this.#slab = null;
  }

  /** `to` is gone: its bytes go nowhere. */
  forget(to: HostTcp): void {
    if (this.#to === to) {
      this.#to = null;
      this.#slab = null;
    }
  }
}
