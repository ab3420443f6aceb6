/** The recorder between the cables and the switch. */
import { COMPLETE, type Link, type LinkReceiver, type Offload, type Slab } from "../core/link.ts";
import type { FrameTap } from "../core/tap.ts";
import type { Delivery } from "../embed/current-lan.ts";
import { BatchSlabs } from "./batch-slabs.ts";
import { AS_FOUND, headersLength, isSummed, keptLength, UNKNOWN } from "./frames.ts";
import { Asked, type Recorder } from "./recorder.ts";
import { LONGEST_HEADER } from "./segment-run.ts";

/** How many bytes of a sent frame are compared one by one. */
export const HEAD: number = LONGEST_HEADER;

/** Every method of a receiver, those that may be left out, too: what a wrapper lacks is switched off by recording. */
export class RecordedReceiver implements Delivery, Required<LinkReceiver> {
  readonly #recorder: Recorder;
  readonly #inner: LinkReceiver;
  readonly #tap: FrameTap;
  readonly #links: Map<Link, RecordedLink> = new Map();
  readonly #slabs: BatchSlabs = new BatchSlabs();
  /** The cable that was looked up last. */
  #last: Link | null = null;
  #lastRecorded: RecordedLink | null = null;

  /** `tap` is called here, so the switch behind must not call it. */
  constructor(recorder: Recorder, inner: LinkReceiver, tap: FrameTap) {
    this.#recorder = recorder;
    this.#inner = inner;
    this.#tap = tap;
  }

  attached(link: Link): void {
    const recorded = new RecordedLink(this.#recorder, link);
    this.#links.set(link, recorded);
    const { uplink, endless, direct } = link;
    this.#recorder.told("attached", recorded.id, link.name, { uplink, endless, direct });
    this.#inner.attached(recorded);
  }

  /** A recording without payload has no use for it, so it may stay with the guest. */
  leavesPayload(link: Link, slab: Slab, at: number, head: number, len: number, undone: number): boolean {
    const recorder = this.#recorder;
    if (this.#tap.active || (recorder.active && recorder.payload)) return false;
    const recorded = this.#recorded(link);
    const leaves = this.#inner.leavesPayload?.(recorded, slab, at, head, len, undone) === true;
    if (leaves) recorder.told("left", recorded.id);
    return leaves;
  }

  receive(link: Link, slab: Slab, at: number, len: number, undone: number = COMPLETE): void {
    if (this.#tap.active && !this.#tap.incoming(link, slab, at, len, undone)) return;
    // Impairment may have delayed other frames of this batch.
    if (this.#tap.byFrame) this.deliver(link, slab, at, len, undone);
    else this.#pass(link, slab, at, len, undone);
  }

  /** Hands on a frame that impairment has delayed. It may stand in any slab. */
  deliver(link: Link, slab: Slab, at: number, len: number, undone: number = COMPLETE): void {
    const placed = this.#slabs.place(this.#recorded(link).id, slab.bytes, at, len);
    this.#pass(link, placed, this.#slabs.at, len, undone);
  }

  #pass(link: Link, slab: Slab, at: number, len: number, undone: number): void {
    const recorded = this.#recorded(link);
    const recorder = this.#recorder;
    const { bytes } = slab;
    if (recorder.active && (recorder.payload || !recorder.nextFrame(recorded.id, undone, bytes, at, len))) {
      const kept = recorder.payload ? len : keptLength(bytes, at, len);
      const sealed = kept < len && isSummed(undone !== COMPLETE) ? AS_FOUND : UNKNOWN;
      recorder.frame(recorded.id, undone, sealed, bytes, at, kept, len);
    }
    this.#inner.receive(recorded, slab, at, len, undone);
  }

  batchEnd(link: Link): void {
    const recorded = this.#links.get(link)!;
    this.#recorder.told("batchEnd", recorded.id);
    this.#inner.batchEnd(recorded);
    this.#slabs.end(recorded.id);
  }

  writable(link: Link): void {
    const recorded = this.#links.get(link)!;
    this.#recorder.told("writable", recorded.id);
    this.#inner.writable(recorded);
  }

  detached(link: Link): void {
    const recorded = this.#links.get(link)!;
    this.#links.delete(link);
    this.#last = this.#lastRecorded = null;
    this.#tap.detached(link);
    this.#recorder.told("detached", recorded.id);
    this.#inner.detached(recorded);
    this.#slabs.forget(recorded.id);
  }

  #recorded(link: Link): RecordedLink {
    if (link !== this.#last) {
      this.#last = link;
      this.#lastRecorded = this.#links.get(link)!;
    }
    return this.#lastRecorded!;
  }
}

/** A cable as the network sees it: records all calls. */
export class RecordedLink implements Required<Link> {
  readonly id: number;
  readonly name: string;
  readonly uplink: boolean;
  readonly endless: boolean;
  readonly direct: boolean;
  readonly #recorder: Recorder;
  readonly #inner: Link;
  readonly #offload: Asked<Offload | null>;
  #reservations = 0;
  #at = 0;

  constructor(recorder: Recorder, inner: Link) {
    this.#recorder = recorder;
    this.#inner = inner;
    this.id = recorder.id();
    this.name = inner.name;
    this.uplink = inner.uplink ?? false;
    this.endless = inner.endless ?? false;
    this.direct = inner.direct ?? false;
    this.#offload = new Asked<Offload | null>(recorder, "offload", this.id, null);
  }

  get tx(): Uint8Array {
    return this.#inner.tx;
  }

  get offload(): Offload | null {
    return this.#offload.answer(this.#inner.offload ?? null);
  }

  reserve(len: number): number {
    this.#reservations++;
    this.#at = this.#inner.reserve(len);
    if (this.#at < 0) this.#recorder.write("full", this.id, this.#reservations);
    return this.#at;
  }

  gather(o: number, buf: Uint8Array, at: number, len: number): void {
    const inner = this.#inner;
    // A recording with payload reads the whole frame at `commit`.
    const whole = this.#recorder.active && this.#recorder.payload;
    if (whole || inner.gather === undefined) inner.tx.set(buf.subarray(at, at + len), o);
    else inner.gather(o, buf, at, len);
  }

  commit(len: number, undone: number = COMPLETE): void {
    const recorder = this.#recorder;
    const { tx } = this.#inner;
    if (recorder.active && (recorder.payload || !recorder.nextSent(this.id, undone, tx, this.#at, len))) {
      const kept = recorder.payload ? len : headersLength(tx, this.#at, len);
      recorder.sent(this.id, undone, tx, this.#at, Math.min(kept, HEAD), len);
    }
    this.#inner.commit(len, undone);
  }

  flush(): void {
    this.#inner.flush();
  }

  rest(): void {
    this.#inner.rest?.();
  }

  /** The cable itself. */
  get plain(): Link {
    return this.#inner;
  }

  close(): void {
    this.#recorder.write("unplugged", this.id);
    this.#inner.close();
  }
}
