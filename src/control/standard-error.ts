/**
 * Standard error, for all that this process says there. Whatever stands behind it (a full disk, a pipe whose reader is slow, stuck or
 * gone), saying something neither waits nor fails: the network goes on. Node's own stream would not do, since it fails the whole
 * process where the disk is full or a reader has gone.
 *
 * One write is under way at a time; what is said meanwhile waits, up to a bound, and goes as one. What the system refuses to take is
 * left out and counted.
 */
import fs from "node:fs";

/** Bytes that wait for a reader; more is left out. */
const MOST_WAITING = 1_048_576;
/** A descriptor that does not block, and is full, is tried again after so long. */
const AGAIN_MILLIS = 100;
/** A write that takes so long is stuck: the end of the process does not wait for it. */
const STUCK_MILLIS = 1_000;
/** How often, and at which distance, the last words are offered to a descriptor that is full. */
const LAST_TRIES = 10;
const LAST_PAUSE_MILLIS = 10;

/** What writes and tells later, as Node's `fs`; another one in tests. */
export type Disk = Pick<typeof fs, "write" | "writeSync">;

export class StandardError {
  /** Told of whole lines that nobody will read. */
  onLeftOut: (text: string) => void = () => {};
  readonly #fd: number;
  readonly #disk: Disk;
  #waiting: string[] = [];
  #bytes = 0;
  /** Since when something is being written; null between writes. */
  #since: number | null = null;
  /** What a full descriptor did not take, until it is tried again. */
  #again: Uint8Array | null = null;
  /** Nobody will ever read again. */
  #gone = false;
  #settled: (() => void)[] = [];

  constructor(fd = 2, disk: Disk = fs) {
    this.#fd = fd;
    this.#disk = disk;
  }

  /** Says whole lines. */
  write(text: string): void {
    if (this.#gone) return;
    if (this.#bytes + text.length > MOST_WAITING) return this.onLeftOut(text);
    this.#waiting.push(text);
    this.#bytes += text.length;
    if (this.#since === null) this.#next();
  }

  /** Resolves when all that was said has been taken or left out; after a second at the latest. */
  async settled(): Promise<void> {
    if (this.#since === null) return;
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<void>((resolve) => {
      timer = setTimeout(resolve, STUCK_MILLIS);
    });
    await Promise.race([late, new Promise<void>((resolve) => this.#settled.push(resolve))]);
    clearTimeout(timer);
  }

  /** The last words of a process that ends: what waits is written before this returns, unless a write is stuck. */
  flush(): void {
    if (this.#gone) return;
    let bytes = Buffer.concat([this.#again ?? new Uint8Array(0), this.#take()]);
    if (this.#since !== null && this.#again === null) {
      if (performance.now() - this.#since > STUCK_MILLIS) return;
      pause(LAST_PAUSE_MILLIS);
    }
    for (let tries = 0; bytes.length > 0 && tries < LAST_TRIES; tries++) {
      try {
        bytes = bytes.subarray(this.#disk.writeSync(this.#fd, bytes));
      } catch (error) {
        if (!isFull(error)) return;
        pause(LAST_PAUSE_MILLIS);
      }
    }
  }

  #next(): void {
    if (this.#waiting.length > 0 && !this.#gone) return this.#offer(this.#take());
    this.#since = null;
    for (const resolve of this.#settled.splice(0)) resolve();
  }

  #take(): Uint8Array {
    const text = this.#waiting.join("");
    this.#waiting = [];
    this.#bytes = 0;
    return Buffer.from(text);
  }

  #offer(bytes: Uint8Array): void {
    this.#since = performance.now();
    this.#again = null;
    this.#disk.write(this.#fd, bytes, 0, bytes.length, null, (error, written) => {
      if (error === null) {
        if (written < bytes.length) this.#offer(bytes.subarray(written));
        else this.#next();
      } else if (isFull(error)) {
        this.#again = bytes;
        setTimeout(() => this.#offer(bytes), AGAIN_MILLIS);
      } else {
        if (error.code === "EPIPE") this.#gone = true;
        this.onLeftOut(Buffer.from(bytes).toString());
        this.#next();
      }
    });
  }
}

/** The process's own. */
export const standardError: StandardError = new StandardError();
process.once("exit", () => standardError.flush());

function isFull(error: unknown): boolean {
  return (error as NodeJS.ErrnoException).code === "EAGAIN";
}

function pause(millis: number): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, millis);
}
