/** Replays a recording for users of the library, as `tslirp replay` does at the command line. */
import type { ReplayOptions } from "../record/replay.ts";

/** How a replay ended. */
export interface ReplayReport {
  /** When the recording began, in ISO 8601. */
  readonly date: string;
  /** The version of tslirp that made the recording. */
  readonly version: string;
  /** How many entries were replayed, and the time there, in seconds since the recording began. */
  readonly entries: number;
  readonly seconds: number;
  /** The first action of the network that differs from the recorded one, in words; null when there is none. */
  readonly difference: string | null;
  /**
   * The flow that the difference or crash belongs to, in lines of text: its ends, then its state in that moment (TCP's
   * sequence numbers and windows, a UDP mapping). Null when there is none.
   */
  readonly flow: readonly string[] | null;
  /** The error that the network threw; null for none. */
  readonly crash: Error | null;
  /**
   * What is wrong with the file behind its last good block (if its recorder was killed, for example); null for nothing.
   */
  readonly broken: string | null;
}

/**
 * Runs a network on the recording `file` (made by `record` of `createNetwork`, `--record` or `ctl record start`). It
 * compares everything that the network does with what was recorded: each frame, each call to the host. It opens no
 * socket, and runs as fast as it can compute.
 *
 * Rejects with an `Error` of one line for a file that cannot be read, is no recording, or is one of a newer version; and
 * for a recording that does not hold together: its configuration makes no network, or an entry contradicts the entries
 * before it (an event of a socket that is not there, for example).
 */
export async function replay(file: string, options: ReplayOptions = {}): Promise<ReplayReport> {
  const [{ RecordingReader }, { replayRecording }] = await Promise.all([
    import("../record/file.ts"),
    import("../record/run.ts"),
  ]);
  const reader = new RecordingReader(file);
  const { entries, seconds, difference, crash, flow, broken } = await replayRecording(reader, options);
  const { date, package: version } = reader.header;
  return { ...{ date, version, entries, seconds, crash, flow, broken }, difference: difference?.message ?? null };
}
