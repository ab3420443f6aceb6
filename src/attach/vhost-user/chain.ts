/**
 * Walks a chain of descriptors (virtio 1.2, 2.7.5) and believes nothing in it. Each descriptor is read once. A chain
 * may have no more descriptors than the ring has entries, so a circle ends. A table of indirect descriptors is copied
 * before it is read.
 */
import type { GuestMemory } from "./memory.ts";
import type { Vring } from "./vring.ts";

const NEXT = 1;
const WRITE = 2;
const INDIRECT = 4;
const DESCRIPTOR = 16;

/** Results of `next`. */
export const LIE = -1;
export const END = 0;
export const MORE = 1;

export class ChainWalk {
  /** The current descriptor: its memory, and whether we may write to it. */
  address = 0;
  length = 0;
  writable = false;
  readonly #memory: GuestMemory;
  readonly #ring: Vring;
  readonly #indirect: boolean;
  /** The copy of a table of indirect descriptors. */
  #copy: Int32Array = new Int32Array(0);
  #bytes: Uint8Array = new Uint8Array(0);
  #table: Int32Array;
  /** The table's number of entries, the index of the next one (-1: none), and how many more the chain may have. */
  #entries = 0;
  #index = -1;
  #left = 0;

  /** `indirect`: the driver may use tables of indirect descriptors. */
  constructor(memory: GuestMemory, ring: Vring, indirect: boolean) {
    this.#memory = memory;
    this.#ring = ring;
    this.#indirect = indirect;
    this.#table = ring.descriptors;
  }

  begin(head: number): void {
    this.#table = this.#ring.descriptors;
    this.#entries = this.#ring.size;
    this.#index = head;
    this.#left = this.#ring.size;
  }

  /** Goes to the chain's next descriptor. */
  next(): number {
    for (;;) {
      const index = this.#index;
      if (index < 0) return END;
      if (index >= this.#entries || this.#left-- === 0) return LIE;
      const table = this.#table;
      const at = 4 * index;
      const low = table[at]! >>> 0;
      const high = table[at + 1]! >>> 0;
      const length = table[at + 2]! >>> 0;
      const word = table[at + 3]!;
      this.#index = word & NEXT ? word >>> 16 : -1;
      // Beyond 2^53 a number is no longer exact, and no guest has memory there.
      if (high >= 0x200000) return LIE;
      const address = high * 0x1_0000_0000 + low;
      if ((word & INDIRECT) !== 0) {
        if ((word & NEXT) !== 0 || !this.#enter(address, length)) return LIE;
        continue;
      }
      this.address = address;
      this.length = length;
      this.writable = (word & WRITE) !== 0;
      return MORE;
    }
  }

  /** Goes on in a table of indirect descriptors; a chain may have one at most. */
  #enter(address: number, length: number): boolean {
    const ring = this.#ring;
    if (!this.#indirect || this.#table !== ring.descriptors) return false;
    if (length === 0 || length % DESCRIPTOR !== 0 || length > ring.size * DESCRIPTOR) return false;
    if (this.#bytes.length < length) {
      this.#bytes = new Uint8Array(ring.size * DESCRIPTOR);
      this.#copy = new Int32Array(this.#bytes.buffer);
    }
    if (!this.#memory.read(address, length, this.#bytes, 0)) return false;
    this.#table = this.#copy;
    this.#entries = length / DESCRIPTOR;
    this.#index = 0;
    return true;
  }
}
