/**
 * Follows the host's side of a connection whose requests are judged. Its bytes pass at once; afterwards they are read
 * to know whether every request has its response (`proto/http-responses`), so that a refused request may be answered.
 * Of a protocol that is not HTTP nothing is read, and of a body nothing but its length: a long transfer's bytes land in
 * the flow's own memory, as without this link.
 */
import type { HostTcpEvents, Landing } from "../../core/host-net.ts";
import { HttpResponses } from "../../proto/http-responses.ts";

/** Bytes for which it is worth while to land: the rest of a shorter body comes by ordinary reads. */
const LONG = 65_536;

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

  /** Left out where bytes have to be read. */
  get landing(): HostTcpEvents["landing"] {
    return this.#unread >= LONG && this.#to.landing !== undefined ? this.#land : undefined;
  }

  landed(len: number): void {
    this.#responses?.skip(len);
    this.#to.landed!(len);
  }

  get #unread(): number {
    return this.#responses === null ? Number.POSITIVE_INFINITY : this.#responses.unread;
  }

  #land(bytes: Uint8Array, at: number, len: number, most: number): Landing | null {
    const left = this.#unread - len;
    if (left < LONG) return null;
    const room = this.#to.landing!(bytes, at, len, Math.min(most, left));
    if (room === null) return null;
    this.#responses?.feed(bytes, at, len);
    // A flow gives whole chunks, which may be more than it was asked for: behind the body another head may follow.
    return room.len <= left ? room : { ...room, len: left };
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
