/** Server-sent events (WHATWG HTML section 9.2). A reader that falls too far behind is let go, rather than remembered for. */
import { PassThrough } from "node:stream";
import type { FastifyReply } from "fastify";
import type { Endings } from "./endings.ts";

/** What a reader that does not read may have waiting. */
const MAX_BEHIND = 1_048_576;

export class EventStreams {
  readonly #most: number;
  readonly #endings: Endings;
  readonly #onRefused: () => void;
  #open = 0;

  /** At most so many at a time. */
  constructor(most: number, endings: Endings, onRefused: () => void) {
    this.#most = most;
    this.#endings = endings;
    this.#onRefused = onRefused;
  }

  /** Answers with a stream. `begin` is given what writes an event, and returns what is to be done at the stream's end. */
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
