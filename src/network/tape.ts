/** What a recording is told beside the seams: what the user does to a network. */
import type { ResolvedRecord } from "../control/options/record-options.ts";
import type { ResolvedOptions } from "../control/options.ts";
import type { EntryName, Value } from "../record/format.ts";
import type { Recording, RecordingState } from "../record/recording.ts";

/** The network's latest recording, which may have ended. Where there is none, nothing is recorded. */
export class Tape {
  #recording: Recording | null;

  constructor(recording: Recording | null) {
    this.#recording = recording;
  }

  /** Something comes in that is no frame and nothing of the host's. */
  told(name: EntryName, ...values: readonly Value[]): void {
    this.#recording?.recorder.told(name, ...values);
  }

  /** A look that is not recorded. */
  aside<T>(look: () => T): T {
    return this.#recording === null ? look() : this.#recording.recorder.aside(look);
  }

  /** Another recording in place of one that has ended. */
  replace(recording: Recording): void {
    this.#recording = recording;
  }

  /** The recording that runs. */
  state(): RecordingState | null {
    return this.#recording?.recorder.active ? this.#recording.state : null;
  }

  /** Resolves when the file is complete; with null when no recording ran. */
  async stop(): Promise<RecordingState | null> {
    const recording = this.#recording;
    if (!recording?.recorder.active) return null;
    await recording.close();
    return recording.state;
  }

  /** The network closes. Resolves when the file is complete. */
  async close(): Promise<void> {
    await this.#recording?.close();
  }
}

/** A recording's code is much, and loaded only when it is wanted. Rejects with an `Error` of one line when the file cannot be made. */
export async function beginRecording(record: ResolvedRecord, options: ResolvedOptions): Promise<Recording> {
  const { Recording } = await import("../record/recording.ts");
  return Recording.begin(record, options);
}
