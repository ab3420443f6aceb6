/** Responses that go on until somebody ends them: when the API closes, their readers see an end, not a broken line. */
import { once } from "node:events";
import type { ServerResponse } from "node:http";
import type { PassThrough } from "node:stream";

/** How long a reader may take to hear of it. */
const PATIENCE_MILLIS = 200;

export class Endings {
  readonly #open: Map<PassThrough, ServerResponse> = new Map();

  /** `out` is what `response` carries. */
  add(out: PassThrough, response: ServerResponse): void {
    this.#open.set(out, response);
    response.once("close", () => this.#open.delete(out));
  }

  /** Resolves when all have ended, or have had their time. */
  async end(): Promise<void> {
    const patience = AbortSignal.timeout(PATIENCE_MILLIS);
    const ended = [...this.#open].map(([out, response]) => {
      const finished = once(response, "close", { signal: patience });
      out.end();
      return finished;
    });
    await Promise.allSettled(ended);
  }
}
