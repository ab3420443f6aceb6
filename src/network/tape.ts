/** What a recording is told beside the seams: what the user does to a network. */
import type { ResolvedOptions } from "../control/options.ts";
import type { EntryName, Value } from "../record/format.ts";
import type { Recording } from "../record/recording.ts";

export interface Tape {
  /** Something comes in that is no frame and nothing of the host's. */
  told(name: EntryName, ...values: readonly Value[]): void;
  /** A look that is not recorded. */
  aside<T>(look: () => T): T;
}

/** Nothing is recorded. */
export const NO_TAPE: Tape = { told() {}, aside: (look) => look() };

/** The recording that the options ask for; null for none. Its code is much, and loaded only when it is wanted. */
export async function beginRecording(options: ResolvedOptions): Promise<Recording | null> {
  if (options.record === null) return null;
  const { Recording } = await import("../record/recording.ts");
  return Recording.begin(options.record, options);
}
