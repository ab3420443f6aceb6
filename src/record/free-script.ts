/**
 * A script that writes down the network's actions and does not compare them. So the network can be given a part of a
 * recording. An episode is an input outside of any call, with everything that the network did and asked because of it.
 * Questions (the clock, random numbers, a socket's backlog) get the recorded answers as long as the network asks them
 * in the same episode.
 */
import { ENTRIES, type Entry, type EntryName, toJson, type Value } from "./format.ts";
import { isDrop, Script, SINCE } from "./script.ts";

/** The first identifier for sockets and files that the recording does not have. */
const FIRST_NEW_ID = 1_000_000_000;

/**
 * An input, and everything that the network did and asked because of it. Readings of the clock are absolute, in
 * microseconds.
 */
export interface Episode {
  readonly head: Entry;
  readonly rest: readonly Entry[];
}

/**
 * Splits a recording into episodes. The entries before the first episode (made while the network was made) are `first`.
 */
export function episodesOf(entries: Iterable<Entry>): {
  readonly first: readonly Entry[];
  readonly episodes: Episode[];
} {
  const [first, ...episodes] = episodesIn(entries);
  return { first: first!.rest, episodes: episodes as Episode[] };
}

/** The episodes one by one. The first has no head. */
export function* episodesIn(
  entries: Iterable<Entry>,
): Generator<{ readonly head: Entry | null; readonly rest: readonly Entry[] }> {
  let head: Entry | null = null;
  let rest: Entry[] = [];
  let micros = 0;
  let within = false;
  for (const entry of entries) {
    if (ENTRIES[entry.name].direction === "in" && !within) {
      yield { head, rest };
      head = entry;
      rest = [];
    } else if (entry.name === "clock") {
      micros += entry.values[0] as number;
      rest.push({ name: "clock", values: [micros] });
    } else rest.push(entry);
    within = entry.name === "within";
  }
  yield { head, rest };
}

export class FreeScript extends Script {
  /** All inputs and outputs, in the form of a recording. */
  readonly written: Entry[] = [];
  #bag: Entry[] = [];
  #now = 0;
  #ids = FIRST_NEW_ID;
  #chance = 1;
  #over = false;

  readonly #keepsPayload: boolean;

  constructor(payload: boolean) {
    super([], payload);
    this.#keepsPayload = payload;
  }

  /** The recorded entries of the episode that have not been used yet. */
  get left(): readonly Entry[] {
    return this.#bag;
  }

  /** Begins an episode: its input is about to be given to the network. */
  begin(rest: readonly Entry[], head?: Entry): void {
    this.#bag = [...rest];
    if (head !== undefined) this.#write(head);
  }

  override get over(): boolean {
    return this.#over;
  }

  override stop(): void {
    this.#over = true;
  }

  override get seconds(): number {
    return this.#now / 1e6;
  }

  override peek(): Entry | null {
    return this.#bag[0] ?? null;
  }

  override next(name: EntryName): Entry | null {
    return this.#bag.find((entry) => entry.name === name) ?? null;
  }

  override take(): Entry {
    const entry = this.#bag.shift()!;
    this.#write(entry);
    return entry;
  }

  override drops(reasons: ReadonlySet<string>): boolean {
    return this.#bag.some((entry) => isDrop(entry, reasons));
  }

  override reply(name: EntryName, of: number, nth: number, since: number): Entry | null {
    const entry = this.#find(
      (each) =>
        each.name === name &&
        each.values[0] === of &&
        // Before a recording has been replayed once, only the question's number in the whole recording is known.
        (SINCE.has(each) ? SINCE.get(each) === since : each.values[1] === nth),
    );
    if (entry === null) return null;
    const written = { name, values: [of, nth, ...entry.values.slice(2)] };
    SINCE.set(written, since);
    this.#write(written);
    return written;
  }

  override expect(name: EntryName, ...values: readonly Value[]): void {
    if (this.#over) return;
    this.#find((entry) => entry.name === name);
    // Bytes may be a view of a buffer that is soon used again.
    const fields = Object.keys(ENTRIES[name].fields);
    const written = values.map((value, i) => {
      // If payload is left out, there is no sum of it.
      if (fields[i] === "crc" && !this.#keepsPayload) return 0;
      return value instanceof Uint8Array ? value.slice() : value;
    });
    this.#write({ name, values: written });
  }

  override expectNew(name: EntryName, ...values: readonly Value[]): number {
    const text = toJson(values);
    const found =
      this.#find((entry) => entry.name === name && toJson(entry.values.slice(1)) === text) ??
      this.#find((entry) => entry.name === name);
    const id = (found?.values[0] as number | undefined) ?? ++this.#ids;
    this.expect(name, id, ...values);
    return id;
  }

  override fail(): void {}

  override clock(): number {
    const before = this.#now;
    this.#now = (this.#find((entry) => entry.name === "clock")?.values[0] as number | undefined) ?? before;
    this.#write({ name: "clock", values: [this.#now - before] });
    return this.#now;
  }

  override random(): number {
    this.#chance = (Math.imul(this.#chance, 1_664_525) + 1_013_904_223) >>> 0;
    const value = (this.#find((entry) => entry.name === "random")?.values[0] as number | undefined) ?? this.#chance;
    this.#write({ name: "random", values: [value] });
    return value;
  }

  #find(wanted: (entry: Entry) => boolean): Entry | null {
    const at = this.#bag.findIndex(wanted);
    return at < 0 ? null : this.#bag.splice(at, 1)[0]!;
  }

  #write(entry: Entry): void {
    if (this.#over) return;
    this.written.push(entry);
    this.at++;
  }
}
