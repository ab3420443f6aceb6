/**
 * An anonymous recording of a recorded run.
 *
 * Theory of operation. What came in is changed: addresses, MACs and names become others, each always the same one, and payload is
 * left out. What went out is not: checksums, answers, first sequence numbers and quotes in it follow from what came in. So today's network runs on the
 * changed input (`free-script`), and what it does is written down. The result is a recording like any other. The recording is gone
 * through twice: values that occur in it must not be chosen as others.
 */
import type { Random } from "../../core/random.ts";
import { RecordingError, type RecordingReader } from "../file.ts";
import type { Entry, Header } from "../format.ts";
import { episodesIn, FreeScript } from "../free-script.ts";
import { isCall, sameCalls } from "../minimise.ts";
import { Replay, settle } from "../replay.ts";
import { configOf } from "../run.ts";
import { AnonymousEntries } from "./entries.ts";
import { Numbers } from "./numbers.ts";
import { Others } from "./others.ts";

/** What has become of a recording. */
export interface Anonymised {
  readonly header: Header;
  /** What has others now. */
  readonly addresses: number;
  readonly macs: number;
  readonly names: number;
  readonly entries: number;
  /** The first entry of the recording whose answer is another one now; null where the network does the same. */
  readonly differs: number | null;
  /** What the network threw. */
  readonly crash: Error | null;
}

export interface Destination {
  begin(header: Header): void;
  entry(entry: Entry): void;
}

/** Writes what becomes of `reader`'s recording to `out`. */
export async function anonymise(reader: RecordingReader, random: Random, out: Destination): Promise<Anonymised> {
  const others = new Others(configOf(reader.header), random);
  const met = new AnonymousEntries(others);
  met.header(reader.header);
  for (const entry of reader) met.entry(entry);
  others.seal();
  const changed = new AnonymousEntries(others);
  const header = changed.header(reader.header);
  out.begin(header);
  const script = new FreeScript(false);
  let network: Replay | null = null;
  let at = 0;
  let entries = 0;
  let differs: number | null = null;
  let crash: Error | null = null;
  const write = (): void => {
    for (const entry of script.written) out.entry(entry);
    entries += script.written.length;
    script.written.length = 0;
  };
  const numbers = new Numbers();
  const was: WeakMap<Entry, Uint8Array> = new WeakMap();
  for (const { head, rest } of episodesIn(mapped(reader, changed, was))) {
    const began = at;
    if (head?.name === "frame") numbers.shift(head.values[4] as Uint8Array, head.values[2] === 0);
    at += rest.length + (head === null ? 0 : 1);
    try {
      script.begin(rest, head ?? undefined);
      if (head === null) network = new Replay(header, script, configOf(header), {});
      else if (network!.knows(head)) {
        const told = network!.tell(head);
        if (told !== undefined) await told;
        if (script.left.some(isCall)) await settle();
      } else {
        // Nobody is there whom this could be told.
        script.written.length = 0;
        differs ??= began;
      }
    } catch (error) {
      if (error instanceof RecordingError) throw error;
      crash = error instanceof Error ? error : new Error(String(error));
    }
    if (crash === null && !sameCalls(script.written, head === null ? 0 : 1, rest)) differs ??= began;
    numbers.learn(
      rest.flatMap((entry) => was.get(entry) ?? []),
      script.written,
    );
    write();
    if (crash !== null) break;
  }
  script.stop();
  const { addresses, macs } = others.addresses.counts;
  return { header, addresses, macs, names: others.names.count, entries, differs, crash };
}

/** Entries as they become; `was` has what was sent, by what stands for that. */
function* mapped(
  entries: Iterable<Entry>,
  changed: AnonymousEntries,
  was: WeakMap<Entry, Uint8Array>,
): Generator<Entry> {
  for (const entry of entries) {
    const other = changed.entry(entry);
    if (entry.name === "sent") was.set(other, entry.values[3] as Uint8Array);
    yield other;
  }
}
