/**
 * Payload that a batch leaves in the guest's memory: which bytes of the slab it belongs to, and where it stands.
 *
 * Theory of operation. A large segment's headers are copied to the slab and checked there. Its payload has its place
 * behind them, which stays empty. When the payload is written to a host socket, the kernel takes it from the guest's
 * memory, by one `sendmsg` whose pieces are the guest's descriptors. Payload that the kernel does not take, or that
 * somebody has to read after all, is copied to its place (`fill`), and is then like any other. All of that happens
 * within the batch, and the guest gets its chains back only after it.
 */
import type { Elsewhere } from "../../core/link.ts";
import type { SharedLibc } from "../../host/shared-libc.ts";
import type { ReadSlab } from "../slab.ts";
import type { GuestMemory, Piece } from "./memory.ts";

/** How many pieces a batch may leave; further ones are copied. */
const MOST_PIECES = 1024;
/** IOV_MAX: how many pieces one call may have. */
const MOST_SENT = 1024;
const IOVEC = 16;

export class LeftPayload implements Elsewhere {
  readonly #libc: SharedLibc;
  readonly #memory: GuestMemory;
  #slab: ReadSlab | null = null;
  #slabAddress = 0;
  #count = 0;
  /** For each piece: its place in the slab (ascending), its length, and where it stands in which piece of memory. */
  readonly #at: Int32Array = new Int32Array(MOST_PIECES);
  readonly #len: Int32Array = new Int32Array(MOST_PIECES);
  readonly #piece: Int32Array = new Int32Array(MOST_PIECES);
  readonly #from: Int32Array = new Int32Array(MOST_PIECES);
  /** The `struct iovec`s of one call. */
  readonly #vector: Uint32Array;
  readonly #vectorAddress: number;
  #iovecs = 0;

  constructor(libc: SharedLibc, memory: GuestMemory) {
    this.#libc = libc;
    this.#memory = memory;
    const table = Buffer.allocUnsafeSlow(MOST_SENT * IOVEC);
    this.#vector = new Uint32Array(table.buffer, table.byteOffset, table.length / 4);
    this.#vectorAddress = libc.addressOf(table);
  }

  /** A batch begins in `slab`; it has left no payload yet. */
  begin(slab: ReadSlab): void {
    this.#count = 0;
    if (this.#slab === slab) return;
    this.#slab = slab;
    this.#slabAddress = this.#libc.addressOf(slab.bytes);
  }

  /** How many pieces are left. */
  get count(): number {
    return this.#count;
  }

  /**
   * Leaves the guest's `len` bytes from `address`, whose place is at `at`; if there are too many pieces, copies them.
   * False when the guest has no such memory.
   */
  leave(at: number, address: number, len: number): boolean {
    while (len > 0) {
      const index = this.#memory.find(address);
      if (index < 0) return false;
      const piece = this.#memory.pieces[index]!;
      const from = address - piece.guest;
      const part = Math.min(len, piece.end - address);
      if (this.#count === MOST_PIECES) piece.read(from, this.#slab!.bytes, at, part);
      else {
        const n = this.#count++;
        this.#at[n] = at;
        this.#len[n] = part;
        this.#piece[n] = index;
        this.#from[n] = from;
      }
      at += part;
      address += part;
      len -= part;
    }
    return true;
  }

  /** Copies all but the first `kept` pieces to their places. */
  settle(kept: number): void {
    for (let i = kept; i < this.#count; i++) this.#copy(i, 0, this.#len[i]!);
    this.#count = kept;
  }

  /** Drops all but the first `kept` pieces. */
  forget(kept: number): void {
    this.#count = kept;
  }

  fill(at: number, len: number): void {
    const end = at + len;
    for (let i = this.#after(at); i < this.#count && this.#at[i]! < end; i++) {
      const skip = Math.max(0, at - this.#at[i]!);
      this.#copy(i, skip, Math.min(this.#len[i]!, end - this.#at[i]!) - skip);
    }
  }

  send(fd: number, at: Int32Array, len: Int32Array, count: number): number {
    this.#iovecs = 0;
    for (let run = 0; run < count; run++) {
      let from = at[run]!;
      const end = from + len[run]!;
      for (let i = this.#after(from); i < this.#count && this.#at[i]! < end; i++) {
        const start = this.#at[i]!;
        this.#add(this.#slabAddress + from, start - from);
        const skip = Math.max(0, from - start);
        const part = Math.min(this.#len[i]!, end - start) - skip;
        this.#add(this.#pieceOf(i).address + this.#from[i]! + skip, part);
        from = start + skip + part;
      }
      this.#add(this.#slabAddress + from, end - from);
    }
    return this.#libc.sendVector(fd, this.#vectorAddress, this.#iovecs);
  }

  /** The first piece that ends behind `at`. */
  #after(at: number): number {
    let low = 0;
    let high = this.#count;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.#at[middle]! + this.#len[middle]! > at) high = middle;
      else low = middle + 1;
    }
    return low;
  }

  #add(address: number, len: number): void {
    // Bytes beyond the call's limit are sent by the next call.
    if (len <= 0 || this.#iovecs >= MOST_SENT) return;
    const word = 4 * this.#iovecs++;
    this.#vector[word] = address;
    this.#vector[word + 1] = Math.floor(address / 2 ** 32);
    this.#vector[word + 2] = len;
    this.#vector[word + 3] = 0;
  }

  #copy(i: number, skip: number, len: number): void {
    this.#pieceOf(i).read(this.#from[i]! + skip, this.#slab!.bytes, this.#at[i]! + skip, len);
  }

  #pieceOf(i: number): Piece {
    return this.#memory.pieces[this.#piece[i]!]!;
  }
}
