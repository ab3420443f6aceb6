/**
 * Bytes on their way to the guest, kept until it acknowledges them. A queue of equal chunks from a pool that all
 * connections of a network share, so that an idle connection holds none and a burst's memory serves the next one.
 */
import { giveBack, region } from "../../wire/arena.ts";
import { copySum, swapped } from "../../wire/checksum.ts";
import { HeldBytes } from "./assembler.ts";

export const CHUNK = 16_384;

export class ChunkPool {
  readonly #free: Uint8Array[] = [];
  #keep: number;
  /** Bytes in chunks that are lent out. */
  used = 0;
  /** Above this, connections take less each (see `share`). */
  readonly budget: number;
  /** What came from guests before its turn. */
  readonly outOfOrder: HeldBytes;

  constructor(budget: number, outOfOrder: number = budget, keep = 512) {
    this.budget = budget;
    this.outOfOrder = new HeldBytes(outOfOrder);
    this.#keep = keep;
  }

  /**
   * How many bytes one connection may hold now: a quarter of what is left, so that the first takes much, many take
   * little, and one chunk is always granted (dynamic thresholds as in shared-memory switches).
   */
  share(): number {
    return Math.max(CHUNK, (this.budget - this.used) / 4);
  }

  take(): Uint8Array {
    this.used += CHUNK;
    return this.#free.pop() ?? region(CHUNK);
  }

  give(chunk: Uint8Array): void {
    this.used -= CHUNK;
    if (this.#free.length < this.#keep) this.#free.push(chunk);
    else giveBack(chunk);
  }

  /** Keeps nothing any more. */
  close(): void {
    this.#keep = 0;
    for (const chunk of this.#free.splice(0)) giveBack(chunk);
  }
}

export class SendBuffer {
  readonly #pool: ChunkPool;
  readonly #chunks: Uint8Array[] = [];
  /** Where the first byte stands in the first chunk. */
  #start = 0;
  length = 0;

  constructor(pool: ChunkPool) {
    this.#pool = pool;
  }

  append(bytes: Uint8Array, at: number, len: number): void {
    let end = this.#start + this.length;
    this.length += len;
    while (len > 0) {
      const offset = end % CHUNK;
      if (end === this.#chunks.length * CHUNK) this.#chunks.push(this.#pool.take());
      const n = Math.min(len, CHUNK - offset);
      this.#chunks[this.#chunks.length - 1]!.set(bytes.subarray(at, at + n), offset);
      at += n;
      len -= n;
      end += n;
    }
  }

  /** Copies `len` bytes from `offset` on into `out`; their checksum's sum. The caller has checked that they are there. */
  copyOut(offset: number, len: number, out: Uint8Array, at: number): number {
    let from = this.#start + offset;
    let total = 0;
    let odd = false;
    while (len > 0) {
      const inChunk = from % CHUNK;
      const n = Math.min(len, CHUNK - inChunk);
      const piece = copySum(this.#chunks[(from / CHUNK) | 0]!, inChunk, n, out, at);
      total += odd ? swapped(piece) : piece;
      if ((n & 1) !== 0) odd = !odd;
      from += n;
      at += n;
      len -= n;
    }
    return total;
  }

  /** The same without a sum. */
  copy(offset: number, len: number, out: Uint8Array, at: number): void {
    let from = this.#start + offset;
    while (len > 0) {
      const inChunk = from % CHUNK;
      const n = Math.min(len, CHUNK - inChunk);
      out.set(this.#chunks[(from / CHUNK) | 0]!.subarray(inChunk, inChunk + n), at);
      from += n;
      at += n;
      len -= n;
    }
  }

  /** The guest has `len` more bytes. */
  consume(len: number): void {
    this.#start += len;
    this.length -= len;
    const whole = this.length === 0 ? this.#chunks.length : (this.#start / CHUNK) | 0;
    if (whole === 0) return;
    for (let i = 0; i < whole; i++) this.#pool.give(this.#chunks[i]!);
    this.#chunks.splice(0, whole);
    this.#start = this.length === 0 ? 0 : this.#start - whole * CHUNK;
  }

  clear(): void {
    this.consume(this.length);
  }
}
