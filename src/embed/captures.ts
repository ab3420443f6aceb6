/** The running captures of one network: limited in number, and ended with the network. */
import type { Writable } from "node:stream";
import * as z from "zod/mini";
import type { CableTap } from "../attach/tap.ts";
import { Capture, type CaptureOptions } from "../control/capture.ts";
import { ConfigError } from "../control/errors.ts";
import { checkShape, type Shape } from "../control/shape.ts";
import type { Limits } from "../core/limits.ts";
import type { TraceEvent } from "../core/trace.ts";
import { reasonOf } from "../host/reason.ts";

const number = (min: number): Shape<number | undefined> => {
  const expectation = min === 0 ? "expected a number above 0" : `expected a number from ${min}`;
  return z.optional(z.number(expectation).check(min === 0 ? z.gt(0, expectation) : z.minimum(min, expectation)));
};

const shape: Shape<CaptureOptions> = z.strictObject(
  {
    snapLength: number(1),
    filter: z.optional(z.string("expected a filter like tcp port 80")),
    rotateBytes: number(1),
    rotateSeconds: number(0),
    keepFiles: number(1),
  },
  "expected an object like { filter: 'tcp port 80' }",
);

export class Captures {
  readonly #tap: CableTap;
  readonly #notice: (text: string) => void;
  readonly #limits: Limits;
  readonly #running: Set<Capture> = new Set();

  /** `notice` is given a line when an error, such as a full disk, ends a capture into a file. */
  constructor(tap: CableTap, limits: Limits, notice: (text: string) => void) {
    this.#tap = tap;
    this.#limits = limits;
    this.#notice = notice;
  }

  /** Begins a capture. Throws `ConfigError` for a wrong target or filter, or when too many captures run. */
  begin(target: string | Writable, options: CaptureOptions): Capture {
    if (typeof target === "string" ? target.includes("\0") : typeof target?.write !== "function")
      throw new ConfigError("capture", target, "expected a file's path or a stream to write to");
    checkShape(shape, options);
    const { captures, captureBytes } = this.#limits;
    if (this.#running.size >= captures)
      throw new ConfigError("capture", target, `expected at most ${captures} captures at a time`);
    const capture = new Capture(target, options, captureBytes);
    this.#running.add(capture);
    this.#tap.watch(capture);
    let open = false;
    void capture.opened.then((error) => {
      open = error === null;
    });
    void capture.closed.then((error) => {
      // If the file could not be opened, the caller of `begin` learns of that by `opened`.
      if (open && error !== null && typeof target === "string")
        this.#notice(`the capture to ${target} has ended: ${reasonOf(error)}`);
      this.#running.delete(capture);
      this.#tap.unwatch(capture);
    });
    return capture;
  }

  list(): Capture[] {
    return [...this.#running];
  }

  /** Hands an event of the NAT to the captures, which may add a comment to the flow's packet. */
  event(event: TraceEvent): void {
    for (const capture of this.#running) capture.event(event);
  }

  /** Ends all captures. Resolves when they are written. */
  async close(): Promise<void> {
    await Promise.all(this.list().map((capture) => capture.stop()));
  }
}
