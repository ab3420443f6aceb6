/**
 * Captures: writes the frames on a network's cables as pcapng, into a file that can be read while it grows, or into a
 * stream (`wireshark -k -i -`).
 *
 * Theory of operation. A frame is copied once, into a chunk. A chunk is handed to the writer when it is full, or
 * after `FLUSH_MILLIS`. The packet path never waits: while more than `mostWaiting` bytes wait for the disk, packets
 * are left out and counted, and the interface's statistics at the file's end tell how many. If the writer fails (a
 * full disk), the capture ends, not the network. The NAT's reports of a flow become comments at that flow's packets.
 */
import fs, { createWriteStream, realpathSync } from "node:fs";
import { unlink } from "node:fs/promises";
import path from "node:path";
import { performance } from "node:perf_hooks";
import type { Writable } from "node:stream";
import { DEFAULT_LIMITS } from "../core/limits.ts";
import type { Link } from "../core/link.ts";
import type { TraceEvent } from "../core/trace.ts";
import { lockFile } from "../host/file-lock.ts";
import {
  addComment,
  commentLength,
  INBOUND,
  interfaceLength,
  PACKET_DATA,
  packetLength,
  SECTION_HEADER,
  STATISTICS_LENGTH,
  sectionLength,
  writeInterface,
  writePacket,
  writeSection,
  writeStatistics,
} from "../wire/pcapng.ts";
import { ConfigError } from "./errors.ts";
import { FlowComments } from "./flow-comments.ts";
import { type FrameFilter, parseFrameFilter } from "./frame-filter.ts";

/** Limits of a capture: which frames, how much of each, and in which files. */
export interface CaptureOptions {
  /** How many bytes of each frame are kept (65553, which is all). */
  readonly snapLength?: number | undefined;
  /** Which frames are captured, in the words of tcpdump: `tcp port 80 and host 10.0.2.15` (all). */
  readonly filter?: string | undefined;
  /** Begin a new file when the current one has so many bytes (never). Has no effect on a stream. */
  readonly rotateBytes?: number | undefined;
  /** Begin a new file when the current one is so many seconds old (never). Has no effect on a stream. */
  readonly rotateSeconds?: number | undefined;
  /** How many files are kept; the oldest is removed when another one is complete (all). */
  readonly keepFiles?: number | undefined;
}

/** The state of a capture and its counts since it began. */
export interface CaptureStats {
  /** The path of the file that is being written; null for a stream. */
  readonly file: string | null;
  /** How many packets were captured. */
  readonly packets: number;
  /** How many bytes these packets had on the cable; files may have less of them (`snapLength`). */
  readonly bytes: number;
  /** How many packets were left out because the writer was too slow. */
  readonly dropped: number;
}

const APPLICATION = new TextEncoder().encode("tslirp");
const SNAP_LENGTH = 65_553;
const CHUNK = 262_144;
/** How many bytes of a chunk are reserved for a packet's comment. */
const MAX_COMMENT = 1024;
const FLUSH_MILLIS = 50;
/** How many cables have an interface of their own. Any further cables share the last interface. */
const MAX_INTERFACES = 256;

const NO_READER = "expected a pipe that somebody reads: start its reader first";
const NO_CAPTURE = "expected a new file, an empty one or a capture: it holds something else";
const ONE_WRITER = "expected a file that no other capture writes";
/**
 * The files that captures of this process write, as `place` names them. Two writers would leave a file that nobody
 * can read.
 */
const WRITTEN: Set<string> = new Set();

/** A file's real path, with all links resolved. The file need not exist. */
function place(file: string): string {
  try {
    return realpathSync(file);
  } catch {
    const { dir, base } = path.parse(path.resolve(file));
    try {
      return path.join(realpathSync(dir), base);
    } catch {
      // There is no such folder. Opening the file will fail and say so.
      return path.join(dir, base);
    }
  }
}

