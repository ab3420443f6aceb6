/**
 * The ring by which the guest sends. Each chain is a `struct virtio_net_hdr` and a frame, in as many descriptors as the
 * guest likes. Bytes are copied into a slab of ours before they are looked at, so that the guest cannot change them
 * between a check and their use. All of a frame is copied, unless the receiver does not look at a large segment's
 * payload: then that is left (`left-payload`). The guest gets its chains back at the end of the batch.
 */
import { COMPLETE, type Link, MAX_FRAME } from "../../core/link.ts";
import type { SharedLibc } from "../../host/shared-libc.ts";
import { virtioUndone } from "../../wire/virtio-net.ts";
import type { CableEnv } from "../attachment.ts";
import type { ReadSlab } from "../slab.ts";
import { ChainWalk, END, LIE } from "./chain.ts";
import type { Features } from "./features.ts";
import { LeftPayload } from "./left-payload.ts";
import type { GuestMemory } from "./memory.ts";
import { FALSE_HEADER, undoneOf } from "./net-header.ts";
import type { Vring } from "./vring.ts";

/** A result of `#gather` beside lengths. */
const TOO_LONG = -2;
const ALIGN = 15;
/**
 * A descriptor of this many bytes holds payload, which may be left. Of the chain's first one `HEADERS` bytes are
 * copied.
 */
const LONG = 4_096;
/** More than the headers of Ethernet, IP and TCP with all their options. */
const HEADERS = 256;

export class FromGuest {
  readonly #env: CableEnv;
  readonly #link: Link;
  readonly #memory: GuestMemory;
  readonly #ring: Vring;
  readonly #features: Features;
  readonly #walk: ChainWalk;
  readonly #left: LeftPayload;
  /**
   * How many bytes of the current frame are in the slab, and how many pieces earlier frames have left; the rest is
   * left.
   */
  #here = 0;
  #kept = 0;
  #slab: ReadSlab;
  #closed = false;
  #busy = false;

  constructor(env: CableEnv, link: Link, libc: SharedLibc, memory: GuestMemory, ring: Vring, features: Features) {
    this.#env = env;
    this.#link = link;
    this.#memory = memory;
    this.#ring = ring;
    this.#features = features;
    this.#walk = new ChainWalk(memory, ring, features.indirect);
    this.#left = new LeftPayload(libc, memory);
    this.#slab = env.pool.take();
  }

  /**
   * Hands over the frames in the ring, at most a slab's worth, and then `batchEnd`. Returns how many chains that was.
   * The caller publishes them.
   */
  take(): number {
    const ring = this.#ring;
    const slab = this.#slab;
    const { header } = this.#features;
    const room = slab.bytes.length - header - MAX_FRAME;
    const waiting = ring.waiting();
    let at = 0;
    let taken = 0;
    let frames = 0;
    this.#busy = true;
    this.#left.begin(slab);
    for (; taken < waiting && at <= room && !this.#closed; taken++) {
      const head = ring.head(0);
      if (head < 0) break;
      const len = this.#gather(head, at);
      if (len === LIE) {
        this.#left.forget(this.#kept);
        ring.broken = true;
        break;
      }
      ring.use(head, 0);
      if (!this.#deliver(slab, at, len)) {
        // Another frame has taken this one's place in the slab.
        this.#left.forget(this.#kept);
        continue;
      }
      frames++;
      at = (at + len + ALIGN) & ~ALIGN;
    }
    if (frames > 0) this.#env.receiver.batchEnd(this.#link);
    slab.elsewhere = null;
    this.#busy = false;
    if (this.#closed) slab.release();
    else if (slab.pinned) {
      this.#slab = this.#env.pool.take();
      slab.release();
    }
    return taken;
  }

  /** Hands over no more frames, even from the middle of a batch: their memory may be gone from now on. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    if (this.#busy) this.#left.settle(0);
    else this.#slab.release();
  }

  #deliver(slab: ReadSlab, at: number, len: number): boolean {
    const { receiver, trace } = this.#env;
    const { header } = this.#features;
    if (len > this.#here) this.#decide(slab, at, len);
    if (len === TOO_LONG) trace.drop("frame-too-long");
    else if (len <= header) trace.drop("eth-short");
    else {
      const undone = undoneOf(this.#features, slab.bytes, at, at + header, len - header);
      if (undone !== FALSE_HEADER) {
        receiver.receive(this.#link, slab, at + header, len - header, undone);
        return true;
      }
      trace.drop("offload-malformed");
    }
    return false;
  }

  /**
   * `#here` bytes of a frame of `len` bytes are in the slab. Decides whether the others stay where they are, unread.
   */
  #decide(slab: ReadSlab, at: number, len: number): void {
    const { receiver } = this.#env;
    const { header } = this.#features;
    const { bytes } = slab;
    const undone = virtioUndone(bytes, at, bytes, at + header, len - header);
    const here = this.#here - header;
    const link = this.#link;
    if (undone > COMPLETE && receiver.leavesPayload?.(link, slab, at + header, here, len - header, undone) === true)
      slab.elsewhere = this.#left;
    else this.#left.settle(this.#kept);
  }

  /**
   * Copies a chain to `at` in the slab, except for payload that may be left: `#here` bytes of the frame are copied, and
   * the payload left begins after piece `#kept`. Returns the frame's length, `TOO_LONG`, or `LIE`.
   */
  #gather(head: number, at: number): number {
    const { header } = this.#features;
    const walk = this.#walk;
    const left = this.#left;
    const most = header + MAX_FRAME;
    let len = 0;
    let all = true;
    this.#kept = left.count;
    walk.begin(head);
    for (let more = walk.next(); more !== END; more = walk.next()) {
      const { address, length } = walk;
      if (more === LIE || walk.writable) return LIE;
      if (len + length > most) return TOO_LONG;
      if (all && length < LONG) {
        if (!this.#copy(address, length, at + len)) return LIE;
      } else {
        const copied = all && len <= header ? HEADERS : 0;
        if (copied > 0 && !this.#copy(address, copied, at + len)) return LIE;
        if (all) this.#here = len + copied;
        all = false;
        if (!left.leave(at + len + copied, address + copied, length - copied)) return LIE;
      }
      len += length;
    }
    if (all) this.#here = len;
    return len;
  }

  #copy(address: number, len: number, at: number): boolean {
    const memory = this.#memory;
    const { bytes } = this.#slab;
    const piece = memory.pieces[memory.find(address)];
    // A descriptor's memory is mostly in one piece.
    if (piece === undefined || address + len > piece.end) return memory.read(address, len, bytes, at);
    piece.read(address - piece.guest, bytes, at, len);
    return true;
  }
}
