/**
 * The memory of all connections of a network for bytes on their way to guests: equal chunks, so that an idle connection
 * holds none and a burst's memory serves the next one.
 *
 * What a connection may hold. `share` is a quarter of what is left (dynamic thresholds, as in switches that share their
 * memory): the first takes much, many take little, and whoever comes last still has something. What is left is what all
 * guests together may hold yet, or the connection's own guest if that is less: a guest that reads nothing leaves the
 * others their part. Two things would make more of it than the budget: a chunk that holds one byte, and reads that bring
 * more than was left. So when the pool gets scarce, buffers begin with small chunks, and a host's socket is read by no
 * more than `readMost` at a time. What is read first on a connection, before anybody knows how much there is, has a part
 * of the budget to itself, divided among as many connections as there are.
 *
 * Of the budget, shares leave what those first reads may bring and the least that each connection may have in any case,
 * a small chunk: all connections that there may be, each with its least, are within it. (A budget too small for that
 * leaves a quarter to shares, and holds as long as there are fewer.)
 *
 * Where networks share a budget, chunks that are kept for later count there as those that are lent out do: they are memory.
 * So few are kept then, and none while the budget is scarce or the guest at rest.
 */
import { type ByteShare, unshared } from "../../core/byte-budget.ts";
import type { Limits } from "../../core/limits.ts";
import { giveBack, region } from "../../wire/arena.ts";
import { HeldBytes } from "./assembler.ts";

export const LARGE_SHIFT = 14;
export const SMALL_SHIFT = 11;
export const CHUNK: number = 1 << LARGE_SHIFT;
/** The size of chunks while the pool is scarce; each connection may hold this much in any case. */
export const SMALL_CHUNK: number = 1 << SMALL_SHIFT;
/** How many chunks of either size a network keeps for later. */
const KEPT = 512;
/** How many chunks of either size a network keeps that shares its budget. */
const KEPT_SHARED = 16;
/** The part of the budget for the first reads of all connections. */
const FIRST_READS = 1 / 32;
/** The least that a first read brings, in bytes. */
const LEAST_READ = 512;

/** Caps in bytes; `tcpFlows`: how many connections there may be. Those left out are as large as `sendBytes`; no connections. */
export type PoolLimits = Pick<Limits, "sendBytes"> &
  Partial<Pick<Limits, "sendBytesPerGuest" | "outOfOrderBytes" | "outOfOrderBytesPerGuest" | "tcpFlows">>;

export class ChunkPool {
  readonly #free: Uint8Array[] = [];
  readonly #freeSmall: Uint8Array[] = [];
  #keep: number;
  /** Bytes in chunks that are lent out. */
  used = 0;
  /** Bytes that all connections may hold. */
  readonly budget: number;
  /** Segments that came from guests before their turn. */
  readonly outOfOrder: HeldBytes;
  /** The part of the budget that shares are taken from, and what one guest may hold of it. */
  readonly #shared: number;
  readonly #sharedEach: number;
  readonly #outOfOrderEach: number;
  readonly #bytes: ByteShare;
  /** What the guests hold, by their cables, as `Quota` counts. */
  readonly #guests: WeakMap<object, GuestChunks> = new WeakMap();
  readonly #nobody: GuestChunks;

  constructor(limits: PoolLimits, bytes: ByteShare = unshared()) {
    const { sendBytes, outOfOrderBytes = sendBytes, tcpFlows = 0 } = limits;
    this.budget = sendBytes;
    this.#bytes = bytes;
    const part = Math.min(0.75, Math.max(0.25, 1 - FIRST_READS - (tcpFlows * SMALL_CHUNK) / sendBytes));
    this.#shared = part * sendBytes;
    this.#sharedEach = part * (limits.sendBytesPerGuest ?? sendBytes);
    this.outOfOrder = new HeldBytes(outOfOrderBytes, bytes);
    this.#outOfOrderEach = limits.outOfOrderBytesPerGuest ?? outOfOrderBytes;
    this.#keep = bytes.limited ? KEPT_SHARED : KEPT;
    this.#nobody = this.#newGuest();
  }

  /** What the connections of the guest on `cable` hold; those without a known cable count together. */
  of(cable: object | null): GuestChunks {
    if (cable === null) return this.#nobody;
    let guest = this.#guests.get(cable);
    if (guest === undefined) this.#guests.set(cable, (guest = this.#newGuest()));
    return guest;
  }

  #newGuest(): GuestChunks {
    return new GuestChunks(this, this.#sharedEach, new HeldBytes(this.#outOfOrderEach, this.outOfOrder));
  }

  /** How many bytes of the shared part all guests together may hold yet; negative when they hold more. */
  get left(): number {
    return Math.min(this.#shared - this.used, this.#bytes.room);
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

/** What the connections of one guest hold of the pool. */
export class GuestChunks {
  readonly #pool: ChunkPool;
  readonly #most: number;
  #used = 0;
  /** Segments that came from this guest before their turn. */
  readonly outOfOrder: HeldBytes;

  constructor(pool: ChunkPool, most: number, outOfOrder: HeldBytes) {
    this.#pool = pool;
    this.#most = most;
    this.outOfOrder = outOfOrder;
  }

  /** How many bytes one of the guest's connections may hold now. */
  share(): number {
    return Math.max(SMALL_CHUNK, Math.min(this.#pool.left, this.#most - this.#used) / 4);
  }

  get scarce(): boolean {
    return this.#pool.scarce;
  }

  get spare(): number {
    return this.#pool.spare;
  }

  take(shift: number): Uint8Array {
    const chunk = this.#pool.take(shift);
    this.#used += chunk.length;
    return chunk;
  }

  give(chunk: Uint8Array): void {
    this.#used -= chunk.length;
    this.#pool.give(chunk);
  }
}
