/** A recording run again, for users of the library; `tslirp replay` does the same at the command line. */
import type { ReplayOptions } from "../record/replay.ts";

/** How a replay ended. */
export interface ReplayReport {
  /** When it was recorded, in ISO 8601. */
  readonly date: string;
  /** The tslirp that recorded it. */
  readonly version: string;
  /** Entries that were gone through, and the time there, in seconds since the recording began. */
  readonly entries: number;
  readonly seconds: number;
  /** The first thing that the network did otherwise than it had, in words; null when it did all that it had done. */
  readonly difference: string | null;
  /** What the network threw; null for nothing. */
  readonly crash: Error | null;
  /** What is wrong with the file behind its last good block (its recorder was killed, say); null for nothing. */
  readonly broken: string | null;
}

/**
 * Runs a network on the recording `file` (`record` of `createNetwork`, `--record`, `ctl record start`) and compares all that it
 * does with what it did: each frame, each call to the host. It opens no socket and takes no time but for computing. Rejects with an
 * `Error` of one line for a file that cannot be read, is no recording, or is one of a newer version.
 */
export async function replay(file: string, options: ReplayOptions = {}): Promise<ReplayReport> {
  const [{ RecordingReader }, { replayRecording }] = await Promise.all([
    import("../record/file.ts"),
    import("../record/run.ts"),
  ]);
  const reader = new RecordingReader(file);
  const { entries, seconds, difference, crash, broken } = await replayRecording(reader, options);
  const { date, package: version } = reader.header;
  return { ...{ date, version, entries, seconds, crash, broken }, difference: difference?.message ?? null };
}
