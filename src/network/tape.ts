/**
 * Passes a network's inputs that come neither from guests nor from the host to its recording: the actions of its user.
 */
import type { ResolvedRecord } from "../control/options/record-options.ts";
import type { ResolvedOptions } from "../control/options.ts";
import type { EntryName, Value } from "../record/format.ts";
import type { Recording, RecordingState } from "../record/recording.ts";

/** A network's latest recording, which may have ended. Without one, nothing is recorded. */
export class Tape {
  #recording: Recording | null;

  constructor(recording: Recording | null) {
    this.#recording = recording;
  }

  /** Records an input that is neither a frame nor from the host. */
  told(name: EntryName, ...values: readonly Value[]): void {
    this.#recording?.recorder.told(name, ...values);
  }

  /** Runs `look` without recording what it reads. */
  aside<T>(look: () => T): T {
    return this.#recording === null ? look() : this.#recording.recorder.aside(look);
  }

  /** Takes another recording in place of one that has ended. */
  replace(recording: Recording): void {
    this.#recording = recording;
  }

  /** The running recording; null for none. */
  state(): RecordingState | null {
    return this.#recording?.recorder.active ? this.#recording.state : null;
  }

  /** Ends the recording. Resolves with its state when the file is complete; with null when none ran. */
  async stop(): Promise<RecordingState | null> {
    const recording = this.#recording;
    if (!recording?.recorder.active) return null;
    await recording.close();
    return recording.state;
  }

  /** Ends the recording because the network closes. Resolves when the file is complete. */
  async close(): Promise<void> {
    await this.#recording?.close();
  }
}

/**
 * Begins a recording. Its code is large, and loaded only when it is needed. Rejects with an `Error` of one line when
 * the file cannot be made.
 */
export async function beginRecording(record: ResolvedRecord, options: ResolvedOptions): Promise<Recording> {
  const { Recording } = await import("../record/recording.ts");
  return Recording.begin(record, options);
}
