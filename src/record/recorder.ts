/**
 * Records one network: everything that passes between the network and its surroundings is written down.
 *
 * Theory of operation. A network is deterministic: given the same inputs in the same order, it acts in the same way
 * again. So a recorder stands at each interface (seam) of the network and writes down, in order, what comes in (frames,
 * host callbacks, clock readings, random numbers, calls of the user) and what goes out (frames, calls to the host), the
 * latter for comparison. A network that is not recorded has no wrappers at its seams, so it pays nothing.
 *
 * `RecordedReceiver` stands between cables and the switch. Impairment acts in front of it, so only the frames that
 * impairment lets through are recorded. Methods that only look at the network (`flows()`, `leases()`) also read the
 * clock; `aside` keeps those readings out of the recording.
 */
import type { Clock } from "../core/clock.ts";
import type { Random } from "../core/random.ts";
import type { DropReason, Trace, TraceEvent } from "../core/trace.ts";
import { type BlockWriter, jsonBytes, TAGS } from "./codec.ts";
import { crc32 } from "./crc.ts";
import type { EntryName, Value } from "./format.ts";

const NOTHING = new Uint8Array(0);

/** Takes entries. Bytes in `values` may be a view of a buffer that is soon used again. */
export interface EntrySink {
  entry(name: EntryName, values: readonly Value[]): void;
  /**
   * The block to which frequent entries are written in parts, without an object for each; `ended` is called after each
   * entry.
   */
  readonly block: BlockWriter;
  ended(): void;
}

const CLOCK = TAGS.get("clock")!;
const SEND = TAGS.get("send")!;
const DATAGRAM = TAGS.get("datagram")!;

export class Recorder {
  /** Whether payload is recorded. */
  readonly payload: boolean;
  #file: EntrySink | null;
  #ids = 0;
  #aside = 0;
  #calls = 0;
  #microtasks = false;

  constructor(file: EntrySink, payload: boolean) {
    this.#file = file;
    this.payload = payload;
  }

  get active(): boolean {
    return this.#file !== null;
  }

  /** Ends the recording: nothing more is written. */
  stop(): void {
    this.#file = null;
  }

  id(): number {
    return ++this.#ids;
  }

