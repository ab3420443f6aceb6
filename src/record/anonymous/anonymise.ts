/**
 * An anonymous recording of a recorded run.
 *
 * Theory of operation. Inputs are changed: each address, MAC and name is always replaced by the same substitute, and
 * payload is left out. Outputs cannot be changed in this way, since checksums, answers, first sequence numbers and
 * quotes in them follow from the inputs. So today's network runs on the changed inputs (`free-script`), and its outputs
 * are written down. The result is a recording like any other. The original is read twice: first all values are
 * collected, so that none of them is chosen as a substitute.
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

/** The result of making a recording anonymous. */
export interface Anonymised {
  readonly header: Header;
  /** How many addresses, MACs and names were replaced. */
  readonly addresses: number;
  readonly macs: number;
  readonly names: number;
  readonly entries: number;
  /** The first entry after which today's network acts otherwise than recorded; null for none. */
  readonly differs: number | null;
  /** The error that the network threw; null for none. */
  readonly crash: Error | null;
}

export interface Destination {
  begin(header: Header): void;
  entry(entry: Entry): void;
}

/** Writes the anonymous form of `reader`'s recording to `out`. */
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
        // The network has no receiver for this input.
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

/** The changed entries. `was` collects the frames as they were sent, by the entries that replace them. */
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
