/** Encodes entries into blocks that grow as needed, and decodes them from blocks that may be malformed. */
import { ENTRIES, type Entry, type EntryName, fromJson, type Kind, NAMES, toJson, type Value } from "./format.ts";
import { UNKNOWN } from "./frames.ts";
import { nextHeader, SegmentRun } from "./segment-run.ts";

export const TAGS: ReadonlyMap<EntryName, number> = new Map(NAMES.map((name, tag) => [name, tag]));
const KINDS: readonly (readonly Kind[])[] = NAMES.map((name) => Object.values(ENTRIES[name].fields));
/** The most bytes of payload in one entry, or left out of it: no read of a host or a file is larger. */
const MOST_PAYLOAD: number = 16 * 1_048_576;
/**
 * The longest span, in bytes, that is copied by bytes or words: for short spans, that costs less than a view of the
 * array.
 */
const MOST_COPIED = 192;
/**
 * The shortest array, in bytes, that gets a lasting view. A shorter one holds a single frame, so its view would serve
 * only once.
 */
const LEAST_VIEWED = 4096;
/** The most frames of one `run`: their number is one byte, which grows in place. */
const MOST_RUN = 127;
/** How many buffers are kept for later blocks. */
const MOST_SPARE = 4;
const FRAME: number = TAGS.get("frame")!;
const SENT: number = TAGS.get("sent")!;
const RUN: number = TAGS.get("run")!;
const encoder = new TextEncoder();
const decoder = new TextDecoder("utf-8", { fatal: true });

/** Views of the few buffers that hold frames (read slabs, cables' own), kept as long as these buffers live. */
const views: WeakMap<Uint8Array, DataView> = new WeakMap();

function viewOf(bytes: Uint8Array): DataView {
  let view = views.get(bytes);
  if (view === undefined) {
    view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    views.set(bytes, view);
  }
  return view;
}

/** A value as fields of JSON hold it. */
export function jsonBytes(value: Value): Uint8Array {
  return encoder.encode(toJson(value));
}

/** Collects entries into a block. */
export class BlockWriter {
  #bytes: Uint8Array;
  #view: DataView;
  #used = 0;
  readonly #spare: Uint8Array[] = [];
  /** The array that the last span was copied from, and its view. */
  #from: Uint8Array;
  #fromView: DataView;
  /**
   * The run of the frame that was written last, that frame's `sealed`, where its entry ends (-1 for none), and how many
   * frames followed it.
   */
  readonly #run: SegmentRun = new SegmentRun();
  #runSealed = UNKNOWN;
  #runEnd = -1;
  #runCount = 0;

  constructor(size = 65_536) {
    this.#bytes = this.#from = new Uint8Array(size);
    this.#view = this.#fromView = viewOf(this.#bytes);
  }

  get used(): number {
    return this.#used;
  }

  /** Returns the collected block and begins a new one. The block belongs to the caller, who may `give` it back. */
  take(): Uint8Array {
    const bytes = this.#bytes;
    const used = this.#used;
    this.clear();
    // A short block that waits for a disk must not hold a large buffer.
    if (used < bytes.length / 2) return bytes.slice(0, used);
    this.#bytes = this.#spare.pop() ?? new Uint8Array(bytes.length);
    this.#view = viewOf(this.#bytes);
    return bytes.subarray(0, used);
  }

