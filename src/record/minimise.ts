/**
 * Finds the smallest recording that still shows the fault of a long one: delta debugging over flows, episodes and time.
 *
 * Theory of operation. If a frame is left out, the network acts differently afterwards, so the recorded actions no
 * longer serve for comparison. Instead today's network runs on the episodes that are kept (`free-script`), and its
 * actions become the smaller recording. That recording is replayed as any other, and accepted if it ends with the same
 * symptom.
 * - A crash is the same if its message and the throwing function are.
 * - A difference needs more care, since only the recording knows what the other build did. Each kept episode must cause
 *   the same calls, of the same lengths, as before. In the last episode the network must differ from the recording in
 *   the same bytes or fields. These get their recorded values in the smaller recording; the rest of the entry is as
 *   today's build makes it. If the network did nothing, or made another call, the flow of the difference is kept whole.
 * The search is bounded by the number of replayed entries, not by time, so that it ends alike on every machine.
 */
import type { StackConfig } from "../core/config.ts";
import { RecordingError } from "./file.ts";
import { FlowNames } from "./flow-names.ts";
import { ENTRIES, type Entry, type Header } from "./format.ts";
import { type Episode, episodesOf, FreeScript } from "./free-script.ts";
import { Replay, replay, settle } from "./replay.ts";
import { crashText, expected, isSame, type Symptom, symptomOf } from "./symptom.ts";

/** How many entries may be replayed in all: about a minute's worth. */
const MOST_REPLAYED = 3_000_000;
/** Idle time that is not worth shortening, in microseconds. */
const SHORT_MICROS = 1000;

export interface Minimised {
  readonly entries: readonly Entry[];
  /** How many recordings were tried. */
  readonly tried: number;
  /** Whether the search came to its end, rather than to the limit. */
  readonly complete: boolean;
}

/** Minimises a recording. Null if the recording replays without a difference or crash. */
export async function minimise(
  header: Header,
  entries: readonly Entry[],
  config: StackConfig,
): Promise<Minimised | null> {
  const result = await replay(header, entries, config);
  const symptom = symptomOf(result);
  if (symptom === null) return null;
  const at = result.difference === null || symptom.kind === "crash" ? result.entries : result.difference.at;
  return new Search(header, config, symptom, entries.slice(0, at)).run();
}

class Search {
  readonly #header: Header;
  readonly #config: StackConfig;
  readonly #symptom: Symptom;
  #first: readonly Entry[] = [];
  #episodes: Episode[] = [];
  #entries: readonly Entry[];
  #replayed = 0;
  #tried = 0;

  constructor(header: Header, config: StackConfig, symptom: Symptom, before: readonly Entry[]) {
    this.#header = header;
    this.#config = config;
    this.#symptom = symptom;
    this.#entries = symptom.kind === "crash" ? before : [...before, symptom.recorded];
    this.#part(before);
  }

  async run(): Promise<Minimised> {
    const names = new FlowNames();
    const flows = new Map(this.#episodes.map((episode) => [episode.head, names.of(episode)]));
    const about = this.#about(names, flows);
    const kept = (head: Entry): boolean => about !== null && (about === "all" || flows.get(head) === about);
    const groups = [...grouped(flows)].filter(([flow]) => flow !== null && flow !== about && about !== "all");
    await this.#shrink(groups.map(([, heads]) => heads));
    for (let before = -1; before !== this.#episodes.length && this.#left; ) {
      before = this.#episodes.length;
      const single = this.#episodes.filter(({ head }) => !kept(head)).map(({ head }) => [head]);
      await this.#shrink(single);
    }
    await this.#shorten();
    return { entries: this.#entries, tried: this.#tried, complete: this.#left };
  }

  get #left(): boolean {
    return this.#replayed < MOST_REPLAYED;
  }

  /** The flow that must be kept whole; "all" if it is not known; null if no flow need be kept. */
  #about(names: FlowNames, flows: ReadonlyMap<Entry, string | null>): string | null {
    const symptom = this.#symptom;
    if (symptom.kind === "crash" || symptom.recorded.name === symptom.replayed?.name) return null;
    const last = this.#episodes.at(-1);
    return (
      (last && flows.get(last.head)) ??
      names.entry(symptom.recorded) ??
      (symptom.replayed && names.entry(symptom.replayed)) ??
      "all"
    );
  }

