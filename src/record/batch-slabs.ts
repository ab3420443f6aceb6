/**
 * Slabs that hold the frames of a cable's batch one behind the other, for replays.
 *
 * How payload is joined into writes to a host's socket depends on which frames stand in one slab, and in which order
 * (`nat/tcp/payload-gatherer`). Every cable reads a batch into one slab, so a replay puts each batch into one. Frames
 * that impairment has delayed are handed on singly, so the recorder puts these into such slabs, too.
 */
import { HEADROOM, READ_AREA } from "../attach/slab.ts";
import type { Elsewhere, Slab } from "../core/link.ts";

/** The size of a slab: that of the longest slab of a cable, so that any batch fits. */
const BYTES = HEADROOM + READ_AREA;

/** Payload that stayed with the guest when it was recorded. Here it stands in the slab with the rest. */
const LEFT: Elsewhere = { fill: () => {}, send: () => 0 };

class BatchSlab implements Slab {
  readonly bytes: Uint8Array = new Uint8Array(BYTES);
  readonly scarce = false;
  elsewhere: Elsewhere | null = null;
  used = 0;
  pins = 0;

  pin(): void {
    this.pins++;
  }

  unpin(): void {
    this.pins--;
  }
}

export class BatchSlabs {
  /** The slabs of unfinished batches, by the cable's number. */
  readonly #open: Map<number, BatchSlab> = new Map();
  #free: BatchSlab | null = null;
  /** The offset of the last placed frame in its slab. */
  at = 0;

  /**
   * Copies the frame of `len` bytes at `from` to the end of its cable's batch. Returns the slab, in which the frame
   * stands at `at`. `left`: its payload stayed with the guest.
   */
  place(link: number, bytes: Uint8Array, from: number, len: number, left = false): Slab {
    let slab = this.#open.get(link);
    if (slab === undefined || slab.used + len > BYTES) {
      slab = this.#free ?? new BatchSlab();
      this.#free = null;
      this.#open.set(link, slab);
    }
    if (left) slab.elsewhere = LEFT;
    this.at = slab.used;
    slab.used += len;
    slab.bytes.set(bytes.subarray(from, from + len), this.at);
    return slab;
  }

  /** Forgets a cable that is gone, perhaps in the middle of a batch. */
  forget(link: number): void {
    this.#open.delete(link);
  }

  /** Ends a batch. The next batch begins in this slab if nobody has pinned it, otherwise in another. */
  end(link: number): void {
    const slab = this.#open.get(link);
    if (slab === undefined) return;
    this.#open.delete(link);
    if (slab.pins > 0) return;
    slab.used = 0;
    slab.elsewhere = null;
    this.#free = slab;
  }
}
