/**
 * What the host says on a connection whose requests are judged: it passes at once, and whether all that was asked is answered is known
 * behind it (`proto/http-responses`). A request that is refused then may be told so. Of what is no HTTP nothing is looked at.
 */
import type { HostTcpEvents } from "../../core/host-net.ts";
import { HttpResponses } from "../../proto/http-responses.ts";

export class HeardHost implements HostTcpEvents {
  #to!: HostTcpEvents;
  #responses: HttpResponses | null = new HttpResponses();

  /** Whom the host is to call in place of `events`, who are told all of it. */
  before(events: HostTcpEvents): HostTcpEvents {
    this.#to = events;
    return this;
  }

  /** Whether the host owes no answer, and may be followed by one of ours. */
  get idle(): boolean {
    return this.#responses?.idle === true;
  }

  request(method: string): void {
    this.#responses?.request(method);
  }

  /** The connection is no HTTP (any more). */
  stop(): void {
    this.#responses = null;
  }

  onConnect(): void {
    this.#to.onConnect();
  }

  readMost(more: boolean): number {
    return this.#to.readMost?.(more) ?? Number.POSITIVE_INFINITY;
  }

  onData(bytes: Uint8Array, at: number, len: number): void {
    this.#responses?.feed(bytes, at, len);
    this.#to.onData(bytes, at, len);
  }

  onEnd(): void {
    this.stop();
    this.#to.onEnd();
  }

  onDrain(): void {
    this.#to.onDrain();
  }

  onClose(code: string | null): void {
    this.stop();
    this.#to.onClose(code);
  }
}