/** Whether an existing file begins as a capture does, so that it may be written over. */
function beginsAsCapture(file: string, done: (error: Error | null) => void): void {
  fs.open(file, "r", (error, fd) => {
    if (error !== null) return done(error);
    const head = new Uint8Array(4);
    fs.read(fd, head, 0, 4, 0, (unread) => {
      const capture = new DataView(head.buffer).getUint32(0) === SECTION_HEADER;
      fs.close(fd, () => done(unread ?? (capture ? null : new Error(NO_CAPTURE))));
    });
  });
}

/**
 * `fs.open` for writing. Refuses a file that another process's capture writes, or that holds something else, before
 * anything in it is lost. Refuses a pipe without a reader at once: an open that waits for the reader could not be
 * cancelled.
 */
function openLocked(
  file: string,
  _flags: string,
  mode: number,
  done: (error: NodeJS.ErrnoException | null, fd: number) => void,
): void {
  const { O_CREAT, O_NONBLOCK = 0, O_WRONLY } = fs.constants;
  fs.open(file, O_WRONLY | O_CREAT | O_NONBLOCK, mode, (error, fd) => {
    if (error !== null) return done(error.code === "ENXIO" ? new Error(NO_READER) : error, fd);
    const fail = (why: Error): void => fs.close(fd, () => done(why, -1));
    fs.fstat(fd, (unknown, stats) => {
      if (unknown !== null) return fail(unknown);
      // Writes to the pipe must wait for its reader, so the pipe is opened again; `fd` keeps the pipe from ending until
      // then.
      if (stats.isFIFO()) return fs.open(file, O_WRONLY, (gone, waiting) => fs.close(fd, () => done(gone, waiting)));
      if (!lockFile(fd)) return fail(new Error(ONE_WRITER));
      // A terminal cannot be truncated (EINVAL), and need not be.
      const begin = (): void =>
        fs.ftruncate(fd, (cut) => (cut === null || cut.code === "EINVAL" ? done(null, fd) : fail(cut)));
      if (!stats.isFile() || stats.size === 0) begin();
      else beginsAsCapture(file, (other) => (other === null ? begin() : fail(other)));
    });
  });
}

/** An interface of the file that is being written: a cable. */
interface Interface {
  readonly id: number;
  readonly name: Uint8Array;
  packets: number;
  dropped: number;
}

/** A running capture of frames as pcapng, which `Network.capture` begins. */
export class Capture {
  /** Resolves when all is written: with the error that ended the capture, or null. */
  readonly closed: Promise<Error | null>;
  /** Resolves with null when the file is open (a stream is), or with `closed`'s error when it cannot be opened. */
  readonly opened: Promise<Error | null>;
  readonly #target: string | null;
  readonly #snapLength: number;
  readonly #mostWaiting: number;
  readonly #filter: FrameFilter | null;
  readonly #rotateBytes: number;
  readonly #rotateMillis: number;
  readonly #keepFiles: number;
  readonly #comments: FlowComments = new FlowComments();
  /** The complete files, the oldest first. Noted only when some will have to be removed. */
  readonly #complete: { readonly number: number; readonly file: string }[] = [];
  #file: string | null = null;
  /** Files that are being written: the last one, and those that rotation has ended. */
  readonly #writing: Set<Promise<void>> = new Set();
  #interfaces: Map<string, Interface> = new Map();
  #out: Writable;
  #chunk: Uint8Array = new Uint8Array(CHUNK);
  #used = 0;
  /** Where the block of the last packet begins in the chunk; -1 when that chunk has been handed on. */
  #last = -1;
  #outstanding = 0;
  #fileBytes = 0;
  #fileSince = 0;
  #fileNumber = 1;
  #timer: NodeJS.Timeout | null = null;
  #over = false;
  #error: Error | null = null;
  #packets = 0;
  #bytes = 0;
  #dropped = 0;
  #onClosed: (error: Error | null) => void = () => {};

