/**
 * Follows the host's side of a connection whose requests are judged. Its bytes pass at once; afterwards they are read
 * to know whether every request has its response (`proto/http-responses`), so that a refused request may be answered.
 * Of a protocol that is not HTTP nothing is read.
 */
import type { HostTcpEvents } from "../../core/host-net.ts";
import { HttpResponses } from "../../proto/http-responses.ts";

export class HeardHost implements HostTcpEvents {
  #to!: HostTcpEvents;
  #responses: HttpResponses | null = new HttpResponses();

  /** Returns the events that the host is to call in place of `events`; each call is passed on to `events`. */
  before(events: HostTcpEvents): HostTcpEvents {
    this.#to = events;
    return this;
  }

  /** Whether the host owes no response, so that one of ours may follow. */
  get idle(): boolean {
    return this.#responses?.idle === true;
  }

  request(method: string): void {
    this.#responses?.request(method);
  }

  /** The connection is not HTTP, or is no longer: nothing more is read. */
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
