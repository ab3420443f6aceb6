/**
 * The guest's memory, as far as the front end shares it.
 *
 * Regions are mapped whole and viewed in pieces, because V8's buffers end at 4 GiB and an offset below 1 GiB is a small
 * integer. Pieces are cut at multiples of 1 GiB in the *guest's* memory. So no ring lies across two, since a guest's
 * kernel aligns a ring to its size; a buffer may. Guest addresses are numbers, because none is above 2^52.
 */

import type { SharedLibc } from "../../host/shared-libc.ts";
import { SharedMapping } from "../../host/shared-memory.ts";
import type { RegionSpec } from "./messages.ts";

/** As many as QEMU allows for its memory devices. */
export const MOST_REGIONS = 509;
const PIECE = 2 ** 30;
/** x86 and ARM have physical addresses of 52 bits. */
const MOST_ADDRESS = 1n << 52n;

/** A part of a region that one buffer shows. */
export interface Piece {
  /** The guest's addresses of the first byte and behind the last. */
  readonly guest: number;
  readonly end: number;
  readonly bytes: Uint8Array;
  /** The address of the first byte in this process. */
  readonly address: number;
}

interface Region {
  readonly spec: RegionSpec;
  readonly mapping: SharedMapping;
  readonly pieces: readonly Piece[];
}

export class GuestMemory {
  /** In ascending order of the guest's addresses. */
  pieces: readonly Piece[] = [];
  readonly #libc: SharedLibc;
  #regions: readonly Region[] = [];
  /** The piece in which the last address was found. */
  #last = 0;

  constructor(libc: SharedLibc) {
    this.#libc = libc;
  }

  get regions(): number {
    return this.#regions.length;
  }

  /**
   * Replaces all regions; the earlier ones stay until `retire` is called. Throws an `Error` of one line and changes
   * nothing.
   */
  replace(specs: readonly RegionSpec[], descriptors: readonly number[]): { retire(): void } {
    const before = this.#regions;
    const regions: Region[] = [];
    try {
      for (const [i, spec] of specs.entries()) regions.push(this.#map(spec, descriptors[i]!, regions));
    } catch (error) {
      close(regions);
      throw error;
    }
    this.#set(regions);
    return { retire: () => close(before) };
  }

  /** Adds a region. Throws an `Error` of one line. */
  add(spec: RegionSpec, descriptor: number): void {
    if (this.#regions.length >= MOST_REGIONS) throw new Error(`more than ${MOST_REGIONS} regions of memory`);
    this.#set([...this.#regions, this.#map(spec, descriptor, this.#regions)]);
  }

  /** Removes a region, which stays until `retire` is called. Throws an `Error` of one line. */
  remove({ guest, size, user }: RegionSpec): { retire(): void } {
    const gone = this.#regions.filter(({ spec }) => spec.guest === guest && spec.size === size && spec.user === user);
    if (gone.length === 0) throw new Error(`no region of memory at 0x${guest.toString(16)}`);
    this.#set(this.#regions.filter((region) => !gone.includes(region)));
    return { retire: () => close(gone) };
  }

  /** Releases all memory. */
  close(): void {
    close(this.#regions);
    this.#set([]);
  }

  /** The index of the piece that has a guest's address; -1 for none. */
  find(address: number): number {
    const pieces = this.pieces;
    const last = pieces[this.#last];
    if (last !== undefined && address >= last.guest && address < last.end) return this.#last;
    let low = 0;
    let high = pieces.length - 1;
    while (low <= high) {
      const middle = (low + high) >> 1;
      const piece = pieces[middle]!;
      if (address < piece.guest) high = middle - 1;
      else if (address >= piece.end) low = middle + 1;
      else {
        this.#last = middle;
        return middle;
      }
    }
    return -1;
  }

  /** Copies `len` bytes of the guest's memory from `address` to `to`. False when the guest has no such memory. */
  read(address: number, len: number, to: Uint8Array, at: number): boolean {
    while (len > 0) {
      const index = this.find(address);
      if (index < 0) return false;
      const piece = this.pieces[index]!;
      const from = address - piece.guest;
      const part = Math.min(len, piece.end - address);
      copy(piece.bytes, from, to, at, part);
      address += part;
      at += part;
      len -= part;
    }
    return true;
  }

  /** The `size` bytes that have the address `user` in the front end; null when they are not in one piece. */
  locate(user: bigint, size: number): { readonly buffer: ArrayBufferLike; readonly at: number } | null {
    for (const { spec } of this.#regions) {
      if (user < spec.user || user >= spec.user + spec.size) continue;
      const address = Number(spec.guest + (user - spec.user));
      const index = this.find(address);
      const piece = this.pieces[index]!;
      if (address + size > piece.end) return null;
      return { buffer: piece.bytes.buffer, at: piece.bytes.byteOffset + address - piece.guest };
    }
    return null;
  }

  #map(spec: RegionSpec, descriptor: number, others: readonly Region[]): Region {
    const { guest, size, user, offset } = spec;
    const most = MOST_ADDRESS;
    if (size === 0n || size > most || guest > most - size || user > 2n ** 64n - size || offset > most)
      throw new Error(`a region of memory cannot be at 0x${guest.toString(16)} with ${size} bytes`);
    if (others.some((other) => guest < other.spec.guest + other.spec.size && other.spec.guest < guest + size))
      throw new Error(`two regions of memory share 0x${guest.toString(16)}`);
    const mapping = new SharedMapping(this.#libc, descriptor, Number(offset), Number(size));
    const pieces: Piece[] = [];
    for (let from = Number(guest), end = from + Number(size); from < end; ) {
      const to = Math.min(end, (Math.floor(from / PIECE) + 1) * PIECE);
      const at = from - Number(guest);
      const bytes = new Uint8Array(mapping.view(at, to - from));
      pieces.push({ guest: from, end: to, bytes, address: mapping.addressOf(at) });
      from = to;
    }
    return { spec, mapping, pieces };
  }

  #set(regions: readonly Region[]): void {
    this.#regions = regions;
    this.pieces = regions.flatMap(({ pieces }) => pieces).sort((a, b) => a.guest - b.guest);
    this.#last = 0;
  }
}

function close(regions: readonly Region[]): void {
  for (const { mapping } of regions) mapping.close();
}

/** From this many bytes on `set` is faster than a loop. */
const LONG = 96;

/** Copies `len` bytes between buffers. */
export function copy(from: Uint8Array, at: number, to: Uint8Array, toAt: number, len: number): void {
  if (len >= LONG) to.set(from.subarray(at, at + len), toAt);
  else for (let i = 0; i < len; i++) to[toAt + i] = from[at + i]!;
}
