/** A recording as a script: what comes next, and whether what the network does is what is written there. */
import { ENTRIES, type Entry, type EntryName, toJson, type Value } from "./format.ts";
import { checksumField } from "./frames.ts";

/** A field that is not known yet, or need not be. */
export const NEW = "?";

/** Where a replay parts from its recording. */
export class Difference {
  /** In words, one line. */
  readonly message: string;
  /** The place in the recording: entries before it. */
  readonly at: number;
  /** Seconds since the recording began. */
  readonly seconds: number;
  readonly recorded: Entry | null;
  readonly replayed: Entry | null;

  constructor(at: number, seconds: number, recorded: Entry | null, replayed: Entry | null) {
    const said = (entry: Entry | null): string => (entry === null ? "nothing" : entryText(entry));
    this.message = `entry ${at}, ${seconds.toFixed(6)} s: recorded ${said(recorded)}; replayed ${said(replayed)}`;
    this.at = at;
    this.seconds = seconds;
    this.recorded = recorded;
    this.replayed = replayed;
  }
}

export class Script {
  readonly #entries: Iterator<Entry>;
  readonly #payload: boolean;
  /** Entries that have been read ahead, the next one first. */
  readonly #ahead: Entry[] = [];
  #done = false;
  #stopped = false;
  #micros = 0;
  /** The first reading of the clock, which counts from whenever it likes. */
  #began: number | null = null;
  /** Entries that have been gone through. */
  at = 0;
  /** How many things have come in by themselves, outside of any call. */
  episode = 0;
  /** The first thing that the network did otherwise; null for nothing. */
  difference: Difference | null = null;

  constructor(entries: Iterable<Entry>, payload: boolean) {
    this.#entries = entries[Symbol.iterator]();
    this.#payload = payload;
  }

  /** Nothing is compared any more: the recording has ended, or the network has done something else. */
  get over(): boolean {
    return this.#stopped || this.difference !== null || this.peek() === null;
  }

  /** Compares nothing from now on, so that the network can be looked at. */
  stop(): void {
    this.#stopped = true;
  }

  /** Seconds since the recording began, by its clock. */
  get seconds(): number {
    return this.#since(this.#micros);
  }

  peek(): Entry | null {
    return this.#peek(0);
  }

