/**
 * QEMU's framing of a byte stream: each frame follows its length, 32 bits, big-endian (QEMU net/stream.c).
 *
 * Frames are decoded in place, in the slab that the bytes were read into (see `slab.ts`). Nothing is allocated from a
 * length that the guest sent: an incomplete frame takes only as much memory as has arrived of it.
 */
import { type Link, type LinkReceiver, MAX_FRAME } from "../core/link.ts";
import type { Trace } from "../core/trace.ts";
import { get32 } from "../wire/bytes.ts";
import { HEADROOM, type ReadArea, type ReadSlab, type SlabPool } from "./slab.ts";

const PREFIX = 4;
/** A cable whose reads are shorter than this, and end with a whole frame, holds no slab. */
const LITTLE = 4_096;

/** One cable's incoming side: takes bytes, hands frames to the `LinkReceiver`. */
export class FrameDecoder {
  readonly #pool: SlabPool;
  readonly #receiver: LinkReceiver;
  readonly #link: Link;
  readonly #trace: Trace;
  readonly #common: ReadArea;
  readonly #little: number;
  /** The cable's own slab; null while it reads into the common one. */
  #slab: ReadSlab | null = null;
  /** Bytes of an incomplete frame, with its prefix, that stand right before the read area. */
  #carry = 0;
  /** Set between a read and its `batchEnd`, when the receiver may still pin the slab. */
  #busy = false;
  #closed = false;

  constructor(pool: SlabPool, receiver: LinkReceiver, link: Link, trace: Trace) {
    this.#pool = pool;
    this.#receiver = receiver;
    this.#link = link;
    this.#trace = trace;
    this.#common = pool.commonSlab();
    this.#little = Math.min(LITTLE, this.#common.readArea.length / 2);
  }

  /** The array for the next bytes, which are read in one go; `received` then tells how many. */
  get readArea(): Uint8Array {
    return (this.#slab ?? this.#common).readArea;
  }

  /**
   * `n` bytes have been read into `readArea`. Hands over the frames that are complete, and then `batchEnd`. False when
   * the guest announced a frame that no cable can carry: then the stream cannot be read any further.
   */
  received(n: number): boolean {
    if (this.#closed) return true;
    const own = this.#slab;
    const slab = own ?? this.#common;
    const bytes = slab.bytes;
    const end = HEADROOM + n;
    let at = HEADROOM - this.#carry;
    let sane = true;
    this.#busy = true;
    while (end - at >= PREFIX) {
      const len = get32(bytes, at) >>> 0;
      if (len > MAX_FRAME) {
        this.#trace.drop("frame-too-long");
        sane = false;
        break;
      }
      if (end - at < PREFIX + len) break;
      if (len === 0) this.#trace.drop("eth-short");
      else this.#receiver.receive(this.#link, slab, at + PREFIX, len);
      if (this.#closed) break;
      at += PREFIX + len;
    }
    this.#receiver.batchEnd(this.#link);
    this.#busy = false;
    if (!sane) this.#closed = true;
    if (this.#closed) own?.release();
    else this.#keep(own, at, end, n);
    return sane;
  }

  /** As `received`, for bytes elsewhere, in a chunk of any size: they are copied. */
  copied(chunk: Uint8Array): boolean {
    let from = 0;
    while (from < chunk.length && !this.#closed) {
      const area = this.readArea;
      const part = chunk.subarray(from, from + area.length);
      area.set(part);
      from += part.length;
      if (!this.received(part.length)) return false;
    }
    return true;
  }

  /** Hands over no more frames, even from the middle of a read. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    if (!this.#busy) this.#slab?.release();
  }

  /** Moves the incomplete frame at [at, end) to the place before the next read's area, after a read of `n` bytes. */
  #keep(own: ReadSlab | null, at: number, end: number, n: number): void {
    const rest = end - at;
    this.#carry = rest;
    if (own !== null && !own.pinned && (rest > 0 || n >= this.#little)) {
      if (rest > 0) own.bytes.copyWithin(HEADROOM - rest, at, end);
      return;
    }
    const next = rest > 0 || n >= this.#little ? this.#pool.take() : null;
    if (next !== null && rest > 0) next.bytes.set((own ?? this.#common).bytes.subarray(at, end), HEADROOM - rest);
    this.#slab = next;
    own?.release();
  }
}