  /** Leaves out as many units as possible. */
  #shrink(units: readonly (readonly Entry[])[]): Promise<void> {
    return this.#most(units, (chosen) => withoutEmpty(this.#episodes, new Set(chosen.flat())));
  }

  /** Shortens idle time wherever possible. */
  #shorten(): Promise<void> {
    return this.#most([...this.#episodes.keys()], (chosen) => shortened(this.#episodes, new Set(chosen)));
  }

  /** Applies `change` to as many units as possible: to all, then to halves, then to smaller and smaller parts. */
  async #most<T>(units: readonly T[], change: (chosen: readonly T[]) => readonly Episode[]): Promise<void> {
    let left = units;
    for (let size = left.length; size >= 1 && this.#left; size = size === 1 ? 0 : Math.ceil(size / 2))
      for (let at = 0; at < left.length && this.#left; )
        if (await this.#try(change(left.slice(at, at + size)))) left = [...left.slice(0, at), ...left.slice(at + size)];
        else at += size;
  }

  /** Whether these episodes show the same symptom. If so, they become the current recording. */
  async #try(episodes: readonly Episode[]): Promise<boolean> {
    if (episodes.length === 0 && this.#symptom.kind === "difference") return false;
    this.#tried++;
    const entries = await this.#freely(episodes);
    if (entries === null) return false;
    this.#replayed += entries.length;
    const result = await replay(this.#header, entries, this.#config).catch(unlessUnfit);
    if (result === null) return false;
    const symptom = this.#symptom;
    const same =
      symptom.kind === "crash"
        ? result.crash !== null && crashText(result.crash) === symptom.what
        : result.crash === null && result.difference !== null && isSame(result.difference, symptom);
    if (!same) return false;
    this.#entries = entries;
    this.#part(symptom.kind === "crash" ? entries : entries.slice(0, -1));
    return true;
  }

  /**
   * The actions of today's network on these episodes, as a recording up to the symptom; null if the symptom does not
   * show.
   */
  async #freely(episodes: readonly Episode[]): Promise<readonly Entry[] | null> {
    const script = new FreeScript(this.#header.payload);
    script.begin(this.#first);
    const network = new Replay(this.#header, script, this.#config, {});
    const symptom = this.#symptom;
    try {
      for (const [i, { head, rest }] of episodes.entries()) {
        const from = script.written.length;
        const last = i === episodes.length - 1;
        if (!network.knows(head)) {
          if (last) return null;
          continue;
        }
        // The network also learns from the recorded entries how much of a frame the recording has.
        script.begin(last && symptom.kind === "difference" ? [...rest, symptom.recorded] : rest, head);
        this.#replayed++;
        const told = network.tell(head);
        if (told !== undefined) await told;
        if (last) await settle();
        if (symptom.kind === "crash") continue;
        if (last) return target(symptom, script.written, from, rest);
        if (!sameCalls(script.written, from + 1, rest)) return null;
      }
    } catch (error) {
      if (symptom.kind !== "crash" || crashText(error as Error) !== symptom.what) return null;
      return script.written;
    } finally {
      script.stop();
    }
    return null;
  }

  #part(entries: readonly Entry[]): void {
    const { first, episodes } = episodesOf(entries);
    this.#first = first;
    this.#episodes = episodes;
  }
}

/** `written` up to the difference, followed by the recorded entry. */
function target(
  symptom: Symptom & { kind: "difference" },
  written: readonly Entry[],
  from: number,
  rest: readonly Entry[],
): readonly Entry[] | null {
  if (symptom.replayed === null) return sameCalls(written, from + 1, rest) ? [...written, symptom.recorded] : null;
  for (let i = from + 1; i < written.length; i++) {
    const recorded = expected(symptom, written[i]!);
    if (recorded !== null && sameCalls(written.slice(0, i), from + 1, rest)) return [...written.slice(0, i), recorded];
  }
  return null;
}

/** Null for a `RecordingError`: the remaining entries may contradict one another. Other errors are thrown. */
function unlessUnfit(error: unknown): null {
  if (error instanceof RecordingError) return null;
  throw error;
}

/** Whether the network makes the same calls, by name and length, as before. */
export function sameCalls(written: readonly Entry[], from: number, rest: readonly Entry[]): boolean {
  let at = 0;
  const calls = rest.filter(isCall);
  for (let i = from; i < written.length; i++) {
    if (!isCall(written[i]!)) continue;
    const call = calls[at++];
    if (call === undefined || callText(call) !== callText(written[i]!)) return false;
  }
  return at === calls.length;
}

export const isCall = ({ name }: Entry): boolean => ENTRIES[name].direction === "out";

function callText({ name, values }: Entry): string {
  const at = Object.keys(ENTRIES[name].fields).indexOf("length");
  return `${name} ${at < 0 ? "" : values[at]}`;
}

/** Leaves out these entries, and the ends of batches and turns that have become empty. */
function withoutEmpty(episodes: readonly Episode[], without: ReadonlySet<Entry>): Episode[] {
  let frames = 0;
  let any = false;
  return episodes.filter(({ head }) => {
    if (without.has(head)) return false;
    if (head.name === "microtasks") {
      const wanted = any;
      any = false;
      return wanted;
    }
    if (head.name === "frame") frames++;
    if (head.name === "batchEnd") {
      const wanted = frames > 0;
      frames = 0;
      if (!wanted) return false;
    }
    any = true;
    return true;
  });
}

/** The episodes with the time before each of `chosen`, which are indices, made short. */
function shortened(episodes: readonly Episode[], chosen: ReadonlySet<number>): Episode[] {
  let before = 0;
  let shift = 0;
  return episodes.map(({ head, rest }, i) => {
    let first = true;
    const moved = (entry: Entry): Entry => {
      const micros = entry.values[0] as number;
      if (first && chosen.has(i)) shift += Math.max(0, micros - before - SHORT_MICROS);
      first = false;
      before = micros;
      return { name: entry.name, values: [micros - shift] };
    };
    return {
      head: head.name === "poll" ? moved(head) : head,
      rest: rest.map((entry) => (entry.name === "clock" ? moved(entry) : entry)),
    };
  });
}

function grouped(flows: ReadonlyMap<Entry, string | null>): Map<string | null, Entry[]> {
  const groups = new Map<string | null, Entry[]>();
  for (const [head, flow] of flows) {
    const group = groups.get(flow);
    if (group === undefined) groups.set(flow, [head]);
    else group.push(head);
  }
  return groups;
}
