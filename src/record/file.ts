/**
 * A recording's file. It is only ever appended to, a block at a time, so what stands in it stays good whatever happens to
 * the process. A disk that is slower than the network ends the recording, never the network: no more than
 * `MOST_WAITING` bytes wait to be written.
 */
import fs, {
  closeSync,
  createWriteStream,
  openSync,
  readFileSync,
  readSync,
  type WriteStream,
  writeSync,
} from "node:fs";
import { BlockWriter, readEntries } from "./codec.ts";
import { crc32 } from "./crc.ts";
import { type Entry, type EntryName, fromJson, type Header, MAGIC, toJson, type Value, VERSION } from "./format.ts";

const BLOCK = 262_144;
/** In bytes. */
const MOST_WAITING: number = 64 * 1_048_576;
/** The longest that an entry waits for its block, in milliseconds. */
const FLUSH_MILLIS = 200;
/** A disk that takes nothing for so long is not waited for. */
const PATIENCE_MILLIS = 10_000;
/** A block holds an entry at least, and the largest is a host's read of a megabyte or a file's. */
const LARGEST_BLOCK: number = 64 * 1_048_576;
const FRAMING = 8;

/** What the disk is, for tests: Node's. */
export interface Disk {
  open: typeof fs.open;
  write: typeof fs.write;
  close: typeof fs.close;
}

export class RecordingFile {
  readonly #stream: WriteStream;
  readonly #block: BlockWriter = new BlockWriter();
  readonly #ended: (why: string | null) => void;
  #timer: NodeJS.Timeout | null = null;
  #waiting = 0;
  #over = false;
  /** Written so far. */
  bytes = 0;

  /**
   * Begins a file; there may be none of that name. `ended` is told once that nothing more is written, and why where nobody
   * has asked for that. Rejects with an `Error` of one line.
   */
  static async create(
    file: string,
    header: Header,
    ended: (why: string | null) => void,
    disk: Disk = fs,
  ): Promise<RecordingFile> {
    const stream = createWriteStream(file, { flags: "wx", mode: 0o600, fs: disk });
    await new Promise<void>((resolve, reject) => {
      stream.once("open", () => resolve());
      stream.once("error", (error: NodeJS.ErrnoException) =>
        reject(
          new Error(
            error.code === "EEXIST"
              ? `cannot record to ${file}: the file exists; expected a new one`
              : `cannot record to ${file}: ${error.code ?? error.message}`,
          ),
        ),
      );
    });
    return new RecordingFile(stream, header, ended);
  }

