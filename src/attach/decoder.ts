/**
 * QEMU's framing on a byte stream: each frame is preceded by its length, 32 bits, big-endian (QEMU net/stream.c).
 *
 * Works in place on the slab the bytes were read into (see `slab.ts`). Nothing is allocated from a length that the
 * guest sent: an incomplete frame only ever occupies what has arrived of it.
 */
import { type Link, type LinkReceiver, MAX_FRAME } from "../core/link.ts";
import type { Trace } from "../core/trace.ts";
import { get32 } from "../wire/bytes.ts";
import { HEADROOM, type ReadSlab, type SlabPool } from "./slab.ts";

const PREFIX = 4;

/** One cable's incoming side: bytes in, frames to the `LinkReceiver`. */
export class FrameDecoder {
  readonly #pool: SlabPool;
  readonly #receiver: LinkReceiver;
  readonly #link: Link;
  readonly #trace: Trace;
  #slab: ReadSlab;
  /** Bytes of a cut frame (with its prefix) that stand right before the read area. */
  #carry = 0;
  /** Between a read and its `batchEnd`, when the receiver may still pin the slab. */
  #busy = false;
  #closed = false;

  constructor(pool: SlabPool, receiver: LinkReceiver, link: Link, trace: Trace) {
    this.#pool = pool;
    this.#receiver = receiver;
    this.#link = link;
    this.#trace = trace;
    this.#slab = pool.take();
  }

  /** Where the next bytes go. The same array until a slab was pinned. */
  get readArea(): Uint8Array {
    return this.#slab.readArea;
  }

  /**
   * `n` bytes have landed in `readArea`. Hands over the frames they complete, then the end of the batch. False when
   * the guest announced a frame that no cable can carry: the stream cannot be followed any further.
   */
  received(n: number): boolean {
    if (this.#closed) return true;
    const slab = this.#slab;
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
    if (this.#closed) slab.release();
    else this.#keep(at, end);
    return sane;
  }

  /** The same for bytes that stand elsewhere, in a chunk of any size: they are copied. */
  copied(chunk: Uint8Array): boolean {
    let from = 0;
    while (from < chunk.length && !this.#closed) {
      const area = this.#slab.readArea;
      const part = chunk.subarray(from, from + area.length);
      area.set(part);
      from += part.length;
      if (!this.received(part.length)) return false;
    }
    return true;
  }

  /** No frame follows, even from the middle of a read. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    if (!this.#busy) this.#slab.release();
  }

  /** Puts the cut frame at [at, end) before the area that is read next. */
  #keep(at: number, end: number): void {
    const from = this.#slab;
    const rest = end - at;
    this.#carry = rest;
    if (!from.pinned) {
      if (rest > 0) from.bytes.copyWithin(HEADROOM - rest, at, end);
      return;
    }
    const next = this.#pool.take();
    if (rest > 0) next.bytes.set(from.bytes.subarray(at, end), HEADROOM - rest);
    this.#slab = next;
    from.release();
  }
}
