/** What a whole network does under an input, as a recording: a finding is a file, and `tslirp replay` shows it. */
import { version } from "../../src/control/version.ts";
import { BlockWriter, readEntries } from "../../src/record/codec.ts";
import { writeRecording } from "../../src/record/file.ts";
import { type Entry, type Header, VERSION } from "../../src/record/format.ts";
import { Recorder } from "../../src/record/recorder.ts";
import { CONFIG, World } from "./world.ts";

export const HEADER: Header = {
  version: VERSION,
  package: version(),
  node: process.versions.node,
  date: new Date(0).toISOString(),
  payload: true,
  seed: 0,
  config: CONFIG,
  rules: [],
  files: true,
  gate: false,
};

/** Runs the input once more, and returns all that happened, up to whatever is thrown. */
export function recorded(input: Uint8Array, payload = true): Entry[] {
  const block = new BlockWriter();
  const recorder = new Recorder(block, payload);
  try {
    new World(recorder).run(input);
  } catch {
    // What was thrown is why it is recorded.
  }
  recorder.stop();
  return [...readEntries(block.take())];
}

/** Writes the recording of an input of the target "session", and returns how to look at it. There may be no such file. */
export function recordFinding(file: string, input: Uint8Array): string {
  writeRecording(file, HEADER, recorded(input));
  return `tslirp replay ${file} --print`;
}