  private constructor(stream: WriteStream, header: Header, ended: (why: string | null) => void) {
    this.#stream = stream;
    this.#ended = ended;
    stream.on("error", (error) => this.#end(`the recording has ended: ${error.message}`));
    this.#put(new TextEncoder().encode(MAGIC), false);
    this.#put(new TextEncoder().encode(toJson(header)), true);
  }

  entry(name: EntryName, values: readonly Value[]): void {
    if (this.#over) return;
    this.#block.entry(name, values);
    if (this.#block.used >= BLOCK) this.#flush();
    else this.#timer ??= setTimeout(() => this.#flush(), FLUSH_MILLIS).unref();
  }

  /**
   * Writes what there is. Resolves when the file has it all, or when the disk has taken nothing for ten seconds; at once for a
   * recording that has ended by itself.
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
    this.#put(this.#block.take(), true);
    if (this.#waiting > MOST_WAITING) this.#end("the recording has ended: the disk is slower than the network");
  }

  #put(bytes: Uint8Array, framed: boolean): void {
    const framing = framed ? frame(bytes) : new Uint8Array(0);
    const size = framing.length + bytes.length;
    this.#waiting += size;
    this.bytes += size;
    if (framed) this.#stream.write(framing);
    this.#stream.write(bytes, () => {
      this.#waiting -= size;
    });
  }

  #end(why: string | null): void {
    if (this.#over) return;
    this.#over = true;
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
    // What is left goes to a disk that takes it, and is let go of for one that does not.
    if (why === null) this.#stream.end();
    else this.#stream.destroy();
    this.#ended(why);
  }
}

function frame(block: Uint8Array): Uint8Array {
  const framing = new Uint8Array(FRAMING);
  const view = new DataView(framing.buffer);
  view.setUint32(0, block.length, true);
  view.setUint32(4, crc32(block), true);
  return framing;
}

/** Writes a whole recording; there may be none of that name. Returns its bytes. Throws an `Error` of one line. */
export function writeRecording(file: string, header: Header, entries: Iterable<Entry>): number {
  let bytes = 0;
  try {
    const fd = openSync(file, "wx", 0o600);
    const put = (...parts: readonly Uint8Array[]): void => {
      for (const part of parts) for (let at = 0; at < part.length; ) at += writeSync(fd, part, at);
      bytes += parts.reduce((sum, part) => sum + part.length, 0);
    };
    try {
      const head = new TextEncoder().encode(toJson(header));
      put(new TextEncoder().encode(MAGIC), frame(head), head);
      const block = new BlockWriter();
      const flush = (): void => {
        const full = block.take();
        if (full.length > 0) put(frame(full), full);
      };
      for (const { name, values } of entries) {
        block.entry(name, values);
        if (block.used >= BLOCK) flush();
      }
      flush();
    } finally {
      closeSync(fd);
    }
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    throw new Error(
      `cannot write ${file}: ${code === "EEXIST" ? "the file exists; expected a new one" : (code ?? message)}`,
    );
  }
  return bytes;
}

/** A recording that is read. Its file is in memory as a whole. */
export class RecordingReader implements Iterable<Entry> {
  readonly file: string;
  readonly header: Header;
  /** What is wrong with the file behind its last good block, in words, once the entries have been read; null for nothing. */
  broken: string | null;
  readonly #blocks: readonly Uint8Array[];

  /** Throws an `Error` of one line about what is no recording, or one of a newer version. */
  constructor(file: string) {
    this.file = file;
    const { blocks, broken } = readBlocks(readBehindMagic(file));
    const first = blocks.shift();
    if (first === undefined) throw new Error(`${file} ends before its header: ${broken ?? "it is empty"}`);
    this.header = readHeader(file, first);
    this.#blocks = blocks;
    this.broken = broken;
  }

  *[Symbol.iterator](): Generator<Entry> {
    for (const [i, block] of this.#blocks.entries()) {
      const entries = readEntries(block);
      for (;;) {
        let next: IteratorResult<Entry>;
        try {
          next = entries.next();
        } catch (error) {
          this.broken = `block ${i + 1} has an entry of another format: ${(error as Error).message}`;
          return;
        }
        if (next.done) break;
        yield next.value;
      }
    }
  }
}

/** What follows the magic number. What has none is read no further: it may never end. */
function readBehindMagic(file: string): Buffer {
  let known: boolean;
  let bytes: Buffer = Buffer.alloc(MAGIC.length);
  try {
    // A pipe that nobody writes to would be waited for.
    const fd = openSync(file, fs.constants.O_RDONLY | (fs.constants.O_NONBLOCK ?? 0));
    try {
      if (fs.fstatSync(fd).isFIFO()) throw Object.assign(new Error(), { code: "it is a pipe" });
      let length = 0;
      for (let more = 1; more > 0 && length < MAGIC.length; length += more)
        more = readSync(fd, bytes, length, MAGIC.length - length, null);
      known = bytes.toString("latin1") === MAGIC;
      if (known) bytes = readFileSync(fd);
    } finally {
      closeSync(fd);
    }
  } catch (error) {
    throw new Error(`cannot read ${file}: ${(error as NodeJS.ErrnoException).code ?? String(error)}`);
  }
  if (!known) throw new Error(`${file} is no recording of tslirp's`);
  return bytes;
}

function readHeader(file: string, block: Uint8Array): Header {
  let header: Header;
  try {
    header = fromJson(Buffer.from(block).toString("utf8")) as Header;
  } catch {
    throw new Error(`${file} has a header that is no JSON`);
  }
  if (typeof header !== "object" || header === null || typeof header.version !== "number")
    throw new Error(`${file} has a header without a version`);
  if (header.version > VERSION)
    throw new Error(
      `${file} has version ${header.version}, written by tslirp ${header.package}; this one reads up to ${VERSION}`,
    );
  const { config, rules, seed } = header;
  if (typeof config !== "object" || config === null || typeof seed !== "number")
    throw new Error(`${file} has a header without a configuration`);
  if (!Array.isArray(rules) || !rules.every((rule) => typeof rule === "string"))
    throw new Error(`${file} has a header without rules`);
  return header;
}

function readBlocks(bytes: Uint8Array): { blocks: Uint8Array[]; broken: string | null } {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const blocks: Uint8Array[] = [];
  for (let at = 0; at < bytes.length; ) {
    const broken = (why: string) => ({ blocks, broken: `block ${blocks.length} ${why}` });
    if (at + FRAMING > bytes.length) return broken("is cut off");
    const length = view.getUint32(at, true);
    if (length === 0) return broken("has no bytes, as after a loss of power");
    if (length > LARGEST_BLOCK) return broken("has a length that no block has");
    if (at + FRAMING + length > bytes.length) return broken("is cut off");
    const block = bytes.subarray(at + FRAMING, at + FRAMING + length);
    if (crc32(block) !== view.getUint32(at + 4, true)) return broken("has other bytes than were written");
    blocks.push(block);
    at += FRAMING + length;
  }
  return { blocks, broken: null };
}
