/**
 * A guest's cable that is a TAP: a network namespace's, a container's, or this machine's own.
 *
 * The kernel behind a TAP with `struct virtio_net_hdr` takes and gives unfinished frames (`core/link`). Frames are read
 * as long as there are any and the slab has room for the longest, so one wake-up brings a batch. A write never blocks:
 * within the call the kernel takes the frame into the namespace's stack. So a frame leaves when it is committed, one
 * transmit area is enough, and the cable is never full. Frames that the kernel refuses are lost and counted.
 */
import { COMPLETE, type Link, MAX_FRAME, type Offload } from "../core/link.ts";
import { type Readable, readableDescriptor } from "../host/readable.ts";
import { TAP_DOWN, TAP_GONE, type TapDevice } from "../host/tap-device.ts";
import { region } from "../wire/arena.ts";
import { completeSum } from "../wire/segmentation.ts";
import {
  VIRTIO_NET_HEADER,
  VIRTIO_OTHER_SUM,
  VIRTIO_REFUSED,
  virtioSumField,
  virtioSumStart,
  virtioUndone,
  virtioWrite,
} from "../wire/virtio-net.ts";
import type { CableEnv } from "./attachment.ts";
import type { ReadSlab } from "./slab.ts";

/** How many frames one batch may have. */
const BATCH = 256;
/** Where frames begin in the transmit area; their headers stand before them. */
const TX_AT = 16;
const ALIGN = 15;
const UNFINISHED: Offload = { sums: true, tcp4: true, tcp6: true, largest: 65_535 + 14 };

export class TapCable implements Link {
  readonly name: string;
  readonly tx: Uint8Array = region(TX_AT + MAX_FRAME);
  readonly #env: CableEnv;
  readonly #device: TapDevice;
  readonly #onGone: () => void;
  readonly #readable: Readable;
  /** Bytes of header before each frame. */
  readonly #head: number;
  readonly #txAddress: number;
  #slab: ReadSlab;
  #slabAddress: number;
  #gone = false;

  /** `onGone` follows `detached`. The cable closes the descriptor. */
  constructor(device: TapDevice, name: string, env: CableEnv, onGone: () => void) {
    this.name = name;
    this.#env = env;
    this.#device = device;
    this.#onGone = onGone;
    this.#head = device.info + (device.unfinished ? VIRTIO_NET_HEADER : 0);
    this.#txAddress = device.taps.addressOf(this.tx);
    this.#slab = env.pool.take();
    this.#slabAddress = device.taps.addressOf(this.#slab.bytes);
    env.receiver.attached(this);
    this.#readable = readableDescriptor(device.fd, () => this.#read());
  }

  /** The network namespace behind the TAP, `net:[…]`; null where it is not known. */
  get namespace(): string | null {
    return this.#device.namespace;
  }

  get offload(): Offload | null {
    return this.#device.unfinished && !this.#env.tap.byFrame ? UNFINISHED : null;
  }

  reserve(): number {
    return this.#gone ? -1 : TX_AT;
  }

  commit(len: number, undone: number = COMPLETE): void {
    const { tap, sent, trace } = this.#env;
    const { tx } = this;
    if (tap.active && !tap.outgoing(this, tx, TX_AT, len)) return;
    if (this.#gone) return;
    const { taps, fd, unfinished, info } = this.#device;
    const from = TX_AT - this.#head;
    for (let i = 0; i < info; i++) tx[from + i] = 0;
    if (unfinished) virtioWrite(tx, from + info, undone, tx, TX_AT, len);
    const n = taps.write(fd, this.#txAddress + from, this.#head + len);
    if (n >= 0) {
      sent.frames++;
      sent.bytes += len;
      return;
    }
    trace.drop(n === TAP_DOWN ? "guest-unreachable" : "cable-full");
    // Not inside a call of the network's own.
    if (n === TAP_GONE) queueMicrotask(() => this.close());
  }

  flush(): void {}

  close(): void {
    if (this.#gone) return;
    this.#gone = true;
    this.#readable.close();
    this.#slab.release();
    this.#env.receiver.detached(this);
    this.#onGone();
  }

  #read(): void {
    const { taps, fd } = this.#device;
    let slab = this.#slab;
    let at = 0;
    let frames = 0;
    let n = 0;
    for (; frames < BATCH && at + this.#head + MAX_FRAME <= slab.bytes.length; frames++) {
      n = taps.read(fd, this.#slabAddress + at, this.#head + MAX_FRAME);
      if (n < 0) break;
      this.#frame(slab, at + this.#head, n - this.#head);
      if (this.#gone) return;
      at = (at + n + ALIGN) & ~ALIGN;
    }
    if (frames > 0) {
      this.#env.receiver.batchEnd(this);
      if (this.#gone) return;
      if (slab.pinned) {
        slab.release();
        slab = this.#env.pool.take();
        this.#slab = slab;
        this.#slabAddress = taps.addressOf(slab.bytes);
      }
    }
    // A device that is only down gives no frames; reading one that has been removed fails.
    if (n === TAP_GONE || n === TAP_DOWN) this.close();
  }

  #frame(slab: ReadSlab, at: number, len: number): void {
    const { receiver, trace } = this.#env;
    if (len <= 0) return trace.drop("eth-short");
    if (!this.#device.unfinished) return receiver.receive(this, slab, at, len);
    const { bytes } = slab;
    const header = at - VIRTIO_NET_HEADER;
    let undone = virtioUndone(bytes, header, bytes, at, len);
    if (undone === VIRTIO_REFUSED) return trace.drop("offload-malformed");
    if (undone === VIRTIO_OTHER_SUM) {
      completeSum(bytes, at + virtioSumStart(bytes, header), at + len, at + virtioSumField(bytes, header));
      undone = COMPLETE;
    }
    receiver.receive(this, slab, at, len, undone);
  }
}
