/**
 * Standard error, for everything that this process writes there. Whatever is behind it (a full disk, a pipe whose
 * reader is slow, stuck or gone), a write neither waits nor fails, and the network goes on. Node's own stream is not
 * used, because it ends the whole process when the disk is full or the reader is gone.
 *
 * One write is under way at a time. Lines written meanwhile wait, up to a bound, and are written together. Text that
 * the system does not take is left out and counted.
 *
 * A full descriptor must not block, because a write that waits occupies a thread of Node's that no process can leave
 * behind when it ends. The flag for that cannot be set at the descriptor itself, since other processes have the same one.
 * So a pipe or a terminal is opened again, and a socket gets the flag with each call, which needs koffi.
 */
import fs from "node:fs";
import { streamLibc } from "../host/stream-libc.ts";

/** How many bytes wait for a reader. More are left out. */
const MOST_WAITING = 1_048_576;
/** Milliseconds after which a full descriptor that does not block is tried again. */
const AGAIN_MILLIS = 100;
/** Milliseconds after which a write counts as stuck. The end of the process does not wait for a stuck write. */
const STUCK_MILLIS = 1_000;
/** How often, and how many milliseconds apart, the last words are offered to a full descriptor. */
const LAST_TRIES = 10;
const LAST_PAUSE_MILLIS = 10;

/** Where the bytes go. */
export interface Output {
  /** Calls `done` later, with how many of the bytes were taken, or with an error. */
  write(bytes: Uint8Array, done: (error: NodeJS.ErrnoException | null, written: number) => void): void;
  /** Returns how many of the bytes were taken. Throws a Node error: EAGAIN where there is no room. */
  writeSync(bytes: Uint8Array): number;
}

export class StandardError {
  /** Called with whole lines that will not be written. */
  onLeftOut: (text: string) => void = () => {};
  readonly #open: () => Output;
  #opened: Output | null = null;
  #waiting: string[] = [];
  #bytes = 0;
  #writing = false;
  /** The current write was waited for in vain. */
  #stuck = false;
  /** The bytes that a full descriptor did not take, until they are tried again. */
  #again: Uint8Array | null = null;
  /** The reader is gone for good. */
  #gone = false;
  #settled: (() => void)[] = [];

  /** `open` is called at the first write. */
  constructor(open: () => Output = () => output(2)) {
    this.#open = open;
  }

  /** Writes whole lines. */
  write(text: string): void {
    if (this.#gone) return;
    if (this.#bytes + text.length > MOST_WAITING) return this.onLeftOut(text);
    this.#waiting.push(text);
    this.#bytes += text.length;
    if (!this.#writing) this.#next();
  }

  /** Resolves when everything has been written or left out, after a second at the latest. */
  async settled(): Promise<void> {
    if (!this.#writing) return;
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<void>((resolve) => {
      timer = setTimeout(() => {
        this.#stuck = this.#again === null;
        resolve();
      }, STUCK_MILLIS);
    });
    await Promise.race([late, new Promise<void>((resolve) => this.#settled.push(resolve))]);
    clearTimeout(timer);
  }

  /** Writes what waits before it returns, unless a write is stuck. Called when the process ends. */
  flush(): void {
    if (this.#gone || this.#stuck) return;
    let bytes = Buffer.concat([this.#again ?? new Uint8Array(0), this.#take()]);
    if (this.#writing && this.#again === null) pause(LAST_PAUSE_MILLIS);
    for (let tries = 0; bytes.length > 0 && tries < LAST_TRIES; tries++) {
      try {
        bytes = bytes.subarray(this.#output().writeSync(bytes));
      } catch (error) {
        if (!isFull(error)) return;
        pause(LAST_PAUSE_MILLIS);
      }
    }
  }

  #next(): void {
    if (this.#waiting.length > 0 && !this.#gone) return this.#offer(this.#take());
    this.#writing = false;
    for (const resolve of this.#settled.splice(0)) resolve();
  }

  #output(): Output {
    this.#opened ??= this.#open();
    return this.#opened;
  }

  #take(): Uint8Array {
    const text = this.#waiting.join("");
    this.#waiting = [];
    this.#bytes = 0;
    return Buffer.from(text);
  }

  #offer(bytes: Uint8Array): void {
    this.#writing = true;
    this.#again = null;
    this.#output().write(bytes, (error, written) => {
      this.#stuck = false;
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

function output(fd: number): Output {
  try {
    const what = fs.fstatSync(fd);
    if (what.isSocket()) return toSocket(fd) ?? toFile(fd);
    if (what.isFIFO() || what.isCharacterDevice()) {
      const { O_WRONLY, O_NONBLOCK, O_NOCTTY } = fs.constants;
      return toFile(fs.openSync(`/proc/self/fd/${fd}`, O_WRONLY | O_NONBLOCK | O_NOCTTY));
    }
  } catch {
    // It is closed, or there is no /proc, or --user has taken the right to open it again.
  }
  return toFile(fd);
}

function toFile(fd: number): Output {
  return {
    write: (bytes, done) => fs.write(fd, bytes, 0, bytes.length, null, done),
    writeSync: (bytes) => fs.writeSync(fd, bytes),
  };
}

/** Null without koffi. */
function toSocket(fd: number): Output | null {
  const calls = streamLibc();
  if (calls === null) return null;
  const writeSync = (bytes: Uint8Array): number => {
    const taken = calls.send(fd, bytes);
    if (taken >= 0) return taken;
    const code = calls.code();
    throw Object.assign(new Error(`send ${code}`), { code });
  };
  return {
    writeSync,
    write(bytes, done) {
      setImmediate(() => {
        let taken = 0;
        let failure: NodeJS.ErrnoException | null = null;
        try {
          taken = writeSync(bytes);
        } catch (error) {
          failure = error as NodeJS.ErrnoException;
        }
        done(failure, taken);
      });
    },
  };
}

function isFull(error: unknown): boolean {
  return (error as NodeJS.ErrnoException).code === "EAGAIN";
}

function pause(millis: number): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, millis);
}
