/**
 * A cable inside the process: for emulators (v86) and tests.
 *
 * `send` is synchronous: it returns when the network has given all answers that it can give at once, by `onFrame`.
 * Frames that `onFrame` sends are taken as soon as the network's own call has returned: before the outer `send`
 * returns, or in a microtask if the network sent first. `send` throws what `onFrame` has thrown, after all of this
 * (`user-errors`). Two ends that answer each other for ever do not block the
 * process: every so many rounds the event loop gets a turn.
 */
import { type Link, type LinkReceiver, MAX_FRAME } from "../core/link.ts";
import { type FrameTap, NO_TAP } from "../core/tap.ts";
import { NO_TRACE, type Trace } from "../core/trace.ts";
import type { SentCount } from "./attachment.ts";
import { HEADROOM, type ReadSlab, SlabPool } from "./slab.ts";
import { enterSend, leaveSend, userFailed } from "./user-errors.ts";

/** Frames are handed out in chunks of this many bytes, which are never written again. */
const TX_CHUNK = 65_536;
/** How many frames may wait for the network's call to return. */
const QUEUE = 4_096;
/** How many rounds of answers are taken in one go. */
const BURST = 1_024;

export interface CableOptions {
  readonly name?: string;
  readonly trace?: Trace;
  readonly tap?: FrameTap;
  readonly sent?: SentCount;
  /** The network's slabs, so that all its cables share one limit. */
  readonly pool?: SlabPool;
  readonly onFrame?: (frame: Uint8Array) => void;
  /** Called when the cable has been unplugged. */
  readonly onClose?: () => void;
  /** Makes the error for a wrong argument of `send`, or a wrong `onFrame`. */
  readonly wrong?: (field: string, given: unknown, expectation: string) => Error;
}

/** The guest's end. */
export interface MemoryCable {
  /** The network's end. */
  readonly link: Link;
  /** Called for each frame to the guest, which may keep it. While it is null frames are lost. */
  onFrame: ((frame: Uint8Array) => void) | null;
  /**
   * Sends Ethernet frames without FCS, as one batch. They are copied. Throws `ConfigError` if one is no Uint8Array, and
   * otherwise the first error that an `onFrame` or a watcher has thrown meanwhile; the frames have been sent then.
   */
  send(...frames: readonly Uint8Array[]): void;
  /** A stalled guest takes no frame: its cable is full. */
  stall(stalled: boolean): void;
  /** Unplugs the cable: the network sees `detached`, and no callback follows. */
  close(): void;
}

/** Plugs a new cable into `receiver`. */
export function cable(receiver: LinkReceiver, options: CableOptions = {}): MemoryCable {
  return new Cable(receiver, options);
}

class Cable implements MemoryCable, Link {
  readonly name: string;
  readonly direct = true;
  #onFrame: ((frame: Uint8Array) => void) | null;
  tx: Uint8Array = new Uint8Array(TX_CHUNK);
  readonly #onClose: (() => void) | null;
  readonly #wrong: (field: string, given: unknown, expectation: string) => Error;
  readonly #receiver: LinkReceiver;
  readonly #trace: Trace;
  readonly #tap: FrameTap;
  readonly #sent: SentCount;
  readonly #pool: SlabPool;
  #slab: ReadSlab;
  /** Where the next frame begins in `tx`. */
  #used = 0;
  /** Frames that are committed and not flushed. */
  #committed: Uint8Array[] = [];
  /** Frames sent while the network was busy. */
  #waiting: Uint8Array[] = [];
  /** Set during a call of the network's, or a flush. */
  #busy = false;
  /** Set while waiting frames are being taken, before `send` returns. */
  #draining = false;
  #scheduled = false;
  #stalled = false;
  #full = false;
  #closed = false;

  constructor(receiver: LinkReceiver, options: CableOptions) {
    this.name = options.name ?? "memory";
    this.#onFrame = options.onFrame ?? null;
    this.#onClose = options.onClose ?? null;
    this.#wrong = options.wrong ?? ((_field, _given, expectation) => new TypeError(expectation));
    this.#receiver = receiver;
    this.#trace = options.trace ?? NO_TRACE;
    this.#tap = options.tap ?? NO_TAP;
    this.#sent = options.sent ?? { frames: 0, bytes: 0 };
    this.#pool = options.pool ?? new SlabPool();
    this.#slab = this.#pool.take();
    receiver.attached(this);
  }

