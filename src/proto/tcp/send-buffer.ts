/**
 * Bytes on their way to the guest, kept until it acknowledges them. A queue of equal chunks from a pool that all
 * connections of a network share, so that an idle connection holds none and a burst's memory serves the next one.
 *
 * What a connection may hold. `share` is a quarter of what is left (dynamic thresholds, as in switches that share their
 * memory): the first takes much, many take little, and whoever comes last still has something. Two things would make more
 * of it than the budget: a chunk that holds one byte, and reads that bring more than was left. So when the pool gets
 * scarce, buffers begin with small chunks, and a host's socket is read by no more than `readMost` at a time. What is read
 * first on a connection, before anybody knows how much there is, has a part of the budget to itself, divided among as
 * many connections as there are.
 *
 * Of the budget, shares leave what those first reads may bring and the least that each connection may have in any case,
 * a small chunk: all connections that there may be, each with its least, are within it. (A budget too small for that
 * leaves a quarter to shares, and holds as long as there are fewer.)
 *
 * Where networks share a budget, chunks that are kept for later count there as those that are lent out do: they are memory.
 * So few are kept then, and none while the budget is scarce or the guest at rest.
 */
import { type ByteShare, unshared } from "../../core/byte-budget.ts";
import type { Landing } from "../../core/host-net.ts";
import { giveBack, region } from "../../wire/arena.ts";
import { copySum, swapped } from "../../wire/checksum.ts";
import { HeldBytes } from "./assembler.ts";
import type { TcpPath } from "./types.ts";

const LARGE_SHIFT = 14;
const SMALL_SHIFT = 11;
export const CHUNK: number = 1 << LARGE_SHIFT;
/** The size of chunks while the pool is scarce; each connection may hold this much in any case. */
export const SMALL_CHUNK: number = 1 << SMALL_SHIFT;
/** A buffer with more bytes than this is moved to large chunks. */
const MOST_SMALL = 8_192;
/** How many chunks of either size a network keeps for later. */
const KEPT = 512;
/** How many chunks of either size a network keeps that shares its budget. */
const KEPT_SHARED = 16;
/** The part of the budget for the first reads of all connections. */
const FIRST_READS = 1 / 32;
/** The least that a first read brings, in bytes. */
const LEAST_READ = 512;

/** Filled by each `SendBuffer.land`. */
const ROOM: { -readonly [key in keyof Landing]: Landing[key] } = { chunks: [], first: 0, at: 0, len: 0 };

export class ChunkPool {
  readonly #free: Uint8Array[] = [];
  readonly #freeSmall: Uint8Array[] = [];
  #keep: number;
  /** Bytes in chunks that are lent out. */
  used = 0;
  /** Bytes that all connections may hold. */
  readonly budget: number;
  /** The part of the budget that shares are taken from. */
  readonly #shared: number;
  /** Segments that came from guests before their turn. */
  readonly outOfOrder: HeldBytes;
  readonly #bytes: ByteShare;

  /** `connections`: how many there may be. */
  constructor(budget: number, outOfOrder: number = budget, connections = 0, bytes: ByteShare = unshared()) {
    this.budget = budget;
    this.#bytes = bytes;
    this.#shared = Math.min(0.75, Math.max(0.25, 1 - FIRST_READS - (connections * SMALL_CHUNK) / budget)) * budget;
    this.outOfOrder = new HeldBytes(outOfOrder, bytes);
    this.#keep = bytes.limited ? KEPT_SHARED : KEPT;
  }

  /** How many bytes one connection may hold now. */
  share(): number {
    return Math.max(SMALL_CHUNK, Math.min(this.#shared - this.used, this.#bytes.room) / 4);
  }

  /** Whether chunks are to be small, because memory is running out. */
  get scarce(): boolean {
    return this.used > this.budget / 4 || this.#bytes.room < this.budget / 4;
  }

  /** How many bytes in large chunks may be borrowed for a moment: no more are freed, when they come back, than are made. */
  get spare(): number {
    return CHUNK * Math.max(KEPT_SHARED, this.#free.length);
  }

  /** How many bytes the first read of one of `connections` may bring. */
  firstRead(connections: number): number {
    return Math.max(LEAST_READ, Math.min(FIRST_READS * this.budget, this.#bytes.room) / Math.max(connections, 1));
  }

  take(shift: number): Uint8Array {
    const large = shift === LARGE_SHIFT;
    const size = large ? CHUNK : SMALL_CHUNK;
    this.used += size;
    const kept = (large ? this.#free : this.#freeSmall).pop();
    if (kept !== undefined) return kept;
    this.#bytes.note(size);
    return large ? region(CHUNK) : new Uint8Array(SMALL_CHUNK);
  }

  give(chunk: Uint8Array): void {
    this.used -= chunk.length;
    const free = chunk.length === CHUNK ? this.#free : this.#freeSmall;
    if (free.length < this.#keep && this.#bytes.room >= 0) free.push(chunk);
    else this.#letGo(chunk);
  }

  /** Frees all chunks that are not lent out. */
  rest(): void {
    for (const chunk of this.#free.splice(0)) this.#letGo(chunk);
    for (const chunk of this.#freeSmall.splice(0)) this.#letGo(chunk);
  }

  /** Frees all chunks, and keeps none from now on. */
  close(): void {
    this.#keep = 0;
    this.rest();
  }

  #letGo(chunk: Uint8Array): void {
    this.#bytes.note(-chunk.length);
    giveBack(chunk);
  }
}

export class SendBuffer {
  readonly #pool: ChunkPool;
  #chunks: Uint8Array[] = [];
  /** The binary logarithm of the chunks' size; all chunks of a buffer are equal. */
  #shift: number = LARGE_SHIFT;
  /** Where the first byte stands in the first chunk. */
  #start = 0;
  length = 0;

  constructor(pool: ChunkPool) {
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
