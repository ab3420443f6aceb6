/** Server-sent events (WHATWG HTML section 9.2). A reader that falls too far behind is disconnected. */
import { PassThrough } from "node:stream";
import type { FastifyReply } from "fastify";
import type { Endings } from "./endings.ts";

/** The most bytes that may wait for a reader. */
const MAX_BEHIND = 1_048_576;

export class EventStreams {
  readonly #most: number;
  readonly #endings: Endings;
  readonly #onRefused: () => void;
  #open = 0;

  /** `most`: how many readers there may be at a time. */
  constructor(most: number, endings: Endings, onRefused: () => void) {
    this.#most = most;
    this.#endings = endings;
    this.#onRefused = onRefused;
  }

  /**
   * Answers with a stream. `begin` is given a function that writes an event, and returns one to call when the stream
   * ends.
   */
  serve(
    reply: FastifyReply,
    begin: (write: (event: string, data: object, id?: number) => void) => () => void,
  ): FastifyReply {
    if (this.#open >= this.#most) {
      this.#onRefused();
      return reply.code(503).send({ error: `expected at most ${this.#most} streams` });
    }
    const out = new PassThrough();
    out.write(": tslirp\n\n");
    const end = begin((event, data, id) => {
      if (out.writableLength > MAX_BEHIND) out.destroy();
      else out.write(`${id === undefined ? "" : `id: ${id}\n`}event: ${event}\ndata: ${JSON.stringify(data)}\n\n`);
    });
    this.#endings.add(out, reply.raw);
    this.#open++;
    let over = false;
    const close = (): void => {
      if (over) return;
      over = true;
      this.#open--;
      end();
      out.destroy();
    };
    out.on("close", close);
    reply.raw.on("close", close);
    return reply.type("text/event-stream").header("cache-control", "no-store").send(out);
  }
}
