/** Bytes whose hash is compared at both ends of a simulated connection. */
import { createHash } from "node:crypto";
import type { TcpSocket } from "../../src/cli/guest/tcp.ts";
import type { TcpEvents } from "../../src/cli/guest/tcp-user.ts";
import { seeded } from "../support/tcb-pair.ts";

export function pattern(length: number, seed: number): Uint8Array {
  const next = seeded(seed);
  const bytes = new Uint8Array(length);
  for (let i = 0; i < length; i++) bytes[i] = next() * 256;
  return bytes;
}

export function hash(...parts: readonly Uint8Array[]): string {
  const h = createHash("sha256");
  for (const part of parts) h.update(part);
  return h.digest("hex");
}

/** A guest's side of a transfer: writes `bytes` as fast as it may, then FIN; keeps what comes. */
export class Party implements TcpEvents {
  socket: TcpSocket | null = null;
  readonly received: Uint8Array[] = [];
  readonly log: string[] = [];
  readonly #bytes: Uint8Array;
  #at = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }
  onConnect(): void {
    this.log.push("connect");
    this.onWritable();
  }
  onWritable(): void {
    this.#at += this.socket!.write(this.#bytes.subarray(this.#at));
    if (this.#at === this.#bytes.length) this.socket!.end();
  }
  onData(bytes: Uint8Array): void {
    this.received.push(bytes);
  }
  onEnd(): void {
    this.log.push("end");
  }
  onClose(end: string | null): void {
    this.log.push(`close ${end}`);
  }
  get done(): boolean {
    return this.log.some((line) => line.startsWith("close"));
  }
}
