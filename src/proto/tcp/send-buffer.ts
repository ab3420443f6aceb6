/**
 * Bytes on their way to the guest, kept until it acknowledges them: a queue of equal chunks from what the guest may hold
 * of its network's pool (`chunk-pool`, which says how much one connection may hold).
 */
import type { Landing } from "../../core/host-net.ts";
import { copySum, swapped } from "../../wire/checksum.ts";
import { CHUNK, type GuestChunks, LARGE_SHIFT, SMALL_CHUNK, SMALL_SHIFT } from "./chunk-pool.ts";
import type { TcpPath } from "./types.ts";

/** A buffer with more bytes than this is moved to large chunks. */
const MOST_SMALL = 8_192;

/** Filled by each `SendBuffer.land`. */
const ROOM: { -readonly [key in keyof Landing]: Landing[key] } = { chunks: [], first: 0, at: 0, len: 0 };

export class SendBuffer {
  readonly #pool: GuestChunks;
  #chunks: Uint8Array[] = [];
  /** The binary logarithm of the chunks' size; all chunks of a buffer are equal. */
  #shift: number = LARGE_SHIFT;
  /** Where the first byte stands in the first chunk. */
  #start = 0;
  length = 0;

  constructor(pool: GuestChunks) {
    this.#pool = pool;
  }

  append(bytes: Uint8Array, at: number, len: number): void {
    const pool = this.#pool;
    if (this.#chunks.length === 0) this.#shift = pool.scarce ? SMALL_SHIFT : LARGE_SHIFT;
    else if (this.#shift === SMALL_SHIFT && this.length + len > MOST_SMALL && pool.share() > 2 * CHUNK) this.#enlarge();
    this.#put(bytes, at, len);
  }

  #put(bytes: Uint8Array, at: number, len: number): void {
    const size = 1 << this.#shift;
    let end = this.#start + this.length;
    this.length += len;
    while (len > 0) {
      const offset = end & (size - 1);
      if (end === this.#chunks.length << this.#shift) this.#chunks.push(this.#pool.take(this.#shift));
      const n = Math.min(len, size - offset);
      this.#chunks[this.#chunks.length - 1]!.set(bytes.subarray(at, at + n), offset);
      at += n;
      len -= n;
      end += n;
    }
  }

  /** Whether bytes may be put into large chunks from outside. */
  get lands(): boolean {
    return !this.#pool.scarce && (this.#chunks.length === 0 || this.#shift === LARGE_SHIFT);
  }

  /** Room for up to `most` bytes behind those that are there, which `lands` allows. `landed` follows before anything else. */
  land(most: number): Landing {
    const pool = this.#pool;
    const chunks = this.#chunks;
    this.#shift = LARGE_SHIFT;
    const end = this.#start + this.length;
    const wanted = end + Math.min(most, pool.spare);
    while (chunks.length << LARGE_SHIFT < wanted) chunks.push(pool.take(LARGE_SHIFT));
    ROOM.chunks = chunks;
    ROOM.first = end >> LARGE_SHIFT;
    ROOM.at = end & (CHUNK - 1);
    ROOM.len = (chunks.length << LARGE_SHIFT) - end;
    return ROOM;
  }

  /** The first `len` bytes of that room are filled. */
  landed(len: number): void {
    this.length += len;
    const chunks = this.#chunks;
    const used = (this.#start + this.length + CHUNK - 1) >> LARGE_SHIFT;
    while (chunks.length > used) this.#pool.give(chunks.pop()!);
  }

  /** Moves the few bytes in small chunks into large ones. */
  #enlarge(): void {
    const small = this.#chunks;
    const end = this.#start + this.length;
    let from = this.#start;
    this.#chunks = [];
    this.#shift = LARGE_SHIFT;
    this.#start = 0;
    this.length = 0;
    while (from < end) {
      const offset = from & (SMALL_CHUNK - 1);
      const n = Math.min(end - from, SMALL_CHUNK - offset);
      this.#put(small[from >> SMALL_SHIFT]!, offset, n);
      from += n;
    }
    for (const chunk of small) this.#pool.give(chunk);
  }

  /** Copies `len` bytes from `offset` on into `out`; their checksum's sum. The caller has checked that they are there. */
  copyOut(offset: number, len: number, out: Uint8Array, at: number): number {
    const size = 1 << this.#shift;
    let from = this.#start + offset;
    let total = 0;
    let odd = false;
    while (len > 0) {
      const inChunk = from & (size - 1);
      const n = Math.min(len, size - inChunk);
      const piece = copySum(this.#chunks[from >> this.#shift]!, inChunk, n, out, at);
      total += odd ? swapped(piece) : piece;
      if ((n & 1) !== 0) odd = !odd;
      from += n;
      at += n;
      len -= n;
    }
    return total;
  }

  /** The same without a sum, by whoever carries it to the guest: it takes each piece from where it stands. */
  gather(offset: number, len: number, path: TcpPath, at: number): void {
    const size = 1 << this.#shift;
    let from = this.#start + offset;
    while (len > 0) {
      const inChunk = from & (size - 1);
      const n = Math.min(len, size - inChunk);
      const chunk = this.#chunks[from >> this.#shift]!;
      if (path.gather === undefined) path.tx.set(chunk.subarray(inChunk, inChunk + n), at);
      else path.gather(at, chunk, inChunk, n);
      from += n;
      at += n;
      len -= n;
    }
  }

  /** The guest has acknowledged `len` more bytes. */
  consume(len: number): void {
    this.#start += len;
    this.length -= len;
    const whole = this.length === 0 ? this.#chunks.length : this.#start >> this.#shift;
    if (whole === 0) return;
    for (let i = 0; i < whole; i++) this.#pool.give(this.#chunks[i]!);
    this.#chunks.splice(0, whole);
    this.#start = this.length === 0 ? 0 : this.#start - (whole << this.#shift);
  }

  clear(): void {
    this.consume(this.length);
  }
}
