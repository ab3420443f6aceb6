/**
 * Slabs in which the frames of a cable's batch stand one behind the other, as a replay has them.
 *
 * How payload is joined into writes to a host's socket depends on which frames stand in one slab, and in which order
 * (`nat/tcp/payload-gatherer`). Every cable reads a batch into one slab, so a replay puts each batch into one. Frames
 * that impairment has held up stand each for itself. The recorder therefore puts these into such slabs, too.
 */
import { HEADROOM, READ_AREA } from "../attach/slab.ts";
import type { Slab } from "../core/link.ts";

/** As long as the longest slab of a cable, so that any batch fits. */
const BYTES = HEADROOM + READ_AREA;

class BatchSlab implements Slab {
  readonly bytes: Uint8Array = new Uint8Array(BYTES);
  readonly scarce = false;
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
  /** Those of batches that have not ended, by the cable's number. */
  readonly #open: Map<number, BatchSlab> = new Map();
  #free: BatchSlab | null = null;
  /** Where the frame that was placed last begins in its slab. */
  at = 0;

  /** Copies the frame of `len` bytes at `from` to the end of its cable's batch. Returns the slab, where it stands at `at`. */
  place(link: number, bytes: Uint8Array, from: number, len: number): Slab {
    let slab = this.#open.get(link);
    if (slab === undefined || slab.used + len > BYTES) {
      slab = this.#free ?? new BatchSlab();
      this.#free = null;
      this.#open.set(link, slab);
    }
    this.at = slab.used;
    slab.used += len;
    slab.bytes.set(bytes.subarray(from, from + len), this.at);
    return slab;
  }

  /** The cable is gone, in the middle of a batch perhaps. */
  forget(link: number): void {
    this.#open.delete(link);
  }

  /** The batch is over: the next one begins in another slab, or in this one if nobody has pinned it. */
  end(link: number): void {
    const slab = this.#open.get(link);
    if (slab === undefined) return;
    this.#open.delete(link);
    if (slab.pins > 0) return;
    slab.used = 0;
    this.#free = slab;
  }
}