  #peek(place: number): Entry | null {
    while (this.#ahead.length <= place && !this.#done) {
      const read = this.#entries.next();
      if (read.done === true) this.#done = true;
      else this.#ahead.push(read.value);
    }
    return this.#ahead[place] ?? null;
  }

  take(): Entry {
    const entry = this.peek()!;
    this.#ahead.shift();
    this.at++;
    return entry;
  }

  /** Whether the network, told what has just been taken, dropped something for one of these reasons. */
  drops(reasons: ReadonlySet<string>): boolean {
    for (let i = 0; ; i++) {
      const entry = this.#peek(i);
      if (entry === null || ENTRIES[entry.name].direction === "in") return false;
      if (isDrop(entry, reasons)) return true;
    }
  }

  /** When what comes next came in, in seconds since the recording began, as far as its first reading of the clock tells. */
  get nextSeconds(): number {
    for (let i = 0; ; i++) {
      const entry = this.#peek(i);
      if (entry === null || (i > 0 && ENTRIES[entry.name].direction === "in")) return this.seconds;
      if (entry.name === "poll") return this.#since(entry.values[0] as number);
      if (entry.name === "clock") return this.#since(this.#micros + (entry.values[0] as number));
    }
  }

  #since(micros: number): number {
    return (micros - (this.#began ?? micros)) / 1e6;
  }

  /** The next entry, if it has this name. */
  next(name: EntryName): Entry | null {
    const entry = this.peek();
    return entry?.name === name ? entry : null;
  }

  /** The recording's answer to the `nth` question to `of`, the `since`th of this episode; null for the same as before. */
  reply(name: EntryName, of: number, nth: number, since: number): Entry | null {
    const entry = this.peek();
    if (this.difference !== null || entry?.name !== name || entry.values[0] !== of || entry.values[1] !== nth)
      return null;
    SINCE.set(entry, since);
    return this.take();
  }

  /**
   * Something that the network does must be what comes next. Nothing is thrown where it is not, since the network may be in
   * the middle of anything: the script is over, and answers whatever ends the call.
   */
  expect(name: EntryName, ...values: readonly Value[]): void {
    this.#expect(name, values, 0);
  }

  /** The same for what the recording has an identifier for, which is its first field. */
  expectNew(name: EntryName, ...values: readonly Value[]): number {
    return (this.#expect(name, [NEW, ...values], 1)?.values[0] as number | undefined) ?? -1;
  }

  #expect(name: EntryName, values: readonly Value[], from: number): Entry | null {
    if (this.over) return null;
    const entry = this.peek();
    if (entry === null) return null;
    const fields = Object.keys(ENTRIES[name].fields);
    const same =
      entry.name === name &&
      fields.every((field, i) => i < from || this.#same(name, field, entry.values[i], values[i]));
    if (same) return this.take();
    this.fail({ name, values });
    return null;
  }

  /** The network has done `replayed`, or nothing, in place of what comes next. */
  fail(replayed: Entry | null): void {
    if (this.over) return;
    this.difference = new Difference(this.at, this.seconds, this.peek(), replayed);
  }

  /** The clock's next reading, in microseconds since the first. */
  clock(): number {
    if (this.#comes("clock")) this.#micros += this.take().values[0] as number;
    this.#began ??= this.#micros;
    return this.#micros;
  }

  random(): number {
    return this.#comes("random") ? (this.take().values[0] as number) : 0;
  }

  #comes(name: EntryName): boolean {
    if (this.over || this.peek() === null) return false;
    if (this.peek()!.name === name) return true;
    this.fail({ name, values: [NEW] });
    return false;
  }

  #same(name: EntryName, field: string, a: Value, b: Value): boolean {
    const kind = ENTRIES[name].fields[field]!;
    if (field === "crc" && !this.#payload) return true;
    if (kind === "json") return toJson(a) === toJson(b);
    if (kind !== "bytes") return a === b;
    const [x, y] = [a as Uint8Array, b as Uint8Array];
    if (x.length !== y.length) return false;
    const sum = name === "sent" && !this.#payload ? checksumField(x) : -1;
    return x.every((byte, i) => byte === y[i] || (sum >= 0 && (i === sum || i === sum + 1)));
  }
}

export function isDrop({ name, values }: Entry, reasons: ReadonlySet<string>): boolean {
  return name === "drop" && reasons.has(values[0] as string);
}

/** At which question of its episode a reply has been given, for who leaves episodes out. */
export const SINCE: WeakMap<Entry, number> = new WeakMap();

/** Counts questions: all, and those of this episode. */
export class Questions {
  readonly #script: Script;
  readonly #name: EntryName;
  readonly #of: number;
  #count = 0;
  #before = 0;
  #episode = -1;

  constructor(script: Script, name: EntryName, of: number) {
    this.#script = script;
    this.#name = name;
    this.#of = of;
  }

  /** What the script has for this question; null for nothing new. */
  ask(): Entry | null {
    if (this.#script.episode !== this.#episode) {
      this.#episode = this.#script.episode;
      this.#before = this.#count;
    }
    this.#count++;
    return this.#script.reply(this.#name, this.#of, this.#count, this.#count - this.#before);
  }
}

/** What a socket, or a cable, says when it is asked: what it said last, or what the script has for this question. */
export class Answers<T> {
  readonly #questions: Questions;
  #value: T;

  constructor(script: Script, name: EntryName, of: number, first: T) {
    this.#questions = new Questions(script, name, of);
    this.#value = first;
  }

  answer(): T {
    const entry = this.#questions.ask();
    if (entry !== null) this.#value = entry.values[2] as T;
    return this.#value;
  }
}

const SHOWN_BYTES = 64;

/** An entry in words, one line. */
export function entryText({ name, values }: Entry): string {
  const fields = Object.entries(ENTRIES[name].fields).map(
    ([field, kind], i) => `${field}=${valueText(kind, values[i])}`,
  );
  return fields.length === 0 ? name : `${name} ${fields.join(" ")}`;
}

function valueText(kind: string, value: Value): string {
  if (value === NEW) return NEW;
  if (value instanceof Uint8Array) {
    const hex = Array.from(value.subarray(0, SHOWN_BYTES), (byte) => byte.toString(16).padStart(2, "0")).join("");
    return value.length > SHOWN_BYTES ? `${hex}…(${value.length} bytes)` : hex || "-";
  }
  return kind === "json" ? toJson(value) : String(value);
}
