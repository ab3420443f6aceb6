/**
 * A recording's file. Blocks are only ever appended, so the blocks already written stay good whatever happens to the
 * process. If the disk is slower than the network, the recording ends, never the network: no more than `MOST_WAITING`
 * bytes wait to be written.
 */
import fs, {
  closeSync,
  createWriteStream,
  openSync,
  readSync,
  unlink,
  unlinkSync,
  type WriteStream,
  writeSync,
} from "node:fs";
import { reasonOf } from "../host/reason.ts";
import { BlockWriter, readEntries } from "./codec.ts";
import { crc32 } from "./crc.ts";
import { type Entry, type EntryName, fromJson, type Header, MAGIC, toJson, type Value, VERSION } from "./format.ts";
import { isSound } from "./soundness.ts";

const BLOCK = 262_144;
/** The most bytes that may wait to be written. */
const MOST_WAITING: number = 64 * 1_048_576;
/** The longest that an entry waits for its block, in milliseconds. */
const FLUSH_MILLIS = 200;
/** Milliseconds after which a disk that takes nothing is given up. */
const PATIENCE_MILLIS = 10_000;
/**
 * The longest block, in bytes. A block holds at least one entry, and the largest entry is a host's read of a megabyte,
 * or a file's.
 */
const LARGEST_BLOCK: number = 64 * 1_048_576;
const FRAMING = 8;

/** The calls of Node's `fs` that are used; tests replace them. */
export interface Disk {
  open: typeof fs.open;
  write: typeof fs.write;
  close: typeof fs.close;
}

export class RecordingFile {
  readonly #stream: WriteStream;
  readonly #block: BlockWriter = new BlockWriter();
  readonly #onEnd: (why: string | null) => void;
  #timer: NodeJS.Timeout | null = null;
  #waiting = 0;
  #over = false;
  /** Bytes written so far. */
  bytes: number;

  /**
   * Begins a file, which must not exist. Resolves when the disk has taken its first block. `ended` is called when
   * nothing more will be written: with null after `close`, otherwise with the reason. Rejects with an `Error` of one
   * line; then there is no file.
   */
  static async create(
    file: string,
    header: Header,
    ended: (why: string | null) => void,
    disk: Disk = fs,
  ): Promise<RecordingFile> {
    const head = new TextEncoder().encode(toJson(header));
    const beginning = Buffer.concat([new TextEncoder().encode(MAGIC), frame(head), head]);
    const stream = createWriteStream(file, { flags: "wx", mode: 0o600, fs: disk });
    let made = false;
    try {
      await new Promise<void>((resolve, reject) => {
        stream.once("error", reject);
        stream.once("open", () => {
          made = true;
          resolve();
        });
      });
      await new Promise<void>((resolve, reject) => {
        const late = setTimeout(() => reject(new Error("the disk takes nothing")), PATIENCE_MILLIS);
        stream.write(beginning, (error) => {
          clearTimeout(late);
          if (error) reject(error);
          else resolve();
        });
      });
    } catch (error) {
      stream.on("error", () => {}).destroy();
      if (made) unlink(file, () => {});
      const exists = (error as NodeJS.ErrnoException).code === "EEXIST";
      throw new Error(`cannot record to ${file}: ${exists ? "the file exists; expected a new one" : reasonOf(error)}`);
    }
    return new RecordingFile(stream, beginning.length, ended);
  }

