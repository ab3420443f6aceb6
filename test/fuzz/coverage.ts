/**
 * Which blocks of `src` have run, from V8's own counters (the inspector's Profiler domain): no instrumentation, no
 * dependency.
 */
import { Session } from "node:inspector";

export class Coverage {
  readonly #session: Session = new Session();
  readonly #seen: Set<string> = new Set();

  constructor() {
    this.#session.connect();
    this.#session.post("Profiler.enable");
    this.#session.post("Profiler.startPreciseCoverage", { callCount: true, detailed: true });
  }

  /** Blocks that have run so far. */
  get blocks(): number {
    return this.#seen.size;
  }

  /** Whether a block has run since the last call that had not run before; with `keep` it has then run. */
  reached(keep: boolean): boolean {
    let reached = false;
    // The inspector of one's own thread answers before `post` returns.
    this.#session.post("Profiler.takePreciseCoverage", (error, { result }) => {
      if (error !== null) throw error;
      for (const { url, functions } of result) {
        if (!url.includes("/src/") || url.includes("/node_modules/")) continue;
        for (const { ranges } of functions)
          for (const { startOffset, endOffset, count } of ranges) {
            const block = `${url}:${startOffset}:${endOffset}`;
            if (count === 0 || this.#seen.has(block)) continue;
            reached = true;
            if (keep) this.#seen.add(block);
          }
      }
    });
    return reached;
  }

  close(): void {
    this.#session.disconnect();
  }
}
