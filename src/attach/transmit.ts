/**
 * Frames on their way to a guest over a byte stream, each with its 32-bit length in front.
 *
 * Two slabs take turns. Frames are written in place into the *filling* one; a flush hands it to the socket as one
 * write and the other one fills. While a write is under way no second one is issued: what is flushed meanwhile waits
 * in the filling slab and goes out, again as one write, when the first is done. So at most two slabs' worth (about
 * 512 KiB) is outstanding, however small the flushes are, and the socket always has the next slab's worth ready.
 * When both are taken `reserve` says -1; as soon as one is free again, that is, with less than half outstanding, the
 * owner hears that the cable is writable.
 *
 * Copying frames into one slab and writing once carries 27–32 Gbit/s where two iovecs a frame carry 12–16.
 */
import { MAX_FRAME } from "../core/link.ts";
import { giveBack, region } from "../wire/arena.ts";
import { put32 } from "../wire/bytes.ts";
import { ETH_LEAST, ethPad } from "../wire/ethernet.ts";

const PREFIX = 4;
/** Four of the largest frames. */
export const TX_SLAB: number = 4 * (MAX_FRAME + PREFIX);

/** What a flush needs of a socket. `done` is called once the kernel has the bytes, never before `write` returns. */
export interface ByteSink {
  write(bytes: Uint8Array, done: () => void): unknown;
}

/** What the slab that does not fill is doing. */
const IDLE = 0;
/** Full, waiting for the flush of this batch. */
const QUEUED = 1;
/** In the socket's hands. */
const FLYING = 2;

interface TxSlab {
  readonly bytes: Uint8Array;
  /** The same memory as the sockets want it. */
  readonly buffer: Buffer;
  used: number;
}

const NOTHING = new Uint8Array(0);

function txSlab(bytes: Uint8Array = region(TX_SLAB)): TxSlab {
  return { bytes, buffer: Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length), used: 0 };
}

/** One cable's outgoing side. The three calls are those of `Link`. */
export class TransmitQueue {
  readonly #sink: ByteSink;
  readonly #onWritable: () => void;
  readonly #done: () => void;
  /** Without memory until something is sent. */
  #filling: TxSlab = txSlab(NOTHING);
  #other: TxSlab | null = null;
  #state: number = IDLE;
  /** A flush came while a write was under way. */
  #flushed = false;
  #full = false;
  #closed = false;

  /** `onWritable` is called when a `reserve` that failed would succeed. */
  constructor(sink: ByteSink, onWritable: () => void) {
    this.#sink = sink;
    this.#onWritable = onWritable;
    this.#done = () => this.#written();
  }

  get tx(): Uint8Array {
    return this.#filling.bytes;
  }

  /** Bytes, prefixes included, that the kernel has not taken. */
  get outstanding(): number {
    return this.#filling.used + (this.#other?.used ?? 0);
  }

  reserve(len: number): number {
    if (
      this.#closed ||
      (this.#filling.used + PREFIX + Math.max(len, ETH_LEAST) > this.#filling.bytes.length && !this.#more())
    ) {
      this.#full = true;
      return -1;
    }
    return this.#filling.used + PREFIX;
  }

  /** Where in `tx` the frame of the last `reserve` begins. */
  get next(): number {
    return this.#filling.used + PREFIX;
  }

  commit(len: number): void {
    const slab = this.#filling;
    const size = len < ETH_LEAST ? ethPad(slab.bytes, slab.used + PREFIX, len) : len;
    put32(slab.bytes, slab.used, size);
    slab.used += PREFIX + size;
  }

  flush(): void {
    if (this.#closed) return;
    if (this.#state === IDLE && this.#filling.used > 0) {
      this.#turn(FLYING);
      this.#write(this.#other!);
    } else {
      this.#flushed = this.#filling.used > 0;
      if (this.#state === QUEUED) {
        this.#state = FLYING;
        this.#write(this.#other!);
      }
    }
  }

  /** Sends what has been flushed and takes no more. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    if (this.#flushed) this.#write(this.#filling);
  }

  /** Gives the slabs back while nothing is on its way; what is sent next takes others. */
  rest(): void {
    if (this.#state === IDLE && this.#filling.used === 0) this.release();
  }

  /** Gives the slabs of a closed queue back: the sink has let go of all that was written, and so has whoever it wrote to. */
  release(): void {
    giveBack(this.#filling.bytes);
    if (this.#other !== null) giveBack(this.#other.bytes);
    this.#filling = txSlab(NOTHING);
    this.#other = null;
  }

  /** Room for another frame: the first slab, or the other one. */
  #more(): boolean {
    if (this.#filling.bytes.length > 0) return this.#turn(QUEUED);
    this.#filling = txSlab();
    return true;
  }

  /** The filling slab becomes the other one, if that is free. */
  #turn(state: number): boolean {
    if (this.#state !== IDLE) return false;
    const empty = this.#other ?? txSlab();
    this.#other = this.#filling;
    this.#filling = empty;
    this.#state = state;
    return true;
  }

  #write(slab: TxSlab): void {
    this.#sink.write(slab.buffer.subarray(0, slab.used), this.#done);
  }

  #written(): void {
    if (this.#closed) return;
    this.#other!.used = 0;
    this.#state = IDLE;
    if (this.#flushed) {
      this.#flushed = false;
      this.flush();
    }
    if (this.#full) {
      this.#full = false;
      this.#onWritable();
    }
  }
}