  /**
   * Up to `mostWaiting` bytes, and a chunk, wait for the writer. Throws `ConfigError` about a filter, or when another
   * capture of this process writes the file. If the file cannot be opened, the capture ends: see `opened`.
   */
  constructor(
    target: string | Writable,
    options: CaptureOptions = {},
    mostWaiting: number = DEFAULT_LIMITS.captureBytes,
  ) {
    this.#mostWaiting = mostWaiting;
    this.#filter = options.filter === undefined ? null : parseFrameFilter("filter", options.filter);
    this.#snapLength = Math.min(options.snapLength ?? SNAP_LENGTH, SNAP_LENGTH);
    this.#rotateBytes = options.rotateBytes ?? Number.POSITIVE_INFINITY;
    this.#rotateMillis = (options.rotateSeconds ?? Number.POSITIVE_INFINITY) * 1000;
    this.#keepFiles = options.keepFiles ?? Number.POSITIVE_INFINITY;
    this.closed = new Promise((resolve) => {
      this.#onClosed = resolve;
    });
    this.#target = typeof target === "string" ? target : null;
    if (typeof target === "string" && WRITTEN.has(place(target))) throw new ConfigError("file", target, ONE_WRITER);
    this.#out = typeof target === "string" ? this.#openFile(target) : target;
    if (typeof target !== "string") this.#listen(target);
    const out = this.#out;
    const open = typeof target === "string" ? new Promise<null>((done) => out.once("open", () => done(null))) : null;
    this.opened = Promise.race([open, this.closed]);
    this.#beginSection();
    this.#flush();
  }