  private constructor(stream: WriteStream, bytes: number, ended: (why: string | null) => void) {
    this.#stream = stream;
    this.bytes = bytes;
    this.#onEnd = ended;
    stream.on("error", (error) => this.#end(`the recording has ended: ${reasonOf(error)}`));
  }

  /** The block to write to. Bytes written after the recording has ended are discarded. */
  get block(): BlockWriter {
    return this.#block;
  }

  entry(name: EntryName, values: readonly Value[]): void {
    this.#block.entry(name, values);
    this.ended();
  }

  ended(): void {
    if (this.#over) this.#block.clear();
    else if (this.#block.used >= BLOCK) this.#flush();
    else this.#timer ??= setTimeout(() => this.#flush(), FLUSH_MILLIS).unref();
  }

  /**
   * Writes the remaining entries. Resolves when the file is complete, or when the disk has taken nothing for ten
   * seconds; at once if the recording has ended by itself.
   */
  async close(): Promise<void> {
    if (!this.#over) {
      this.#flush();
      this.#end(null);
    }
    if (this.#stream.destroyed) return;
    for (let before = -1; !this.#stream.closed && before !== this.#waiting; ) {
      before = this.#waiting;
      await this.#closedWithin(PATIENCE_MILLIS);
    }
  }

  #closedWithin(millis: number): Promise<void> {
    return new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, millis);
      this.#stream.once("close", () => {
        clearTimeout(timer);
        resolve();
      });
    });
  }

  #flush(): void {
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
    if (this.#over || this.#block.used === 0) return;
    this.#put(this.#block.take());
    if (this.#waiting > MOST_WAITING) this.#end("the recording has ended: the disk is slower than the network");
  }

  #put(block: Uint8Array): void {
    const size = FRAMING + block.length;
    const held = block.buffer.byteLength;
    this.#waiting += held;
    this.bytes += size;
    this.#stream.write(frame(block));
    this.#stream.write(block, () => {
      this.#waiting -= held;
      this.#block.give(block);
    });
  }

  #end(why: string | null): void {
    if (this.#over) return;
    this.#over = true;
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
    // If the recording was closed, waiting bytes are still written; if the disk has failed, they are discarded.
    if (why === null) this.#stream.end();
    else this.#stream.destroy();
    this.#onEnd(why);
  }
}

function frame(block: Uint8Array): Uint8Array {
  const framing = new Uint8Array(FRAMING);
  const view = new DataView(framing.buffer);
  view.setUint32(0, block.length, true);
  view.setUint32(4, crc32(block), true);
  return framing;
}

/** Writes a recording in one go, entry by entry. Its methods throw an `Error` of one line. */
export class RecordingWriter {
  readonly #file: string;
  readonly #fd: number;
  readonly #block: BlockWriter = new BlockWriter();
  /** Bytes written so far. */
  bytes = 0;

  /** Begins a file, which must not exist. */
  constructor(file: string, header: Header) {
    this.#file = file;
    this.#fd = this.#able(() => openSync(file, "wx", 0o600));
    try {
      const head = new TextEncoder().encode(toJson(header));
      this.#put(new TextEncoder().encode(MAGIC), frame(head), head);
    } catch (error) {
      this.discard();
      throw error;
    }
  }

  entry({ name, values }: Entry): void {
    this.#block.entry(name, values);
    if (this.#block.used >= BLOCK) this.#flush();
  }

  /** Completes the file and returns its length in bytes. */
  close(): number {
    this.#flush();
    closeSync(this.#fd);
    return this.bytes;
  }

  /** Removes the file. */
  discard(): void {
    closeSync(this.#fd);
    unlinkSync(this.#file);
  }

  #flush(): void {
    const block = this.#block.take();
    if (block.length > 0) this.#put(frame(block), block);
  }

  #put(...parts: readonly Uint8Array[]): void {
    for (const part of parts)
      for (let at = 0; at < part.length; ) at += this.#able(() => writeSync(this.#fd, part, at));
    this.bytes += parts.reduce((sum, part) => sum + part.length, 0);
  }

  #able<T>(act: () => T): T {
    try {
      return act();
    } catch (error) {
      const { code, message } = error as NodeJS.ErrnoException;
      throw new Error(
        `cannot write ${this.#file}: ${code === "EEXIST" ? "the file exists; expected a new one" : (code ?? message)}`,
      );
    }
  }
}

/**
 * Writes a whole recording to a file that must not exist. Returns its length in bytes. Throws an `Error` of one line;
 * then there is no file.
 */
export function writeRecording(file: string, header: Header, entries: Iterable<Entry>): number {
  const writer = new RecordingWriter(file, header);
  try {
    for (const entry of entries) writer.entry(entry);
    return writer.close();
  } catch (error) {
    writer.discard();
    throw error;
  }
}

/** The error about a file that is no recording, or none that this version can read; one line. */
export class RecordingError extends Error {}

/** Reads a recording, a block at a time. */
export class RecordingReader implements Iterable<Entry> {
  readonly file: string;
  readonly header: Header;
  /** What is wrong with the file behind its last good block, in words, once the entries have been read; null for nothing. */
  broken: string | null = null;

