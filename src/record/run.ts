/** Replays a recording's file. */
import { resolveOptions } from "../control/options.ts";
import type { StackConfig } from "../core/config.ts";
import { RecordingReader } from "./file.ts";
import type { Header } from "./format.ts";
import { type ReplayOptions, type ReplayResult, replay } from "./replay.ts";

export interface FileReplay extends ReplayResult {
  /** What is wrong with the file behind its last good block; null for nothing. */
  readonly broken: string | null;
}

/** Replays a recording. Rejects with an `Error` of one line if `file` is no recording, or one of a newer version. */
export async function replayFile(file: string, options: ReplayOptions = {}): Promise<FileReplay> {
  return replayRecording(new RecordingReader(file), options);
}

/** Replays a recording that has been opened. */
export async function replayRecording(reader: RecordingReader, options: ReplayOptions): Promise<FileReplay> {
  const result = await replay(reader.header, reader, configOf(reader.header), options);
  return { ...result, broken: reader.broken };
}

/** A recording's configuration. A setting that the recording lacks has its default. */
export function configOf(header: Header): StackConfig {
  return { ...resolveOptions().stack, ...(header.config as StackConfig) };
}
