/** `tslirp replay --minimise`: the smallest recording that still shows a difference or a crash. */
import { statSync } from "node:fs";
import { RecordingError, RecordingReader, writeRecording } from "../record/file.ts";
import type { Entry } from "../record/format.ts";
import { minimise } from "../record/minimise.ts";
import { configOf } from "../record/run.ts";
import { say } from "./output.ts";
import { type Rewriting, rewritten } from "./rewriting.ts";

/** How many entries may be replayed. All are in memory, some hundred bytes each, and are replayed many times. */
const MOST_ENTRIES = 3_000_000;

/** Resolves with the exit status: 0 when a smaller recording was written, 1 when the recording shows no difference. */
export async function minimiseCommand(file: string, given: Rewriting): Promise<number> {
  const output = rewritten("--minimise", file, "min", given);
  const reader = new RecordingReader(file);
  const entries: Entry[] = [];
  for (const entry of reader) {
    entries.push(entry);
    if (entries.length > MOST_ENTRIES)
      throw new RecordingError(`${file} has more than ${MOST_ENTRIES} entries, too many to be minimised`);
  }
  if (reader.broken !== null) say(`The file is broken behind what is used: ${reader.broken}.\n`);
  const result = await minimise(reader.header, entries, configOf(reader.header));
  if (result === null) {
    say("Nothing to minimise: the recording replays without a difference.\n");
    return 1;
  }
  const bytes = writeRecording(output, reader.header, result.entries);
  say(
    `${size(entries, statSync(file).size)}\nbecame ${size(result.entries, bytes)}, after ${result.tried} attempts` +
      `${result.complete ? "" : ", when the search was cut short"}.\ntslirp replay ${output}\n`,
  );
  return 0;
}

function size(entries: readonly Entry[], bytes: number): string {
  const frames = entries.filter(({ name }) => name === "frame").length;
  return `${entries.length} entries with ${frames} frames from guests, ${bytes} bytes`;
}
