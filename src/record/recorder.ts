/**
 * A recording in the making: the seams of one network, each with what passes it written down.
 *
 * Theory of operation. What the network consists of is deterministic: it does the same again when it is told the same in
 * the same order. So the recorder stands at each seam and writes, in order, what comes in (frames, host callbacks,
 * clock readings, random numbers, wishes) and what goes out (frames, calls to the host), the latter to compare with.
 * A network without a recorder has the seams themselves, so a recording that is not made costs nothing.
 *
 * Between a cable and the switch stands `RecordedReceiver`, so impairment is outside, and what it lets through is recorded.
 * What somebody only looks at (`flows()`, `leases()`) reads the clock, too, and is not recorded: `aside` says so.
 */
import type { Clock } from "../core/clock.ts";
import type { Random } from "../core/random.ts";
import type { DropReason, Trace, TraceEvent } from "../core/trace.ts";
import { type BlockWriter, TAGS } from "./codec.ts";
import { crc32 } from "./crc.ts";
import type { EntryName, Value } from "./format.ts";

const NOTHING = new Uint8Array(0);

/** Where entries go. Bytes in `values` may be a view of what is soon used again. */
export interface EntrySink {
  entry(name: EntryName, values: readonly Value[]): void;
  /** Where entries that come often are written in parts, without an object for each; `ended` is told behind them. */
  readonly block: BlockWriter;
  ended(): void;
}

const FRAME = TAGS.get("frame")!;
const SENT = TAGS.get("sent")!;
const CLOCK = TAGS.get("clock")!;

export class Recorder {
  /** Whether payload is written down. */
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

  /** Nothing is written from now on. */
  stop(): void {
    this.#file = null;
  }

  id(): number {
    return ++this.#ids;
  }

  write(name: EntryName, ...values: readonly Value[]): void {
    if (this.#aside === 0) this.#file?.entry(name, values);
  }

  /** A call of the network's to somebody in this process, who may speak to the network before it returns. */
  call<T>(make: () => T): T {
    this.#calls++;
    try {
      return make();
    } finally {
      this.#calls--;
    }
  }

  /** Something comes in: it is written down before it is told. */
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

  /** The first `kept` bytes of a guest's frame of `len` come in. */
  frame(link: number, undone: number, sealed: number, buf: Uint8Array, at: number, kept: number, len: number): void {
    const file = this.#file;
    if (file === null) return;
    if (this.#calls > 0) this.write("within");
    if (this.#aside === 0) {
      const { block } = file;
      block.begin(FRAME);
      block.number(link);
      block.number(undone);
      block.number(len - kept);
      block.number(sealed);
      block.span(buf, at, kept);
      file.ended();
    }
    if (!this.#microtasks) this.#settles();
  }

  /** A frame of `len` bytes goes to a guest; `head` of them are written down. */
  sent(link: number, undone: number, buf: Uint8Array, at: number, head: number, len: number): void {
    const file = this.#file;
    if (file === null || this.#aside > 0) return;
    const { block } = file;
    block.begin(SENT);
    block.number(link);
    block.number(len);
    block.number(undone);
    block.span(buf, at, head);
    block.word(this.crc(buf, at, len));
    file.ended();
  }

  /** What `look` reads is nobody's doing, and is not written down. */
  aside<T>(look: () => T): T {
    this.#aside++;
    try {
      return look();
    } finally {
      this.#aside--;
    }
  }

  /** Payload as it is written down: a copy of a view, or nothing. */
  kept(bytes: Uint8Array, at: number, len: number): Uint8Array {
    return this.payload && this.#file !== null ? bytes.subarray(at, at + len) : NOTHING;
  }

  /** What bytes are compared by. */
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

  /** `Stack`'s end of turn. */
  endOfTurn(inner: (run: () => void) => void): (run: () => void) => void {
    return (run) =>
      inner(() => {
        this.told("turnEnd");
        run();
      });
  }

  /** A time that `poll` is told. */
  polled(now: number): number {
    const micros = Math.floor(now * 1000);
    this.told("poll", micros);
    return micros / 1000;
  }
}

/** A value that a seam is asked for again and again: written down where it has changed, with the number of the question. */
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
