/** A flow of datagrams that `onFlow` has taken over: a Duplex in object mode, with a Buffer for each datagram. */
import { Duplex } from "node:stream";
import type { DatagramEnd } from "../core/gate.ts";

/** How many datagrams wait for a reader. Any beyond are lost, as with a socket's buffer. */
const WAITING = 256;

export class GuestDatagrams extends Duplex implements DatagramEnd {
  readonly #send: (bytes: Uint8Array) => void;
  readonly #ended: () => void;
  readonly #timer: NodeJS.Timeout | null;

  /**
   * `send` takes a payload to the guest. `ended` is called once, when the user is done. The stream is destroyed after
   * `limit` milliseconds; with 0, only the flow ends it.
   */
  constructor(send: (bytes: Uint8Array) => void, ended: () => void, limit: number) {
    super({ objectMode: true, readableHighWaterMark: WAITING });
    this.#send = send;
    this.#ended = ended;
    this.#timer = limit === 0 ? null : setTimeout(() => this.destroy(), limit).unref();
    // A user without an `error` listener must not bring the process down. The flow has an end of its own.
    this.on("error", () => {});
  }

  /** Takes a datagram from the flow (DatagramEnd). */
  receive(bytes: Uint8Array, at: number, len: number): void {
    const datagram = Buffer.from(bytes.subarray(at, at + len));
    // Users' code never runs inside a call of the stack's.
    queueMicrotask(() => {
      if (!this.destroyed && !this.readableEnded && this.readableLength < WAITING) this.push(datagram);
    });
  }

  /** The flow is over (DatagramEnd). */
  close(): void {
    queueMicrotask(() => this.destroy());
  }

  override _read(): void {}

  override _write(datagram: unknown, _encoding: BufferEncoding, done: (error?: Error | null) => void): void {
    const bytes = typeof datagram === "string" ? Buffer.from(datagram) : datagram;
    if (!(bytes instanceof Uint8Array)) return done(new TypeError("expected a Buffer for each datagram"));
    this.#send(bytes);
    done();
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#ended();
    done(error);
  }
}