  /**
   * Takes back a block of `take` that nobody reads any more: making a new buffer for each block would cost more than
   * filling it.
   */
  give(block: Uint8Array): void {
    if (block.buffer.byteLength < this.#bytes.length || this.#spare.length >= MOST_SPARE) return;
    this.#spare.push(new Uint8Array(block.buffer));
  }

  /** Forgets the collected entries. */
  clear(): void {
    this.#used = 0;
    this.#runEnd = -1;
  }

  /** The block to which an entry may be written in parts. */
  get block(): BlockWriter {
    return this;
  }

  /** Called behind an entry written in parts. */
  ended(): void {}

  /** Begins an entry whose fields are written one by one: for entries that come a hundred thousand times a second. */
  begin(tag: number): void {
    this.#room(1);
    this.#bytes[this.#used++] = tag;
  }

  entry(name: EntryName, values: readonly Value[]): void {
    if (name === "frame" || name === "sent") return this.#frameEntry(name, values);
    const tag = TAGS.get(name)!;
    const kinds = KINDS[tag]!;
    this.begin(tag);
    for (let i = 0; i < kinds.length; i++) this.#field(kinds[i]!, values[i]);
  }

  #frameEntry(name: "frame" | "sent", values: readonly Value[]): void {
    const head = values[name === "frame" ? 4 : 3] as Uint8Array;
    const view = new DataView(head.buffer, head.byteOffset, head.length);
    if (name === "frame") {
      const [link, undone, blank, sealed] = values as number[];
      const len = head.length + blank!;
      if (sealed === this.#runSealed && this.#goesOn(FRAME, link!, undone!, view, 0, head.length, len)) return;
      this.frame(link!, undone!, sealed!, head, 0, head.length, len);
    } else {
      const [link, len, undone, , crc] = values as number[];
      if (crc === 0 && this.#goesOn(SENT, link!, undone!, view, 0, head.length, len!)) return;
      this.sent(link!, undone!, head, 0, head.length, len!, crc!);
    }
  }

  /** Writes a guest's frame of `len` bytes, of which the first `kept` are given. */
  frame(link: number, undone: number, sealed: number, buf: Uint8Array, at: number, kept: number, len: number): void {
    this.begin(FRAME);
    this.number(link);
    this.number(undone);
    this.number(len - kept);
    this.number(sealed);
    this.span(buf, at, kept);
    if (sealed === UNKNOWN) return;
    this.#runSealed = sealed;
    this.#beginRun(FRAME, link, undone, buf, at, kept, len);
  }

  /** Writes a frame of `len` bytes to a guest, with its first `head` bytes. */
  sent(link: number, undone: number, buf: Uint8Array, at: number, head: number, len: number, crc: number): void {
    this.begin(SENT);
    this.number(link);
    this.number(len);
    this.number(undone);
    this.span(buf, at, head);
    this.word(crc);
    if (crc === 0) this.#beginRun(SENT, link, undone, buf, at, head, len);
  }

  #beginRun(tag: number, link: number, undone: number, buf: Uint8Array, at: number, kept: number, len: number): void {
    this.#run.begin(tag, link, undone, buf, at, kept, len);
    this.#runEnd = this.#used;
    this.#runCount = 0;
  }

  /**
   * Whether a frame of `len` bytes, from a guest or sent to one, is the next segment behind the frame of the last entry.
   * If so, it is written: the run of that entry is longer by one.
   */
  goesOn(fromGuest: boolean, link: number, undone: number, buf: Uint8Array, at: number, len: number): boolean {
    if (this.#runEnd !== this.#used || buf.length < LEAST_VIEWED) return false;
    if (buf !== this.#from) {
      this.#from = buf;
      this.#fromView = viewOf(buf);
    }
    return this.#goesOn(fromGuest ? FRAME : SENT, link, undone, this.#fromView, at, -1, len);
  }

  #goesOn(tag: number, link: number, undone: number, view: DataView, at: number, kept: number, len: number): boolean {
    if (this.#runEnd !== this.#used) return false;
    const run = this.#run;
    if (!run.takes(tag, link, undone, view, at, kept, len)) return false;
    if (this.#runCount > 0 && this.#runCount < MOST_RUN) this.#bytes[this.#used - 1] = ++this.#runCount;
    else {
      this.begin(RUN);
      this.number(run.step);
      this.number(1);
      this.#runCount = 1;
    }
    this.#runEnd = this.#used;
    return true;
  }

  #field(kind: Kind, value: Value): void {
    switch (kind) {
      case "number":
        return this.number(value as number);
      case "signed":
        return this.signed(value as number);
      case "word":
        return this.word(value as number);
      case "text":
        return this.#sized(encoder.encode(value as string));
      case "json":
        return this.#sized(jsonBytes(value));
      case "bytes":
        return this.#sized(value as Uint8Array);
    }
  }

  number(value: number): void {
    this.#room(8);
    if (value < 128) {
      this.#bytes[this.#used++] = value;
      return;
    }
    let rest = value;
    for (; rest > 0x7fff_ffff; rest = Math.floor(rest / 128)) this.#bytes[this.#used++] = (rest % 128) | 128;
    for (; rest >= 128; rest >>>= 7) this.#bytes[this.#used++] = (rest & 127) | 128;
    this.#bytes[this.#used++] = rest;
  }

  signed(value: number): void {
    this.number(value < 0 ? -value * 2 - 1 : value * 2);
  }

  word(value: number): void {
    this.#room(4);
    this.#view.setUint32(this.#used, value, true);
    this.#used += 4;
  }

  /** Writes `len` bytes at `at` in a larger buffer. */
  span(buf: Uint8Array, at: number, len: number): void {
    if (len > MOST_COPIED) return this.#sized(buf.subarray(at, at + len));
    this.number(len);
    this.#room(len);
    const end = at + len;
    let i = at;
    let to = this.#used;
    if (buf.length >= LEAST_VIEWED) {
      if (buf !== this.#from) {
        this.#from = buf;
        this.#fromView = viewOf(buf);
      }
      const view = this.#view;
      const from = this.#fromView;
      for (; i + 8 <= end; i += 8, to += 8) {
        view.setUint32(to, from.getUint32(i));
        view.setUint32(to + 4, from.getUint32(i + 4));
      }
    }
    const bytes = this.#bytes;
    for (; i < end; i++) bytes[to++] = buf[i]!;
    this.#used = to;
  }

  #sized(bytes: Uint8Array): void {
    this.number(bytes.length);
    this.#room(bytes.length);
    this.#bytes.set(bytes, this.#used);
    this.#used += bytes.length;
  }

  #room(count: number): void {
    if (this.#used + count <= this.#bytes.length) return;
    const larger = new Uint8Array(Math.max(2 * this.#bytes.length, this.#used + count));
    larger.set(this.#bytes.subarray(0, this.#used));
    this.#bytes = larger;
    this.#view = viewOf(larger);
  }
}

/** The entries of one block. Throws an `Error` of one line about bytes that are no entry. */
export function* readEntries(block: Uint8Array): Generator<Entry> {
  let at = 0;
  const number = (): number => {
    let value = 0;
    for (let shift = 1; ; shift *= 128) {
      const byte = block[at++];
      if (byte === undefined || shift > Number.MAX_SAFE_INTEGER) throw new Error("a number ends too late");
      value += (byte & 127) * shift;
      if (byte < 128) return value;
    }
  };
  const sized = (): Uint8Array => {
    const length = number();
    if (at + length > block.length) throw new Error("bytes end beyond their block");
    at += length;
    return block.subarray(at - length, at);
  };
  const field = (kind: Kind): Value => {
    switch (kind) {
      case "number":
        return number();
      case "signed": {
        const value = number();
        return value % 2 === 1 ? -(value + 1) / 2 : value / 2;
      }
      case "word": {
        if (at + 4 > block.length) throw new Error("a word ends beyond its block");
        at += 4;
        return (block[at - 4]! | (block[at - 3]! << 8) | (block[at - 2]! << 16) | (block[at - 1]! << 24)) >>> 0;
      }
      case "text":
        return decoder.decode(sized());
      case "json":
        return fromJson(decoder.decode(sized()));
      case "bytes":
        return sized();
    }
  };
  let last: Entry | null = null;
  while (at < block.length) {
    const name: EntryName | undefined = NAMES[block[at]!];
    if (name === undefined) throw new Error(`no entry has the tag ${block[at]}`);
    at++;
    const entry: Entry = { name, values: KINDS[NAMES.indexOf(name)]!.map(field) };
    if (stoodFor(entry) > MOST_PAYLOAD) throw new Error(`${name} of more than ${MOST_PAYLOAD} bytes`);
    if (name !== "run") {
      last = entry;
      yield entry;
      continue;
    }
    const [step, count] = entry.values as [number, number];
    if (step > 1 || count > MOST_RUN) throw new Error(`a run of ${count} frames with steps of ${step}`);
    for (let i = 0; i < count; i++) {
      last = last === null ? null : nextFrame(last, step);
      if (last === null) throw new Error("a run follows no segment");
      yield last;
    }
  }
}

/** The entry of the frame behind `entry`'s in a run; null if that is no segment. */
function nextFrame({ name, values }: Entry, step: number): Entry | null {
  if (name !== "frame" && name !== "sent") return null;
  const place = name === "frame" ? 4 : 3;
  const head = values[place] as Uint8Array;
  const len = name === "frame" ? head.length + (values[2] as number) : (values[1] as number);
  const next = nextHeader(head, len, step);
  return next === null ? null : { name, values: values.map((value, i) => (i === place ? next : value)) };
}

/** How many bytes a replay fills in for bytes left out of an entry. */
function stoodFor({ name, values }: Entry): number {
  const at = Object.keys(ENTRIES[name].fields).findIndex((field) => field === "blank" || field === "length");
  return ENTRIES[name].direction === "in" && at >= 0 ? (values[at] as number) : 0;
}
