/**
 * Memory of another process, mapped here and seen through ArrayBuffers.
 *
 * V8 keeps no count of the views of such memory, and koffi's buffers cannot be detached. So a mapping that is closed is
 * not unmapped: private, empty memory takes its place at once, at the same address. Remaining views then read zeros and
 * write into nothing, and the other process's memory is released. The addresses are freed when the garbage collector
 * has found that no view is left.
 */
import fs from "node:fs";
import type { SharedLibc } from "./shared-libc.ts";

const PAGE = 4096;

interface Range {
  readonly libc: SharedLibc;
  readonly address: number;
  readonly length: number;
  /** How many buffers have not been collected yet. */
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
  /** Offset of the wanted bytes in the mapping, because files are mapped from a boundary of their blocks. */
  readonly #skip: number;
  readonly length: number;

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
    this.#skip = offset % block;
    const whole = Math.ceil((this.#skip + length) / block) * block;
    this.length = length;
    const address = libc.map(fd, offset - this.#skip, whole);
    this.#range = { libc, address, length: whole, views: 0, closed: false };
  }

  /** A view of `length` bytes from `at`; at most 4 GiB. */
  view(at: number, length: number): ArrayBuffer {
    const range = this.#range;
    const view = range.libc.view(range.address + this.#skip + at, length);
    range.views++;
    collected.register(view, range);
    return view;
  }

  /** The address of the byte `at` in this process. */
  addressOf(at: number): number {
    return this.#range.address + this.#skip + at;
  }

  /** Releases the other process's memory; views read zeros from now on. */
  close(): void {
    const range = this.#range;
    if (range.closed) return;
    range.closed = true;
    if (range.views > 0) range.libc.replace(range.address, range.length);
    giveBack(range);
  }
}
