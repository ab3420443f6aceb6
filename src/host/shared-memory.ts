/**
 * Memory of another process, mapped here; parts of it are seen through ArrayBuffers.
 *
 * V8 keeps no count of the views of such memory, and koffi's buffers cannot be detached. So what views show of a
 * mapping that is closed is not unmapped: private, empty memory takes its place at once, at the same address. Remaining
 * views then read zeros and write into nothing, and the other process's memory is released. The addresses are freed
 * when the garbage collector has found that no view is left.
 *
 * V8 takes a view's length for memory in use, and collects garbage for each GiB or less of it. So there are views only
 * of what is used, and a process makes only so many bytes of them in a time. Until a part has its view, the C library
 * copies its bytes.
 */
import fs from "node:fs";
import type { SharedLibc } from "./shared-libc.ts";

const PAGE = 4096;
/**
 * What all mappings of the process may have: half of the addresses that x86 and ARM give a process, and half of the
 * mappings that Linux does. The process itself needs some.
 */
export const MOST_MAPPED: number = 64 * 2 ** 40;
export const MOST_MAPPINGS = 32_768;
/** How many bytes of views may be made at once, and how many more each millisecond. */
const VIEWED_AT_ONCE = 8 * 2 ** 30;
const VIEWED_PER_MILLI = 5 * 2 ** 20;
/** What a view costs at the least. */
const LEAST_VIEWED = 2 ** 26;

let mapped = 0;
let mappings = 0;
let allowance = VIEWED_AT_ONCE;
let allowedAt = 0;

/** Takes the price of a view from the process's allowance. False when there is too little. */
function afford(length: number): boolean {
  const now = performance.now();
  allowance = Math.min(VIEWED_AT_ONCE, allowance + (now - allowedAt) * VIEWED_PER_MILLI);
  allowedAt = now;
  const price = Math.max(length, LEAST_VIEWED);
  if (price > allowance) return false;
  allowance -= price;
  return true;
}

/** Addresses of a closed mapping that views still show. */
interface Rest {
  readonly libc: SharedLibc;
  readonly start: number;
  end: number;
  views: number;
}

/** A view that has not been collected: the blocks that it shows, and its mapping's views. */
interface View {
  readonly start: number;
  readonly end: number;
  readonly among: Set<View>;
  rest: Rest | null;
}

const collected: FinalizationRegistry<View> = new FinalizationRegistry((view) => {
  view.among.delete(view);
  const { rest } = view;
  if (rest !== null && --rest.views === 0) rest.libc.unmap(rest.start, rest.end - rest.start);
});

export class SharedMapping {
  readonly #libc: SharedLibc;
  readonly #start: number;
  readonly #end: number;
  readonly #block: number;
  /** The address of the first wanted byte, because files are mapped from a boundary of their blocks. */
  readonly #first: number;
  readonly #views: Set<View> = new Set();
  #closed = false;

  /**
   * Maps `length` bytes of a file from `offset`. The descriptor may be closed afterwards. Throws an `Error` of one
   * line.
   */
  constructor(libc: SharedLibc, fd: number, offset: number, length: number) {
    const { size, blksize, mode } = fs.fstatSync(fd);
    // A device would have no size, and reading beyond a file's end is a SIGBUS.
    if ((mode & fs.constants.S_IFMT) !== fs.constants.S_IFREG) throw new Error("the descriptor is not of memory");
    if (offset + length > size) throw new Error(`the file has ${size} bytes, not ${offset + length}`);
    // A file system of huge pages tells their size as its block size.
    const block = Math.max(PAGE, blksize);
    const skip = offset % block;
    const whole = Math.ceil((skip + length) / block) * block;
    if (mapped + whole > MOST_MAPPED) throw new Error("all guests together share more than 64 TiB of memory");
    if (mappings === MOST_MAPPINGS) throw new Error(`all guests together share more than ${MOST_MAPPINGS} regions`);
    this.#libc = libc;
    this.#block = block;
    this.#start = libc.map(fd, offset - skip, whole);
    this.#end = this.#start + whole;
    this.#first = this.#start + skip;
    mapped += whole;
    mappings++;
  }

  /** A view of `length` bytes from `at`; at most 4 GiB, and with `sparing` null while the process has made too many. */
  view(at: number, length: number, sparing: true): ArrayBuffer | null;
  view(at: number, length: number): ArrayBuffer;
  view(at: number, length: number, sparing = false): ArrayBuffer | null {
    if (sparing && !afford(length)) return null;
    const address = this.#first + at;
    const block = this.#block;
    const view = this.#libc.view(address, length);
    const among = this.#views;
    const start = address - (address % block);
    const shown: View = { start, end: Math.ceil((address + length) / block) * block, among, rest: null };
    among.add(shown);
    collected.register(view, shown);
    return view;
  }

  /** The address of the byte `at` in this process. */
  addressOf(at: number): number {
    return this.#first + at;
  }

  /** Copies `length` bytes from `at` without a view; zeros once the mapping is closed. */
  read(at: number, length: number, to: Uint8Array, toAt: number): void {
    if (this.#closed) to.fill(0, toAt, toAt + length);
    else this.#libc.copyFrom(to.subarray(toAt, toAt + length), this.#first + at, length);
  }

  /** Copies `length` bytes to `at` without a view; once the mapping is closed, nothing. */
  write(at: number, length: number, from: Uint8Array, fromAt: number): void {
    if (!this.#closed) this.#libc.copyTo(this.#first + at, from.subarray(fromAt, fromAt + length), length);
  }

  /** Releases the other process's memory; views read zeros from now on. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    mapped -= this.#end - this.#start;
    mappings--;
    const libc = this.#libc;
    let from = this.#start;
    for (const { start, end } of restsOf(libc, this.#views)) {
      libc.replace(start, end - start);
      if (from < start) libc.unmap(from, start - from);
      from = end;
    }
    if (from < this.#end) libc.unmap(from, this.#end - from);
  }
}

/** What views show, in ascending order and without overlaps. */
function restsOf(libc: SharedLibc, views: ReadonlySet<View>): readonly Rest[] {
  const rests: Rest[] = [];
  for (const view of [...views].sort((a, b) => a.start - b.start)) {
    let rest = rests.at(-1);
    if (rest === undefined || view.start >= rest.end) {
      rest = { libc, start: view.start, end: view.end, views: 0 };
      rests.push(rest);
    }
    rest.end = Math.max(rest.end, view.end);
    rest.views++;
    view.rest = rest;
  }
  return rests;
}
