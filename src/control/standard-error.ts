/**
 * Standard error, for everything that this process writes there. Whatever is behind it (a full disk, a pipe whose
 * reader is slow, stuck or gone), a write neither waits nor fails, and the network goes on. Node's own stream is not
 * used, because it ends the whole process when the disk is full or the reader is gone.
 *
 * One write is under way at a time. Lines written meanwhile wait, up to a bound, and are written together. Text that
 * the system does not take is left out and counted.
 */
import fs from "node:fs";

/** How many bytes wait for a reader. More are left out. */
const MOST_WAITING = 1_048_576;
/** Milliseconds after which a full descriptor that does not block is tried again. */
const AGAIN_MILLIS = 100;
/** Milliseconds after which a write counts as stuck. The end of the process does not wait for a stuck write. */
const STUCK_MILLIS = 1_000;
/** How often, and how many milliseconds apart, the last words are offered to a full descriptor. */
const LAST_TRIES = 10;
const LAST_PAUSE_MILLIS = 10;

/** The functions of Node's `fs` that are used; tests have others. */
export type Disk = Pick<typeof fs, "write" | "writeSync">;

export class StandardError {
  /** Called with whole lines that will not be written. */
  onLeftOut: (text: string) => void = () => {};
  readonly #fd: number;
  readonly #disk: Disk;
  #waiting: string[] = [];
  #bytes = 0;
  /** When the current write began; null between writes. */
  #since: number | null = null;
  /** The bytes that a full descriptor did not take, until they are tried again. */
  #again: Uint8Array | null = null;
  /** The reader is gone for good. */
  #gone = false;
  #settled: (() => void)[] = [];

  constructor(fd = 2, disk: Disk = fs) {
    this.#fd = fd;
    this.#disk = disk;
  }

  /** Writes whole lines. */
  write(text: string): void {
    if (this.#gone) return;
    if (this.#bytes + text.length > MOST_WAITING) return this.onLeftOut(text);
    this.#waiting.push(text);
    this.#bytes += text.length;
    if (this.#since === null) this.#next();
  }

  /** Resolves when everything has been written or left out, after a second at the latest. */
  async settled(): Promise<void> {
    if (this.#since === null) return;
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<void>((resolve) => {
      timer = setTimeout(resolve, STUCK_MILLIS);
    });
    await Promise.race([late, new Promise<void>((resolve) => this.#settled.push(resolve))]);
    clearTimeout(timer);
  }

  /** Writes what waits before it returns, unless a write is stuck. Called when the process ends. */
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

/** The standard error of this process. */
export const standardError: StandardError = new StandardError();
process.once("exit", () => standardError.flush());

function isFull(error: unknown): boolean {
  return (error as NodeJS.ErrnoException).code === "EAGAIN";
}

function pause(millis: number): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, millis);
}
