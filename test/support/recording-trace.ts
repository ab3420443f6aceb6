import type { DropReason, Trace, TraceEvent } from "../../src/core/trace.ts";

/** Keeps what it is told. */
export class RecordingTrace implements Trace {
  readonly drops: DropReason[] = [];
  readonly events: TraceEvent[] = [];

  drop(reason: DropReason): void {
    this.drops.push(reason);
  }

  event(event: TraceEvent): void {
    this.events.push(event);
  }
}
