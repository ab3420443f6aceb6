/**
 * The guest's memory, as far as the front end shares it.
 *
 * Regions are mapped whole and seen in pieces, because V8's buffers end at 4 GiB and an offset below 1 GiB is a small
 * integer. Pieces are cut at multiples of 1 GiB in the *guest's* memory; a buffer may lie across two. A piece is made
 * when the guest first uses an address in it, so that memory costs nothing by its size. Guest addresses are numbers,
 * because none is above 2^52.
 */

import type { SharedLibc } from "../../host/shared-libc.ts";
import { SharedMapping } from "../../host/shared-memory.ts";
import type { RegionSpec } from "./messages.ts";

/** As many as QEMU allows for its memory devices. */
export const MOST_REGIONS = 509;
/** How many bytes all regions of a guest may have: more than the largest machines that are rented. */
export const MOST_MEMORY: number = 16 * 2 ** 40;
const PIECE = 2 ** 30;
/** x86 and ARM have physical addresses of 52 bits. */
const MOST_ADDRESS = 1n << 52n;
/** From this many bytes on `set` is faster than a loop. */
const LONG = 96;

/** A part of a region, at most 1 GiB. */
export class Piece {
  /** The guest's addresses of the first byte and behind the last. */
  readonly guest: number;
  readonly end: number;
  /** The address of the first byte in this process. */
  readonly address: number;
  readonly #mapping: SharedMapping;
  /** Where the piece begins in the mapping. */
  readonly #at: number;
  /** Null until the process may make one more view. */
  #bytes: Uint8Array | null = null;

  constructor(mapping: SharedMapping, at: number, guest: number, end: number) {
    this.#mapping = mapping;
    this.#at = at;
    this.guest = guest;
    this.end = end;
    this.address = mapping.addressOf(at);
  }

  /** Copies `len` bytes from `from` on, counted from the piece's beginning. */
  read(from: number, to: Uint8Array, at: number, len: number): void {
    const bytes = this.#bytes ?? this.#view();
    if (bytes === null) this.#mapping.read(this.#at + from, len, to, at);
    else copy(bytes, from, to, at, len);
  }

  /** Copies `len` bytes to `to`, counted from the piece's beginning. */
  write(to: number, from: Uint8Array, at: number, len: number): void {
    const bytes = this.#bytes ?? this.#view();
    if (bytes === null) this.#mapping.write(this.#at + to, len, from, at);
    else copy(from, at, bytes, to, len);
  }

  #view(): Uint8Array | null {
    const view = this.#mapping.view(this.#at, this.end - this.guest, true);
    if (view !== null) this.#bytes = new Uint8Array(view);
    return this.#bytes;
  }
}

interface Region {
  readonly spec: RegionSpec;
  readonly guest: number;
  readonly end: number;
  readonly mapping: SharedMapping;
  /** For each GiB of guest addresses from the region's first: its piece's index, or -1. */
  readonly indexes: Int32Array;
}

export class GuestMemory {
  /** Those that have been used; one keeps its index until a region goes. */
  readonly pieces: Piece[] = [];
  readonly #libc: SharedLibc;
  /** In ascending order of the guest's addresses. */
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
    this.#forget();
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
    this.#forget();
    return { retire: () => close(gone) };
  }

  /** Releases all memory. */
  close(): void {
    close(this.#regions);
    this.#set([]);
    this.#forget();
  }

  /** The index of the piece that has a guest's address; -1 for none. */
  find(address: number): number {
    const last = this.pieces[this.#last];
    if (last !== undefined && address >= last.guest && address < last.end) return this.#last;
    const region = this.#regionOf(address);
    if (region === null) return -1;
    const { guest, end, mapping, indexes } = region;
    const gib = Math.floor(address / PIECE);
    const i = gib - Math.floor(guest / PIECE);
    let index = indexes[i]!;
    if (index < 0) {
      const from = Math.max(guest, gib * PIECE);
      index = this.pieces.push(new Piece(mapping, from - guest, from, Math.min(end, (gib + 1) * PIECE))) - 1;
      indexes[i] = index;
    }
    this.#last = index;
    return index;
  }

  #regionOf(address: number): Region | null {
    const regions = this.#regions;
    let low = 0;
    let high = regions.length - 1;
    while (low <= high) {
      const middle = (low + high) >> 1;
      const region = regions[middle]!;
      if (address < region.guest) high = middle - 1;
      else if (address >= region.end) low = middle + 1;
      else return region;
    }
    return null;
  }

  /** Copies `len` bytes of the guest's memory from `address` to `to`. False when the guest has no such memory. */
  read(address: number, len: number, to: Uint8Array, at: number): boolean {
    while (len > 0) {
      const index = this.find(address);
      if (index < 0) return false;
      const piece = this.pieces[index]!;
      const from = address - piece.guest;
      const part = Math.min(len, piece.end - address);
      piece.read(from, to, at, part);
      address += part;
      at += part;
      len -= part;
    }
    return true;
  }

  /** A view of the `size` bytes that have the address `user` in the front end; null when they are not in one region. */
  locate(user: bigint, size: number): { readonly buffer: ArrayBuffer; readonly at: number } | null {
    for (const { spec, mapping } of this.#regions) {
      if (user < spec.user || user >= spec.user + spec.size) continue;
      const from = user - spec.user;
      if (from + BigInt(size) > spec.size) return null;
      // A buffer begins at a multiple of 16 bytes, so that a misaligned ring is one in the buffer.
      const before = Math.min(mapping.addressOf(Number(from)) % 16, Number(from));
      return { buffer: mapping.view(Number(from) - before, before + size), at: before };
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
    const all = others.reduce((sum, other) => sum + other.spec.size, size);
    if (all > BigInt(MOST_MEMORY)) throw new Error(`the guest shares more than ${MOST_MEMORY / 2 ** 40} TiB of memory`);
    const mapping = new SharedMapping(this.#libc, descriptor, Number(offset), Number(size));
    const first = Number(guest);
    const end = first + Number(size);
    const indexes = new Int32Array(Math.ceil(end / PIECE) - Math.floor(first / PIECE)).fill(-1);
    return { spec, guest: first, end, mapping, indexes };
  }

  #set(regions: readonly Region[]): void {
    this.#regions = [...regions].sort((a, b) => a.guest - b.guest);
  }

  /** Lets all pieces be made again. */
  #forget(): void {
    this.pieces.length = 0;
    this.#last = 0;
    for (const { indexes } of this.#regions) indexes.fill(-1);
  }
}

function close(regions: readonly Region[]): void {
  for (const { mapping } of regions) mapping.close();
}

/** Copies `len` bytes between buffers. */
export function copy(from: Uint8Array, at: number, to: Uint8Array, toAt: number, len: number): void {
  if (len >= LONG) to.set(from.subarray(at, at + len), toAt);
  else for (let i = 0; i < len; i++) to[toAt + i] = from[at + i]!;
}
