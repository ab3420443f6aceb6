/**
 * Memory of another process, mapped here and seen through ArrayBuffers.
 *
 * V8 keeps no count of who still has a view of such memory, and koffi's buffers cannot be detached. So a mapping that is
 * closed is not unmapped: private, empty memory takes its place, at once and at the same address. Whoever has a view still
 * reads zeros and writes into nothing, and the other process's memory is let go of. The addresses are given back when the
 * garbage collector has found the last view gone.
 */
import fs from "node:fs";
import type { SharedLibc } from "./shared-libc.ts";

const PAGE = 4096;

interface Range {
  readonly libc: SharedLibc;
  readonly address: number;
  readonly length: number;
  /** Buffers that have not been collected. */
  views: number;
  closed: boolean;
}

const collected: FinalizationRegistry<Range> = new FinalizationRegistry((range) => {
  range.views--;
  giveBack(range);
});

function giveBack(range: Range): void {
  if (range.closed && range.views === 0) range.libc.unmap(range.address, range.length);
}

export class SharedMapping {
  readonly #range: Range;
  /** Where what was asked for begins: files are mapped from a boundary of their blocks. */
  readonly #skip: number;
  readonly length: number;

  /** Maps `length` bytes of a file from `offset`; the descriptor may be closed afterwards. Throws an `Error` of one line. */
  constructor(libc: SharedLibc, fd: number, offset: number, length: number) {
    const { size, blksize, mode } = fs.fstatSync(fd);
    // A device would have no size, and bytes beyond a file's end are a SIGBUS.
    if ((mode & fs.constants.S_IFMT) !== fs.constants.S_IFREG) throw new Error("the descriptor is not of memory");
    if (offset + length > size) throw new Error(`the file has ${size} bytes, not ${offset + length}`);
    // Huge pages: a file system of them says so by its block size.
    const block = Math.max(PAGE, blksize);
    this.#skip = offset % block;
    const whole = Math.ceil((this.#skip + length) / block) * block;
    this.length = length;
    const address = libc.map(fd, offset - this.#skip, whole);
    this.#range = { libc, address, length: whole, views: 0, closed: false };
  }

  /** A window on `length` bytes from `at`, 4 GiB at the most. */
  view(at: number, length: number): ArrayBuffer {
    const range = this.#range;
    const view = range.libc.view(range.address + this.#skip + at, length);
    range.views++;
    collected.register(view, range);
    return view;
  }

  /** Where in this process the byte `at` stands. */
  addressOf(at: number): number {
    return this.#range.address + this.#skip + at;
  }

  /** The other process's memory is let go of; views read zeros from now on. */
  close(): void {
    const range = this.#range;
    if (range.closed) return;
    range.closed = true;
    if (range.views > 0) range.libc.replace(range.address, range.length);
    giveBack(range);
  }
}
