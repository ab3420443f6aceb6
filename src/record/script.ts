/** A recording as a script: gives the next entry, and compares the network's actions with the recorded ones. */
import { ENTRIES, type Entry, type EntryName, toJson, type Value } from "./format.ts";
import { checksumField } from "./frames.ts";

/** The value of a field that is not known yet, or is not compared. */
export const NEW = "?";

/** The place where a replay departs from its recording. */
export class Difference {
  /** The difference in words, one line. */
  readonly message: string;
  /** The place in the recording: how many entries stand before it. */
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

/** The most entries that are looked at ahead, so that a file without end takes no memory without end. */
const MOST_AHEAD = 65_536;

export class Script {
  readonly #entries: Iterator<Entry>;
  readonly #payload: boolean;
  /** Entries read ahead, the next one first. */
  readonly #ahead: Entry[] = [];
  #done = false;
  #stopped = false;
  #micros = 0;
  /** The first reading of the clock, whose zero is arbitrary. */
  #began: number | null = null;
  /** How many entries have been replayed. */
  at = 0;
  /** How many inputs have come in by themselves, outside of any call. */
  episode = 0;
  /** Called at the first difference, in the middle of what the network does. */
  onDifference: (() => void) | null = null;
  /** The network's first action that differs from the recorded one; null for none. */
  difference: Difference | null = null;

  constructor(entries: Iterable<Entry>, payload: boolean) {
    this.#entries = entries[Symbol.iterator]();
    this.#payload = payload;
  }

  /** Whether comparing has ended: the recording is at its end, or the network has acted differently. */
  get over(): boolean {
    return this.#stopped || this.difference !== null || this.peek() === null;
  }

  /** Ends comparing, so that the network can be looked at. */
  stop(): void {
    this.#stopped = true;
  }

  /** The network's time, in milliseconds. */
  get millis(): number {
    return this.#micros / 1000;
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

  /** Whether the network, in answer to the entry just taken, dropped something for one of these reasons. */
  drops(reasons: ReadonlySet<string>): boolean {
    for (let i = 0; i < MOST_AHEAD; i++) {
      const entry = this.#peek(i);
      if (entry === null || ENTRIES[entry.name].direction === "in") return false;
      if (isDrop(entry, reasons)) return true;
    }
    return false;
  }

  /**
   * The time at which the next entry came in, in seconds since the recording began, as far as the next reading of the
   * clock shows.
   */
  get nextSeconds(): number {
    for (let i = 0; i < MOST_AHEAD; i++) {
      const entry = this.#peek(i);
      if (entry === null || (i > 0 && ENTRIES[entry.name].direction === "in")) return this.seconds;
      if (entry.name === "poll") return this.#since(entry.values[0] as number);
      if (entry.name === "clock") return this.#since(this.#micros + (entry.values[0] as number));
    }
    return this.seconds;
  }

  #since(micros: number): number {
    return (micros - (this.#began ?? micros)) / 1e6;
  }

  /** The next entry, if it has this name. */
  next(name: EntryName): Entry | null {
    const entry = this.peek();
    return entry?.name === name ? entry : null;
  }

  /**
   * The recorded answer to the `nth` question to `of`, which is the `since`th of this episode; null if the last answer
   * still holds.
   */
  reply(name: EntryName, of: number, nth: number, since: number): Entry | null {
    const entry = this.peek();
    if (this.difference !== null || entry?.name !== name || entry.values[0] !== of || entry.values[1] !== nth)
      return null;
    SINCE.set(entry, since);
    return this.take();
  }

  /**
   * Compares an action of the network with the next entry. If they differ, nothing is thrown, since the network may be
   * in the middle of anything; instead the script ends, and further questions get any answer that ends the call.
   */
  expect(name: EntryName, ...values: readonly Value[]): void {
    this.#expect(name, values, 0);
  }

  /** Compares an action for which the recording has an identifier, in the first field. Returns the identifier. */
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

  /** Notes that the network has done `replayed`, or nothing if null, in place of the next entry. */
  fail(replayed: Entry | null): void {
    if (this.over) return;
    this.difference = new Difference(this.at, this.seconds, this.peek(), replayed);
    this.onDifference?.();
  }

  /** The next reading of the clock, in microseconds since the first. */
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

/** For each replied entry, the number of its question within its episode; for scripts that leave episodes out. */
export const SINCE: WeakMap<Entry, number> = new WeakMap();

/** Counts the questions to a socket or cable: all of them, and those of this episode. */
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

  /** The script's entry for this question; null if nothing has changed. */
  ask(): Entry | null {
    if (this.#script.episode !== this.#episode) {
      this.#episode = this.#script.episode;
      this.#before = this.#count;
    }
    this.#count++;
    return this.#script.reply(this.#name, this.#of, this.#count, this.#count - this.#before);
  }
}

/** The answers of a socket or a cable: the last one, unless the script has one for this question. */
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
