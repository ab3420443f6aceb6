/** A `LinkReceiver` that keeps what it is told, and lets a test wait for it. */
import { expect } from "vitest";
import type { Link, LinkReceiver, Slab } from "../../src/core/link.ts";
import { DROP_REASONS, type DropReason, type Trace } from "../../src/core/trace.ts";

export class Recorder implements LinkReceiver {
  readonly links: Link[] = [];
  readonly gone: Link[] = [];
  readonly frames: Uint8Array[] = [];
  /** The cable each frame came on. */
  readonly from: Link[] = [];
  batches = 0;
  writables = 0;
  /** Bytes of all frames. */
  bytes = 0;
  keep = true;
  onReceive: ((link: Link, slab: Slab, at: number, len: number, undone?: number) => void) | null = null;
  onBatchEnd: ((link: Link) => void) | null = null;
  onWritable: ((link: Link) => void) | null = null;
  #waiting: { when: () => boolean; then: () => void }[] = [];

  attached(link: Link): void {
    this.links.push(link);
    this.#wake();
  }

  receive(link: Link, slab: Slab, at: number, len: number, undone?: number): void {
    this.bytes += len;
    if (this.keep) {
      this.frames.push(slab.bytes.slice(at, at + len));
      this.from.push(link);
    }
    this.onReceive?.(link, slab, at, len, undone);
  }

  batchEnd(link: Link): void {
    this.batches++;
    this.onBatchEnd?.(link);
    this.#wake();
  }

  writable(link: Link): void {
    this.writables++;
    this.onWritable?.(link);
    this.#wake();
  }

  detached(link: Link): void {
    this.gone.push(link);
    this.#wake();
  }

  /** Resolves as soon as `when` holds after something has been reported. */
  until(when: () => boolean): Promise<void> {
    if (when()) return Promise.resolve();
    return new Promise((then) => this.#waiting.push({ when, then }));
  }

  #wake(): void {
    const ready = this.#waiting.filter((w) => w.when());
    this.#waiting = this.#waiting.filter((w) => !ready.includes(w));
    for (const w of ready) w.then();
  }
}

export class Drops implements Trace {
  readonly counts: Record<DropReason, number> = Object.fromEntries(DROP_REASONS.map((r) => [r, 0])) as never;
  drop(reason: DropReason): void {
    this.counts[reason]++;
  }
  event(): void {}
}

/** Writes one frame and flushes. */
export function transmit(link: Link, frame: Uint8Array): boolean {
  const at = link.reserve(frame.length);
  if (at < 0) return false;
  link.tx.set(frame, at);
  link.commit(frame.length);
  link.flush();
  return true;
}

/** `len` bytes that differ from frame to frame. */
export function frame(len: number, seed = 0): Uint8Array {
  const bytes = new Uint8Array(len);
  let x = (seed * 2654435761 + len) >>> 0;
  for (let i = 0; i < len; i++) {
    x = (Math.imul(x, 1664525) + 1013904223) >>> 0;
    bytes[i] = x >>> 24;
  }
  return bytes;
}

/** A frame as it leaves on a wire: no shorter than Ethernet's shortest. */
export function padded(bytes: Uint8Array): Uint8Array {
  const all = new Uint8Array(Math.max(60, bytes.length));
  all.set(bytes);
  return all;
}

/** Fails naming the first frame that differs. */
export function expectFrames(actual: readonly Uint8Array[], expected: readonly Uint8Array[]): void {
  expect(actual.map((f) => f.length)).toEqual(expected.map((f) => f.length));
  expect(actual.findIndex((f, i) => Buffer.compare(f, expected[i]!) !== 0)).toBe(-1);
}

/** Frames with their length prefixes, as they stand on the wire. */
export function wire(...frames: Uint8Array[]): Buffer {
  return Buffer.concat(
    frames.flatMap((f) => {
      const prefix = Buffer.alloc(4);
      prefix.writeUInt32BE(f.length);
      return [prefix, f];
    }),
  );
}

/** The frames of a byte stream: an independent decoder, for the guest's end. */
export class GuestReader {
  readonly frames: Uint8Array[] = [];
  #rest: Buffer = Buffer.alloc(0);

  push(chunk: Buffer): void {
    this.#rest = Buffer.concat([this.#rest, chunk]);
    while (this.#rest.length >= 4) {
      const len = this.#rest.readUInt32BE(0);
      if (this.#rest.length < 4 + len) return;
      this.frames.push(new Uint8Array(this.#rest.subarray(4, 4 + len)));
      this.#rest = this.#rest.subarray(4 + len);
    }
  }
}
