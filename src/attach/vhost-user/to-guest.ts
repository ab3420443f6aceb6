/**
 * The ring by which the guest receives. The guest gives buffers. A frame is spread over as many as it needs (mergeable
 * buffers), or has to fit one chain.
 *
 * `has` looks ahead: it walks available chains until they hold a frame, and keeps where they lead, checked, in memory
 * of ours. `begin` and `put` then follow that. Each piece of a frame, its headers or a part of a send buffer, goes
 * straight from where it stands into the guest's buffers.
 */
import { ChainWalk, END, LIE } from "./chain.ts";
import type { Features } from "./features.ts";
import type { GuestMemory } from "./memory.ts";
import type { Vring } from "./vring.ts";

/** Offset of `num_buffers` in the header. */
const NUM_BUFFERS = 10;

export class ToGuest {
  readonly #memory: GuestMemory;
  readonly #ring: Vring;
  readonly #features: Features;
  readonly #walk: ChainWalk;
  /** Chains that have been walked: first descriptor, bytes, and number of parts. Circular, as are the parts. */
  readonly #heads: Int32Array;
  readonly #bytes: Float64Array;
  readonly #parts: Int32Array;
  #first = 0;
  #seen = 0;
  /** Bytes in all of them. */
  #room = 0;
  readonly #partPiece: Int32Array;
  readonly #partAt: Int32Array;
  readonly #partLen: Int32Array;
  readonly #partMask: number;
  #firstPart = 0;
  #seenParts = 0;
  /** Bytes that the current frame still needs, and how many of those go into the current chain. */
  #left = 0;
  #inChain = 0;
  /** The current chain: its bytes in all, the parts left, and how much of the first of those has been written. */
  #written = 0;
  #partsLeft = 0;
  #partDone = 0;

  constructor(memory: GuestMemory, ring: Vring, features: Features) {
    this.#memory = memory;
    this.#ring = ring;
    this.#features = features;
    this.#walk = new ChainWalk(memory, ring, features.indirect);
    const { size } = ring;
    this.#heads = new Int32Array(size);
    this.#bytes = new Float64Array(size);
    this.#parts = new Int32Array(size);
    const parts = 4 * Math.max(size, 64);
    this.#partPiece = new Int32Array(parts);
    this.#partAt = new Int32Array(parts);
    this.#partLen = new Int32Array(parts);
    this.#partMask = parts - 1;
  }

  /**
   * Whether the guest has given room for a frame of `len` bytes and its header. If not, the guest is asked to tell of
   * more.
   */
  has(len: number): boolean {
    const needed = len + this.#features.header;
    if (this.#enough(needed) || this.#look(needed)) return true;
    return !this.#ring.broken && !this.#ring.arm(this.#seen) && this.#look(needed);
  }

  /**
   * Begins a frame of `len` bytes with its header, for which `has` has found room. Fills in `num_buffers` where the
   * header stands, at `header`. The frame follows by `put`; then the caller publishes. False when no buffer is large
   * enough.
   */
  begin(len: number, bytes: Uint8Array, header: number): boolean {
    const mask = this.#ring.size - 1;
    let chains = 1;
    for (let held = this.#bytes[this.#first]!; held < len; chains++) {
      if (!this.#features.mergeable || chains === this.#seen) return false;
      held += this.#bytes[(this.#first + chains) & mask]!;
    }
    if (this.#features.header > NUM_BUFFERS) {
      bytes[header + NUM_BUFFERS] = chains;
      bytes[header + NUM_BUFFERS + 1] = chains >> 8;
    }
    this.#left = len;
    this.#beginChain();
    return true;
  }

  /** Writes the frame's next `len` bytes. */
  put(bytes: Uint8Array, at: number, len: number): void {
    while (len > 0) {
      const index = this.#firstPart;
      const done = this.#partDone;
      const part = Math.min(len, this.#partLen[index]! - done, this.#inChain);
      this.#memory.pieces[this.#partPiece[index]!]!.write(this.#partAt[index]! + done, bytes, at, part);
      at += part;
      len -= part;
      this.#partDone = done + part;
      this.#inChain -= part;
      if (this.#inChain === 0) this.#endChain();
      else if (this.#partDone === this.#partLen[index]!) this.#nextPart();
    }
  }

  #beginChain(): void {
    const first = this.#first;
    this.#written = Math.min(this.#left, this.#bytes[first]!);
    this.#inChain = this.#written;
    this.#left -= this.#written;
    this.#partsLeft = this.#parts[first]!;
    this.#partDone = 0;
  }

  #nextPart(): void {
    this.#firstPart = (this.#firstPart + 1) & this.#partMask;
    this.#partsLeft--;
    this.#partDone = 0;
  }

  /** Gives the current chain back to the guest, with its unused part. */
  #endChain(): void {
    const first = this.#first;
    this.#ring.use(this.#heads[first]!, this.#written);
    this.#firstPart = (this.#firstPart + this.#partsLeft) & this.#partMask;
    this.#seenParts -= this.#parts[first]!;
    this.#room -= this.#bytes[first]!;
    this.#first = (first + 1) & (this.#ring.size - 1);
    this.#seen--;
    if (this.#left > 0) this.#beginChain();
  }

  #enough(needed: number): boolean {
    return this.#features.mergeable ? this.#room >= needed : this.#seen > 0;
  }

  /** Walks more chains until there are `needed` bytes. */
  #look(needed: number): boolean {
    const ring = this.#ring;
    for (const waiting = ring.waiting(); this.#seen < waiting; ) {
      const head = ring.head(this.#seen);
      if (head < 0) return false;
      if (!this.#collect(head)) {
        ring.broken = true;
        return false;
      }
      if (this.#enough(needed)) return true;
    }
    return false;
  }

  /** Walks a chain and keeps where it leads. False when the chain lies. */
  #collect(head: number): boolean {
    const walk = this.#walk;
    const memory = this.#memory;
    const from = this.#seenParts;
    let bytes = 0;
    walk.begin(head);
    for (let more = walk.next(); more !== END; more = walk.next()) {
      if (more === LIE || !walk.writable) return false;
      let address = walk.address;
      for (let left = walk.length; left > 0; ) {
        const index = memory.find(address);
        if (index < 0 || this.#seenParts > this.#partMask) return false;
        const piece = memory.pieces[index]!;
        const part = Math.min(left, piece.end - address);
        const at = (this.#firstPart + this.#seenParts++) & this.#partMask;
        this.#partPiece[at] = index;
        this.#partAt[at] = address - piece.guest;
        this.#partLen[at] = part;
        bytes += part;
        address += part;
        left -= part;
      }
    }
    // A buffer without room for the header cannot be used.
    if (bytes < this.#features.header) return false;
    const at = (this.#first + this.#seen++) & (this.#ring.size - 1);
    this.#heads[at] = head;
    this.#bytes[at] = bytes;
    this.#parts[at] = this.#seenParts - from;
    this.#room += bytes;
    return true;
  }
}
