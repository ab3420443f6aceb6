/** The captures of one network that run: bounded in number, ended with it. */
import type { Writable } from "node:stream";
import type { CableTap } from "../attach/tap.ts";
import { Capture, type CaptureOptions } from "../control/capture.ts";
import { ConfigError } from "../control/errors.ts";
import type { TraceEvent } from "../core/trace.ts";

const MAX_CAPTURES = 16;

export class Captures {
  readonly #tap: CableTap;
  readonly #notice: (text: string) => void;
  readonly #running: Set<Capture> = new Set();

  /** `notice` is given a line when a capture into a file ends by an error: a full disk. */
  constructor(tap: CableTap, notice: (text: string) => void) {
    this.#tap = tap;
    this.#notice = notice;
  }

  /** Throws `ConfigError` about a filter, or when too many run. */
  begin(target: string | Writable, options: CaptureOptions): Capture {
    if (this.#running.size >= MAX_CAPTURES)
      throw new ConfigError("capture", target, `expected at most ${MAX_CAPTURES} captures at a time`);
    const capture = new Capture(target, options);
    this.#running.add(capture);
    this.#tap.watch(capture);
    void capture.closed.then((error) => {
      if (error !== null && typeof target === "string")
        this.#notice(`the capture to ${target} has ended: ${error.message}`);
      this.#running.delete(capture);
      this.#tap.unwatch(capture);
    });
    return capture;
  }

  list(): Capture[] {
    return [...this.#running];
  }

  /** What the NAT tells of a flow: its comment. */
  event(event: TraceEvent): void {
    for (const capture of this.#running) capture.event(event);
  }

  /** Resolves when all is written. */
  async close(): Promise<void> {
    await Promise.all(this.list().map((capture) => capture.stop()));
  }
}