  /** Throws a `RecordingError` if `file` is no recording, or one of a newer version. */
  constructor(file: string) {
    this.file = file;
    const blocks = new BlockReader(file);
    try {
      const first = blocks.next();
      if (first === null) throw new RecordingError(`${file} ends before its header: ${blocks.broken ?? "it is empty"}`);
      this.header = readHeader(file, first);
    } finally {
      blocks.close();
    }
  }

  /** Throws a `RecordingError` when the file can no longer be read. */
  *[Symbol.iterator](): Generator<Entry> {
    const blocks = new BlockReader(this.file);
    try {
      blocks.next();
      for (let block = blocks.next(); block !== null; block = blocks.next()) {
        const entries = readEntries(block);
        for (;;) {
          let next: IteratorResult<Entry>;
          try {
            next = entries.next();
            if (!next.done && !isSound(next.value)) throw new Error(`${next.value.name} has values that none has`);
          } catch (error) {
            this.broken = `block ${blocks.count - 1} has an entry of another format: ${(error as Error).message}`;
            return;
          }
          if (next.done) break;
          yield next.value;
        }
      }
      this.broken = blocks.broken;
    } finally {
      blocks.close();
    }
  }
}

/** A file's blocks. The first is the header's. */
class BlockReader {
  readonly #file: string;
  readonly #fd: number;
  /** How many blocks have been read. */
  count = 0;
  /** Why reading has stopped, in words; null at the file's end. */
  broken: string | null = null;

  /** Throws a `RecordingError` if `file` cannot be read or does not begin as a recording. */
  constructor(file: string) {
    this.#file = file;
    // O_NONBLOCK, because opening a pipe would wait for a writer.
    this.#fd = this.#able(() => openSync(file, fs.constants.O_RDONLY | (fs.constants.O_NONBLOCK ?? 0)));
    try {
      if (this.#able(() => fs.fstatSync(this.#fd)).isFIFO())
        throw new RecordingError(`cannot read ${file}: it is a pipe`);
      if (Buffer.from(this.#bytes(MAGIC.length)).toString("latin1") !== MAGIC)
        throw new RecordingError(`${file} is no recording of tslirp's`);
    } catch (error) {
      this.close();
      throw error;
    }
  }

  /** The next good block, which belongs to the caller; null if there is none. */
  next(): Uint8Array | null {
    const framing = this.#bytes(FRAMING);
    if (framing.length === 0) return null;
    if (framing.length < FRAMING) return this.#end("is cut off");
    const view = new DataView(framing.buffer, framing.byteOffset);
    const length = view.getUint32(0, true);
    if (length === 0) return this.#end("has no bytes, as after a loss of power");
    if (length > LARGEST_BLOCK) return this.#end("has a length that no block has");
    const block = this.#bytes(length);
    if (block.length < length) return this.#end("is cut off");
    if (crc32(block) !== view.getUint32(4, true)) return this.#end("has other bytes than were written");
    this.count++;
    return block;
  }

  close(): void {
    closeSync(this.#fd);
  }

  #end(why: string): null {
    this.broken = `block ${this.count} ${why}`;
    return null;
  }

  /** The next `length` bytes, or fewer at the file's end. */
  #bytes(length: number): Uint8Array {
    const bytes = new Uint8Array(length);
    let at = 0;
    for (let more = 1; more > 0 && at < length; at += more)
      more = this.#able(() => readSync(this.#fd, bytes, at, length - at, null));
    return bytes.subarray(0, at);
  }

  #able<T>(act: () => T): T {
    try {
      return act();
    } catch (error) {
      throw new RecordingError(`cannot read ${this.#file}: ${reasonOf(error)}`);
    }
  }
}

function readHeader(file: string, block: Uint8Array): Header {
  let header: Header;
  try {
    header = fromJson(Buffer.from(block).toString("utf8")) as Header;
  } catch {
    throw new RecordingError(`${file} has a header that is no JSON`);
  }
  if (typeof header !== "object" || header === null || typeof header.version !== "number")
    throw new RecordingError(`${file} has a header without a version`);
  if (header.version > VERSION)
    throw new RecordingError(
      `${file} has version ${header.version}, written by tslirp ${header.package}; this one reads up to ${VERSION}`,
    );
  const { config, rules, seed } = header;
  if (typeof config !== "object" || config === null || typeof seed !== "number")
    throw new RecordingError(`${file} has a header without a configuration`);
  if (!Array.isArray(rules) || !rules.every((rule) => typeof rule === "string"))
    throw new RecordingError(`${file} has a header without rules`);
  return header;
}
