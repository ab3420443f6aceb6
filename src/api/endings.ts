/**
 * Responses without an end of their own. When the API closes, their readers see an orderly end, not a broken
 * connection.
 */
import { once, setMaxListeners } from "node:events";
import type { ServerResponse } from "node:http";
import type { PassThrough } from "node:stream";

/** How many milliseconds a reader may take to receive the end. */
const PATIENCE_MILLIS = 200;

export class Endings {
  readonly #open: Map<PassThrough, ServerResponse> = new Map();

  /** `out` is the stream that `response` carries. */
  add(out: PassThrough, response: ServerResponse): void {
    this.#open.set(out, response);
    response.once("close", () => this.#open.delete(out));
  }

  /** Resolves when all responses have ended, or have had their time. */
  async end(): Promise<void> {
    const patience = AbortSignal.timeout(PATIENCE_MILLIS);
    // Each response listens to it.
    setMaxListeners(0, patience);
    const ended = [...this.#open].map(([out, response]) => {
      const finished = once(response, "close", { signal: patience });
      out.end();
      return finished;
    });
    await Promise.allSettled(ended);
  }
}
