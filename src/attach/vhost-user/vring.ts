/**
 * A split ring in shared memory (virtio 1.2, 2.7): the descriptors that the guest has made available, those that we
 * have used, and who wants to be told.
 *
 * Order. Bytes that the guest wrote before it raised `avail.idx` are there once we have read that (`Atomics.load`). Our
 * used elements are there before `used.idx`. One side's store of how far it is, and its load of whether the other side
 * wants to be told, must not pass each other, or both sleep. So such stores are read-modify-writes
 * (`Atomics.exchange`), which are full fences on ARM, too, and such loads are `Atomics.load`.
 *
 * The guest may change at any time what it has written. So each number is read once, checked, and used as it was read.
 */
import type { GuestMemory } from "./memory.ts";
import type { VringAddresses } from "./messages.ts";

/** The largest ring that virtio allows. */
export const MOST_ENTRIES = 32_768;
const NO_INTERRUPT = 1;
const NO_NOTIFY = 1;

/** Offsets of flags and index in the used ring and the available ring, both seen as 16 bits. */
const FLAGS = 0;
const INDEX = 1;

export class Vring {
  /** The number of entries, a power of two. */
  readonly size: number;
  /** Descriptors, four words each: address (low, high), length, flags and next. */
  readonly descriptors: Int32Array;
  readonly #mask: number;
  readonly #avail: Uint16Array;
  readonly #used16: Uint16Array;
  readonly #used32: Uint32Array;
  readonly #eventIdx: boolean;
  /** The next entry of the available ring to take; 16 bits, as the guest counts. */
  #next: number;
  /**
   * How far `used.idx` has been raised, how far elements have been written, and how far the guest has been asked about
   * a wake-up.
   */
  #published: number;
  #used: number;
  /** Whether the guest is asked to tell when it makes descriptors available. */
  #armed = true;
  /** Whether the guest's index is impossible. */
  broken = false;

  private constructor(
    size: number,
    descriptors: Int32Array,
    avail: Uint16Array,
    used16: Uint16Array,
    used32: Uint32Array,
    eventIdx: boolean,
  ) {
    this.size = size;
    this.#mask = size - 1;
    this.descriptors = descriptors;
    this.#avail = avail;
    this.#used16 = used16;
    this.#used32 = used32;
    this.#eventIdx = eventIdx;
    // Nothing is under way between our turns, so the taken entries are those that have been used.
    this.#next = Atomics.load(used16, INDEX);
    this.#published = this.#next;
    this.#used = this.#next;
  }

  /** Null when a part of the ring is not in the guest's memory, or is misaligned. */
  static at(memory: GuestMemory, addresses: VringAddresses, size: number, eventIdx: boolean): Vring | null {
    const descriptors = memory.locate(addresses.descriptors, 16 * size);
    const avail = memory.locate(addresses.available, 6 + 2 * size);
    const used = memory.locate(addresses.used, 6 + 8 * size);
    if (descriptors === null || avail === null || used === null) return null;
    if (descriptors.at % 16 !== 0 || avail.at % 2 !== 0 || used.at % 4 !== 0) return null;
    return new Vring(
      size,
      new Int32Array(descriptors.buffer, descriptors.at, 4 * size),
      new Uint16Array(avail.buffer, avail.at, 3 + size),
      new Uint16Array(used.buffer, used.at, 3 + 4 * size),
      // Whole elements only: the two bytes behind them are `avail_event`.
      new Uint32Array(used.buffer, used.at, 1 + 2 * size),
      eventIdx,
    );
  }

  /** The index that the front end keeps while the ring is stopped. */
  get base(): number {
    return this.#next;
  }

  /** How many entries wait. If the guest counts further than the ring is long, the ring is broken. */
  waiting(): number {
    const count = (Atomics.load(this.#avail, INDEX) - this.#next) & 0xffff;
    if (count <= this.size) return count;
    this.broken = true;
    return 0;
  }

  /** The first descriptor of the `i`-th waiting entry; -1 when there is no such descriptor. */
  head(i: number): number {
    const head = this.#avail[2 + ((this.#next + i) & this.#mask)]!;
    if (head < this.size) return head;
    this.broken = true;
    return -1;
  }

  /** The entry that waits longest has been used: its chain goes back to the guest, with `written` bytes for it. */
  use(head: number, written: number): void {
    const at = 1 + 2 * (this.#used & this.#mask);
    this.#used32[at] = head;
    this.#used32[at + 1] = written;
    this.#used = (this.#used + 1) & 0xffff;
    this.#next = (this.#next + 1) & 0xffff;
  }

  /** Tells the guest which entries have been used. Returns whether it wants to be woken. */
  publish(): boolean {
    const before = this.#published;
    const now = this.#used;
    if (before === now) return false;
    this.#published = now;
    Atomics.exchange(this.#used16, INDEX, now);
    if (!this.#eventIdx) return (Atomics.load(this.#avail, FLAGS) & NO_INTERRUPT) === 0;
    const event = Atomics.load(this.#avail, 2 + this.size);
    return ((now - event - 1) & 0xffff) < ((now - before) & 0xffff);
  }

  /**
   * Asks the guest to tell when it makes entries available. False when there already are some beyond the first `known`.
   */
  arm(known: number): boolean {
    this.#armed = true;
    if (this.#eventIdx) Atomics.exchange(this.#used16, 2 + 4 * this.size, (this.#next + known) & 0xffff);
    else Atomics.exchange(this.#used16, FLAGS, 0);
    return this.waiting() <= known;
  }

  /**
   * The guest need not tell, because we look. With event indices it tells once, of the entry that it was asked about.
   */
  disarm(): void {
    if (!this.#armed) return;
    this.#armed = false;
    if (!this.#eventIdx) Atomics.store(this.#used16, FLAGS, NO_NOTIFY);
  }
}
