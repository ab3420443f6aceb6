/**
 * Memory that guests' reads land in.
 *
 *     |<-- HEADROOM -->|<------------- read area ------------->|
 *     |      [cut frame][rest of it][frame][frame][frame][cut …|
 *
 * A cable reads into the read area of one slab, always from its start. When the last frame of a read is cut, its first
 * part is moved to the end of the headroom of the slab that is read next, so the rest arrives right behind it and the
 * frame stands in one piece: no frame is ever put together elsewhere.
 *
 * Whoever must keep bytes after the batch (a host write that the kernel has not taken) pins the slab. The cable then
 * leaves it alone and goes on with another one; the last `unpin` gives it back to the pool. The number of slabs is
 * bounded by the writers' obedience: once `cap` are out, `scarce` is true and they copy instead of pinning. A cable
 * itself always gets the one slab it needs to read at all.
 *
 * Cables that say little read into one slab that all of this process share (`commonSlab`): a read is over, and its frames
 * are dealt with, before another begins. Nobody may pin that one, so it is always `scarce`. A cable takes a slab of its
 * own for a cut frame and for reads of some length, so a guest at rest holds none.
 */
import { type Elsewhere, MAX_FRAME, type Slab } from "../core/link.ts";
import { giveBack, region } from "../wire/arena.ts";

/** Room for all but one byte of the longest frame and its length prefix, rounded up so that reads start aligned. */
export const HEADROOM: number = (MAX_FRAME + 4 + 15) & ~15;
const READ_AREA = 262_144;
const CAP = 48;
/** How often idle slabs are looked at. */
const TRIM_MILLIS = 1_000;

export interface SlabPoolOptions {
  /** Bytes of one read (262144). Tests make it small. */
  readonly readArea?: number;
  /** Slabs in use from which on `scarce` is true (48, about 15 MiB). */
  readonly cap?: number;
}

/** What a cable reads into. */
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

/** By the length of the read area. */
const COMMON: Map<number, CommonSlab> = new Map();

/** One slab, handed out by `SlabPool.take`. */
export class ReadSlab implements ReadArea {
  readonly bytes: Uint8Array;
  /** The part of `bytes` that a read fills. */
  readonly readArea: Uint8Array;
  /** Set by the cable that reads into it. */
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

  /** The pool hands it to a cable. */
  lend(): void {
    this.#reading = true;
  }

  /** The cable reads no more into it. */
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
  /** The fewest free slabs since the last trim: so many were not needed. */
  #spare = 0;
  #timer: NodeJS.Timeout | null = null;

  constructor(options: SlabPoolOptions = {}) {
    this.#readArea = options.readArea ?? READ_AREA;
    this.#cap = options.cap ?? CAP;
  }

  /** Slabs that are read into or pinned. */
  get inUse(): number {
    return this.#inUse;
  }

  /** Slabs kept for later. */
  get free(): number {
    return this.#free.length;
  }

  get scarce(): boolean {
    return this.#inUse >= this.#cap;
  }

  /** The slab of all cables that hold none, in all networks of this process. */
  commonSlab(): ReadArea {
    let common = COMMON.get(this.#readArea);
    if (common === undefined) {
      common = new CommonSlab(this.#readArea);
      COMMON.set(this.#readArea, common);
    }
    return common;
  }

  /** A slab to read into; `release` it when done. */
  take(): ReadSlab {
    this.#inUse++;
    const slab = this.#free.pop();
    if (slab === undefined) return new ReadSlab(this, this.#readArea);
    if (this.#free.length < this.#spare) this.#spare = this.#free.length;
    slab.lend();
    return slab;
  }

  /** Called by the slab that nobody uses any more. */
  putBack(slab: ReadSlab): void {
    this.#inUse--;
    this.#free.push(slab);
    if (this.#timer === null) {
      this.#spare = this.#free.length;
      this.#timer = setTimeout(() => this.#trim(), TRIM_MILLIS).unref();
    }
  }

  /**
   * Lets go of what a whole interval did without, the slabs at the bottom: nobody has had them for so long that not even
   * a read that was under way when its cable ended can still land there. Runs only while there is something to let go of;
   * so a network that has closed gives all back.
   */
  #trim(): void {
    for (const slab of this.#free.splice(0, this.#spare)) giveBack(slab.bytes);
    this.#spare = this.#free.length;
    this.#timer = this.#free.length === 0 ? null : setTimeout(() => this.#trim(), TRIM_MILLIS).unref();
  }
}
