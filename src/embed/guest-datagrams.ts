/** A flow of datagrams that `onFlow` has taken over, as a Duplex in object mode: a Buffer for each. */
import { Duplex } from "node:stream";
import type { DatagramEnd } from "../core/gate.ts";

/** Datagrams that wait for a reader. More are lost, as in a socket's buffer. */
const WAITING = 256;

export class GuestDatagrams extends Duplex implements DatagramEnd {
  readonly #send: (bytes: Uint8Array) => void;
  readonly #ended: () => void;
  readonly #timer: NodeJS.Timeout | null;

  /**
   * `send` takes payloads to the guest, `ended` is told once when the user is done. It ends by itself after `limit`
   * milliseconds; 0 leaves that to the flow.
   */
  constructor(send: (bytes: Uint8Array) => void, ended: () => void, limit: number) {
    super({ objectMode: true, readableHighWaterMark: WAITING });
    this.#send = send;
    this.#ended = ended;
    this.#timer = limit === 0 ? null : setTimeout(() => this.destroy(), limit).unref();
    // A user that does not listen is not to bring the process down: the flow has its own end.
    this.on("error", () => {});
  }

  /** From the flow (DatagramEnd). */
  receive(bytes: Uint8Array, at: number, len: number): void {
    const datagram = Buffer.from(bytes.subarray(at, at + len));
    // Never inside the stack's own call.
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
