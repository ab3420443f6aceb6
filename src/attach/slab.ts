/**
 * Memory that reads from guests go to.
 *
 *     |<-- HEADROOM -->|<------------- read area ------------->|
 *     |      [cut frame][rest of it][frame][frame][frame][cut …|
 *
 * A cable reads into the read area of one slab, always from its start. When the last frame of a read is incomplete, its
 * first part is moved to the end of the headroom of the slab that is read next. So the rest arrives right behind it,
 * and every frame stands in one piece.
 *
 * Whoever has to keep bytes after the batch (a host write that the kernel has not taken) pins the slab. The cable then
 * goes on with another slab, and the last `unpin` gives the pinned one back to the pool. The number of slabs is limited
 * because writers obey: once `cap` slabs are out, `scarce` is true, and they copy instead of pinning. A cable always
 * gets the one slab that it needs to read at all.
 *
 * Cables with little traffic read into one slab that all cables of this process share (`commonSlab`): a read and the
 * work on its frames are done before another read begins. Nobody may pin that slab, so it is always `scarce`. A cable
 * takes a slab of its own for an incomplete frame and for long reads, so a guest at rest holds none.
 */
import { type Elsewhere, MAX_FRAME, type Slab } from "../core/link.ts";
import { giveBack, region } from "../wire/arena.ts";

/** Room for the longest frame less one byte, with its length prefix, rounded up so that reads start aligned. */
export const HEADROOM: number = (MAX_FRAME + 4 + 15) & ~15;
/** Bytes of one read. */
export const READ_AREA = 262_144;
const CAP = 48;
/** How often idle slabs are given back. */
const TRIM_MILLIS = 1_000;

export interface SlabPoolOptions {
  /** Bytes of one read (262144). Tests use small ones. */
  readonly readArea?: number;
  /** From this many slabs in use on, `scarce` is true (48, about 15 MiB). */
  readonly cap?: number;
}

/** The memory that a cable reads into. */
export interface ReadArea extends Slab {
  /** The part of `bytes` that a read fills. */
  readonly readArea: Uint8Array;
}

class CommonSlab implements ReadArea {
  readonly bytes: Uint8Array;
  readonly readArea: Uint8Array;

  constructor(readArea: number) {
    this.bytes = region(HEADROOM + readArea);
    this.readArea = this.bytes.subarray(HEADROOM);
  }

  get scarce(): boolean {
    return true;
  }

  pin(): void {
    throw new Error("the common slab cannot be pinned");
  }

  unpin(): void {
    throw new Error("the common slab cannot be pinned");
  }
}

/** Common slabs, by the length of their read area. */
const COMMON: Map<number, CommonSlab> = new Map();

/** One slab, handed out by `SlabPool.take`. */
export class ReadSlab implements ReadArea {
  readonly bytes: Uint8Array;
  /** The part of `bytes` that a read fills. */
  readonly readArea: Uint8Array;
  /** Set by the cable that reads into the slab. */
  elsewhere: Elsewhere | null = null;
  readonly #pool: SlabPool;
  #pins = 0;
  #reading = true;

  constructor(pool: SlabPool, readArea: number) {
    this.#pool = pool;
    this.bytes = region(HEADROOM + readArea);
    this.readArea = this.bytes.subarray(HEADROOM);
  }

  get scarce(): boolean {
    return this.#pool.scarce;
  }

  get pinned(): boolean {
    return this.#pins > 0;
  }

  pin(): void {
    this.#pins++;
  }

  unpin(): void {
    if (this.#pins === 0) throw new Error("slab unpinned more often than pinned");
    if (--this.#pins === 0 && !this.#reading) this.#pool.putBack(this);
  }

  /** The pool gives the slab to a cable. */
  lend(): void {
    this.#reading = true;
  }

  /** The cable reads no more into the slab. */
  release(): void {
    this.#reading = false;
    if (this.#pins === 0) this.#pool.putBack(this);
  }
}

/** The slabs of one network, shared by its cables. */
export class SlabPool {
  readonly #readArea: number;
  readonly #cap: number;
  readonly #free: ReadSlab[] = [];
  #inUse = 0;
  /** The fewest free slabs since the last trim; that many were not needed. */
  #spare = 0;
  #timer: NodeJS.Timeout | null = null;

  constructor(options: SlabPoolOptions = {}) {
    this.#readArea = options.readArea ?? READ_AREA;
    this.#cap = options.cap ?? CAP;
  }

  /** How many slabs are read into or pinned. */
  get inUse(): number {
    return this.#inUse;
  }

  /** How many slabs are kept for later. */
  get free(): number {
    return this.#free.length;
  }

  get scarce(): boolean {
    return this.#inUse >= this.#cap;
  }

  /** The slab of all cables that hold none of their own, in all networks of this process. */
  commonSlab(): ReadArea {
    let common = COMMON.get(this.#readArea);
    if (common === undefined) {
      common = new CommonSlab(this.#readArea);
      COMMON.set(this.#readArea, common);
    }
    return common;
  }

  /** A slab to read into; the caller gives it back by `release`. */
  take(): ReadSlab {
    this.#inUse++;
    const slab = this.#free.pop();
    if (slab === undefined) return new ReadSlab(this, this.#readArea);
    if (this.#free.length < this.#spare) this.#spare = this.#free.length;
    slab.lend();
    return slab;
  }

  /** Called by a slab that is no longer used. */
  putBack(slab: ReadSlab): void {
    this.#inUse--;
    this.#free.push(slab);
    if (this.#timer === null) {
      this.#spare = this.#free.length;
      this.#timer = setTimeout(() => this.#trim(), TRIM_MILLIS).unref();
    }
  }

  /**
   * Frees the slabs that were not needed for a whole interval, from the bottom of the stack. They have been unused for
   * so long that no read, even one that was under way when its cable ended, can still write to them. Runs only while
   * there are free slabs, so a network that has closed gives all of them back.
   */
  #trim(): void {
    for (const slab of this.#free.splice(0, this.#spare)) giveBack(slab.bytes);
    this.#spare = this.#free.length;
    this.#timer = this.#free.length === 0 ? null : setTimeout(() => this.#trim(), TRIM_MILLIS).unref();
  }
}