  /** The state of the capture now. */
  get stats(): CaptureStats {
    return { file: this.#file, packets: this.#packets, bytes: this.#bytes, dropped: this.#dropped };
  }

  /** Takes a frame that passes on `link`. `direction` is `INBOUND` or `OUTBOUND`. */
  frame(link: Link, direction: number, bytes: Uint8Array, at: number, len: number): void {
    if (this.#over || (this.#filter !== null && !this.#filter(bytes, at, len))) return;
    const now = performance.now();
    if (this.#target !== null && this.#fileIsFull(now)) {
      this.#rotate();
      if (this.#over) return;
    }
    const cable = this.#interface(link.name);
    if (direction === INBOUND) cable.packets++;
    if (this.#outstanding > this.#mostWaiting) {
      this.#dropped++;
      cable.dropped++;
      return;
    }
    const captured = Math.min(len, this.#snapLength);
    this.#room(packetLength(captured) + MAX_COMMENT);
    this.#last = this.#used;
    const micros = Math.round((performance.timeOrigin + now) * 1000);
    this.#used = writePacket(this.#chunk, this.#used, cable.id, micros, bytes, at, len, captured, direction);
    this.#packets++;
    this.#bytes += len;
    const comment = this.#comments.ofFrame(this.#chunk, this.#last + PACKET_DATA, captured, now);
    if (comment !== null) this.#addComment(comment);
    this.#arm();
  }

  /** Takes a report of the NAT. It becomes a comment at the flow's packet: the last one, or one that follows soon. */
  event(event: TraceEvent): void {
    if (this.#over) return;
    const len = this.#last < 0 ? 0 : this.#used - this.#last - packetLength(0);
    const comment = this.#comments.ofEvent(event, this.#chunk, this.#last + PACKET_DATA, len, performance.now());
    if (comment !== null) this.#addComment(comment);
  }

  /** Ends the capture and writes the waiting packets. Resolves with `closed`. */
  stop(): Promise<Error | null> {
    if (!this.#over) {
      this.#endSection();
      this.#flush();
      this.#finish();
      this.#out.end(async () => {
        await Promise.all(this.#writing);
        this.#onClosed(this.#error);
      });
    }
    return this.closed;
  }

  #addComment(text: string): void {
    if (this.#last < 0) return;
    const comment = new TextEncoder().encode(text).subarray(0, MAX_COMMENT - 8);
    if (this.#used + commentLength(comment) > CHUNK) return;
    this.#used = addComment(this.#chunk, this.#last, comment);
  }

  #openFile(file: string): Writable {
    this.#file = file;
    const number = this.#fileNumber;
    const key = place(file);
    WRITTEN.add(key);
    const out = createWriteStream(file, { mode: 0o600, fs: { ...fs, open: openLocked } });
    this.#listen(out);
    const done = new Promise<void>((resolve) => out.once("close", resolve)).then(() => {
      WRITTEN.delete(key);
      return this.#written(number, file);
    });
    this.#writing.add(done);
    void done.then(() => this.#writing.delete(done));
    return out;
  }

  /** A file is complete. Removes the oldest files beyond `keepFiles`. */
  async #written(number: number, file: string): Promise<void> {
    if (this.#keepFiles === Number.POSITIVE_INFINITY) return;
    this.#complete.push({ number, file });
    // Small files may close in another order than they were begun.
    this.#complete.sort((a, b) => a.number - b.number);
    while (this.#complete.length + (this.#over ? 0 : 1) > this.#keepFiles) {
      // Somebody may have removed the file already.
      await unlink(this.#complete.shift()!.file).catch(() => {});
    }
  }

  #listen(out: Writable): void {
    out.on("error", (error) => {
      if (out === this.#out) this.#fail(error);
    });
    out.on("close", () => {
      if (out === this.#out && !this.#over) this.#fail(new Error("its reader has gone"));
    });
  }

  #fail(error: Error): void {
    if (this.#error !== null) return;
    this.#error = error;
    this.#finish();
    this.#out.destroy();
    this.#onClosed(error);
  }

  #finish(): void {
    this.#over = true;
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
  }

  #fileIsFull(now: number): boolean {
    return this.#fileBytes + this.#used >= this.#rotateBytes || now - this.#fileSince >= this.#rotateMillis;
  }

  /** Goes on in another file: `trace-0002.pcapng` after `trace.pcapng`, and so on. */
  #rotate(): void {
    this.#endSection();
    this.#flush();
    this.#out.end();
    const { dir, name, ext } = path.parse(this.#target!);
    this.#fileNumber++;
    const next = path.join(dir, `${name}-${String(this.#fileNumber).padStart(4, "0")}${ext}`);
    if (WRITTEN.has(place(next))) return this.#fail(new Error(`${next}: ${ONE_WRITER}`));
    this.#out = this.#openFile(next);
    this.#beginSection();
  }

  #beginSection(): void {
    this.#fileBytes = 0;
    this.#fileSince = performance.now();
    this.#interfaces = new Map();
    this.#room(sectionLength(APPLICATION));
    this.#used = writeSection(this.#chunk, this.#used, APPLICATION);
  }

  #endSection(): void {
    const micros = Math.round((performance.timeOrigin + performance.now()) * 1000);
    for (const { id, packets, dropped } of this.#interfaces.values()) {
      this.#room(STATISTICS_LENGTH);
      this.#used = writeStatistics(this.#chunk, this.#used, id, micros, packets, dropped);
    }
  }

  #interface(cable: string): Interface {
    const known = this.#interfaces.get(cable);
    if (known !== undefined) return known;
    if (this.#interfaces.size >= MAX_INTERFACES) return [...this.#interfaces.values()][MAX_INTERFACES - 1]!;
    const name = new TextEncoder().encode(cable).subarray(0, 255);
    this.#room(interfaceLength(name));
    const added = { id: this.#interfaces.size, name, packets: 0, dropped: 0 };
    this.#interfaces.set(cable, added);
    this.#used = writeInterface(this.#chunk, this.#used, name, this.#snapLength);
    return added;
  }

  #room(len: number): void {
    if (this.#used + len > CHUNK) this.#flush();
  }

  #arm(): void {
    this.#timer ??= setTimeout(() => {
      this.#timer = null;
      this.#flush();
    }, FLUSH_MILLIS).unref();
  }

  #flush(): void {
    const len = this.#used;
    if (len === 0) return;
    const bytes = this.#chunk.subarray(0, len);
    // A chunk with much in it is given away. From one with little in it, that little is copied, and the chunk is kept.
    if (len > CHUNK / 4) {
      this.#chunk = new Uint8Array(CHUNK);
      this.#write(bytes);
    } else this.#write(bytes.slice());
    this.#used = 0;
    this.#last = -1;
  }

  #write(bytes: Uint8Array): void {
    this.#fileBytes += bytes.length;
    this.#outstanding += bytes.length;
    this.#out.write(bytes, () => {
      this.#outstanding -= bytes.length;
    });
  }
}