  get link(): Link {
    return this;
  }

  get onFrame(): ((frame: Uint8Array) => void) | null {
    return this.#onFrame;
  }

  set onFrame(onFrame: ((frame: Uint8Array) => void) | null | undefined) {
    if (onFrame !== null && onFrame !== undefined && typeof onFrame !== "function")
      throw this.#wrong("onFrame", onFrame, "expected a function like (frame) => {}, or null");
    this.#onFrame = onFrame ?? null;
  }

  send(...frames: readonly Uint8Array[]): void {
    // Arrays of any realm are accepted, because an emulator may run in a frame or a vm of its own.
    for (const frame of frames)
      if (frame?.BYTES_PER_ELEMENT !== 1) throw this.#wrong("send", frame, "expected frames, each a Uint8Array");
    if (this.#closed) return;
    if (!this.#busy && this.#waiting.length === 0) {
      const outermost = enterSend();
      try {
        this.#draining = true;
        this.#batch(frames);
        this.#drain();
      } finally {
        if (outermost) leaveSend();
      }
      return;
    }
    for (const frame of frames) {
      if (this.#waiting.length >= QUEUE) this.#trace.drop("cable-full");
      else this.#waiting.push(frame.slice());
    }
    if (!this.#draining) this.#schedule(queueMicrotask);
  }

  stall(stalled: boolean): void {
    this.#stalled = stalled;
    if (stalled || !this.#full || this.#closed) return;
    this.#full = false;
    this.#receiver.writable(this);
  }

  reserve(len: number): number {
    if (this.#stalled || this.#closed) {
      this.#full = true;
      return -1;
    }
    if (this.#used + len > this.tx.length) {
      this.tx = new Uint8Array(Math.max(TX_CHUNK, len));
      this.#used = 0;
    }
    return this.#used;
  }

  commit(len: number): void {
    if (this.#tap.active && !this.#tap.outgoing(this, this.tx, this.#used, len)) return;
    this.#sent.frames++;
    this.#sent.bytes += len;
    this.#committed.push(this.tx.subarray(this.#used, this.#used + len));
    this.#used += len;
  }

  flush(): void {
    if (this.#committed.length === 0) return;
    const frames = this.#committed;
    this.#committed = [];
    const outer = this.#busy;
    this.#busy = true;
    for (const frame of frames) {
      if (this.#closed) break;
      try {
        this.#onFrame?.(frame);
      } catch (error) {
        userFailed(error);
      }
    }
    this.#busy = outer;
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#waiting = [];
    this.#onClose?.();
    // Not inside a call of the network's own.
    if (this.#busy) queueMicrotask(() => this.#finish());
    else this.#finish();
  }

  #finish(): void {
    this.#slab.release();
    this.#receiver.detached(this);
  }

  /** Hands frames over as one read would: all in one slab, or a batch for each slab that they fill. */
  #batch(frames: readonly Uint8Array[]): void {
    this.#busy = true;
    let at = HEADROOM;
    for (const frame of frames) {
      if (frame.length === 0 || frame.length > MAX_FRAME) {
        this.#trace.drop(frame.length === 0 ? "eth-short" : "frame-too-long");
        continue;
      }
      if (at + frame.length > this.#slab.bytes.length) {
        this.#endBatch();
        at = HEADROOM;
      }
      if (this.#closed) break;
      this.#slab.bytes.set(frame, at);
      this.#receiver.receive(this, this.#slab, at, frame.length);
      at += frame.length;
    }
    this.#endBatch();
    this.#busy = false;
  }

  #endBatch(): void {
    this.#receiver.batchEnd(this);
    if (!this.#slab.pinned || this.#closed) return;
    this.#slab.release();
    this.#slab = this.#pool.take();
  }

  #drain(): void {
    this.#draining = true;
    for (let rounds = 0; this.#waiting.length > 0 && rounds < BURST; rounds++) {
      const frames = this.#waiting;
      this.#waiting = [];
      this.#batch(frames);
    }
    this.#draining = false;
    if (this.#waiting.length > 0) this.#schedule(setImmediate);
  }

  #schedule(later: (run: () => void) => unknown): void {
    if (this.#scheduled) return;
    this.#scheduled = true;
    later(() => {
      this.#scheduled = false;
      this.#drain();
    });
  }
}