  write(name: EntryName, ...values: readonly Value[]): void {
    if (this.#aside === 0) this.#file?.entry(name, values);
  }

  /** Makes a call of the network to code in this process, which may call the network before it returns. */
  call<T>(make: () => T): T {
    this.#calls++;
    try {
      return make();
    } finally {
      this.#calls--;
    }
  }

  /** Records an input; called before the network is told of it. */
  told(name: EntryName, ...values: readonly Value[]): void {
    if (this.#file === null) return;
    if (this.#calls > 0) this.write("within");
    this.write(name, ...values);
    if (!this.#microtasks) this.#settles();
  }

  #settles(): void {
    this.#microtasks = true;
    queueMicrotask(() => {
      this.#microtasks = false;
      this.write("microtasks");
    });
  }

  /** Records a guest's frame of `len` bytes, the first `kept` of them in full. */
  frame(link: number, undone: number, sealed: number, buf: Uint8Array, at: number, kept: number, len: number): void {
    const file = this.#file;
    if (file === null) return;
    if (this.#calls > 0) this.write("within");
    if (this.#aside === 0) {
      file.block.frame(link, undone, sealed, buf, at, kept, len);
      file.ended();
    }
    if (!this.#microtasks) this.#settles();
  }

  /** Records a guest's frame if it is the next segment behind the last one; otherwise false. */
  nextFrame(link: number, undone: number, buf: Uint8Array, at: number, len: number): boolean {
    const file = this.#file;
    if (file === null || this.#calls > 0 || this.#aside > 0) return false;
    if (!file.block.goesOn(true, link, undone, buf, at, len)) return false;
    if (!this.#microtasks) this.#settles();
    return true;
  }

  /** Records a frame of `len` bytes to a guest, with its first `head` bytes. */
  sent(link: number, undone: number, buf: Uint8Array, at: number, head: number, len: number): void {
    const file = this.#file;
    if (file === null || this.#aside > 0) return;
    file.block.sent(link, undone, buf, at, head, len, this.crc(buf, at, len));
    file.ended();
  }

  /** Records a frame to a guest if it is the next segment behind the last one; otherwise false. */
  nextSent(link: number, undone: number, buf: Uint8Array, at: number, len: number): boolean {
    const file = this.#file;
    return file !== null && this.#aside === 0 && file.block.goesOn(false, link, undone, buf, at, len);
  }

  /** Records a datagram to the host; `to` is where it goes, as JSON. */
  send(socket: number, buf: Uint8Array, at: number, len: number, to: Uint8Array, ttl: number, df: boolean): void {
    const file = this.#file;
    if (file === null || this.#aside > 0) return;
    const { block } = file;
    block.begin(SEND);
    block.number(socket);
    block.number(len);
    block.word(this.crc(buf, at, len));
    block.span(to, 0, to.length);
    block.number(ttl);
    block.number(df ? 1 : 0);
    file.ended();
  }

  /** Records a datagram from the host; `from` is its sender, as JSON. */
  datagram(socket: number, from: Uint8Array, buf: Uint8Array, at: number, len: number): void {
    const file = this.#file;
    if (file === null) return;
    if (this.#calls > 0) this.write("within");
    if (this.#aside === 0) {
      const { block } = file;
      block.begin(DATAGRAM);
      block.number(socket);
      block.span(from, 0, from.length);
      block.number(len);
      block.span(buf, at, this.payload ? len : 0);
      file.ended();
    }
    if (!this.#microtasks) this.#settles();
  }

  /** Runs `look` without recording what it reads, because no input of the network caused it. */
  aside<T>(look: () => T): T {
    this.#aside++;
    try {
      return look();
    } finally {
      this.#aside--;
    }
  }

  /** Payload to record: a view of it, or nothing if payload is left out. */
  kept(bytes: Uint8Array, at: number, len: number): Uint8Array {
    return this.payload && this.#file !== null ? bytes.subarray(at, at + len) : NOTHING;
  }

  /** The CRC-32 by which bytes are compared; 0 if payload is left out. */
  crc(bytes: Uint8Array, at: number, len: number, before = 0): number {
    return this.payload && this.#file !== null ? crc32(bytes.subarray(at, at + len), before) : 0;
  }

  clock(inner: Clock): Clock {
    let before = 0;
    return {
      now: () => {
        const micros = Math.floor(inner.now() * 1000);
        if (this.#aside === 0) {
          const file = this.#file;
          if (file !== null) {
            file.block.begin(CLOCK);
            file.block.signed(micros - before);
            file.ended();
          }
          before = micros;
        }
        return micros / 1000;
      },
    };
  }

  random(inner: Random): Random {
    return {
      u32: () => {
        const value = inner.u32();
        this.write("random", value);
        return value;
      },
    };
  }

  trace(inner: Trace): Trace {
    return {
      drop: (reason: DropReason) => {
        this.write("drop", reason);
        inner.drop(reason);
      },
      event: (event: TraceEvent) => inner.event(event),
    };
  }

  /** Wraps `endOfTurn` of the stack. */
  endOfTurn(inner: (run: () => void) => void): (run: () => void) => void {
    return (run) =>
      inner(() => {
        this.told("turnEnd");
        run();
      });
  }

  /** Records the time that `poll` gets, and returns it rounded as recorded. */
  polled(now: number): number {
    const micros = Math.floor(now * 1000);
    this.told("poll", micros);
    return micros / 1000;
  }
}

/** The ends of one socket's datagrams as JSON: sockets and flows keep an end's object for as long as it stays the same. */
export class EndJson {
  #last: object | null = null;
  #bytes: Uint8Array = NOTHING;

  of(end: object): Uint8Array {
    if (end !== this.#last) {
      this.#last = end;
      this.#bytes = jsonBytes(end);
    }
    return this.#bytes;
  }
}

/**
 * A value that the network reads again and again. It is recorded when it has changed, with the number of the reading.
 */
export class Asked<T> {
  readonly #recorder: Recorder;
  readonly #name: EntryName;
  readonly #of: number;
  #count = 0;
  #last: T;

  constructor(recorder: Recorder, name: EntryName, of: number, first: T) {
    this.#recorder = recorder;
    this.#name = name;
    this.#of = of;
    this.#last = first;
  }

  answer(value: T): T {
    this.#count++;
    if (value !== this.#last) {
      this.#last = value;
      this.#recorder.write(this.#name, this.#of, this.#count, value);
    }
    return value;
  }
}
