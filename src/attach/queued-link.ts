/** A cable whose frames leave by a transmit queue, as the stack sees it. Subclasses carry the queue's bytes. */
import type { Link } from "../core/link.ts";
import type { CableEnv } from "./attachment.ts";
import { TransmitQueue } from "./transmit.ts";

export abstract class QueuedLink implements Link {
  readonly name: string;
  protected readonly env: CableEnv;
  protected readonly queue: TransmitQueue;

  constructor(name: string, env: CableEnv) {
    this.name = name;
    this.env = env;
    const write = (bytes: Uint8Array, done: () => void): boolean => this.write(bytes, done);
    this.queue = new TransmitQueue({ write }, () => env.receiver.writable(this));
  }

  abstract close(): void;

  /** Sends frames with their lengths in front, as a `ByteSink` does. */
  protected abstract write(bytes: Uint8Array, done: () => void): boolean;

  get tx(): Uint8Array {
    return this.queue.tx;
  }

  reserve(len: number): number {
    return this.queue.reserve(len);
  }

  commit(len: number): void {
    const { tap, sent } = this.env;
    if (tap.active && !tap.outgoing(this, this.queue.tx, this.queue.next, len)) return;
    sent.frames++;
    sent.bytes += len;
    this.queue.commit(len);
  }

  flush(): void {
    this.queue.flush();
  }

  rest(): void {
    this.queue.rest();
  }
}
