/**
 * The ring that the guest sends by. Each chain is a `struct virtio_net_hdr` and a frame, in as many descriptors as the guest
 * likes. All of it is copied once, into a slab of ours: only there is it looked at, so that nothing changes between a look and
 * its use. The chain is then the guest's again.
 */
import type { Link } from "../../core/link.ts";
import { MAX_FRAME } from "../../core/link.ts";
import type { CableEnv } from "../attachment.ts";
import type { ReadSlab } from "../slab.ts";
import { ChainWalk, END, LIE } from "./chain.ts";
import type { Features } from "./features.ts";
import { copy, type GuestMemory } from "./memory.ts";
import { FALSE_HEADER, undoneOf } from "./net-header.ts";
import type { Vring } from "./vring.ts";

/** What `#gather` says instead of a length. */
const TOO_LONG = -2;
const ALIGN = 15;

export class FromGuest {
  readonly #env: CableEnv;
  readonly #link: Link;
  readonly #memory: GuestMemory;
  readonly #ring: Vring;
  readonly #features: Features;
  readonly #walk: ChainWalk;
  #slab: ReadSlab;
  #closed = false;
  #busy = false;

  constructor(env: CableEnv, link: Link, memory: GuestMemory, ring: Vring, features: Features) {
    this.#env = env;
    this.#link = link;
    this.#memory = memory;
    this.#ring = ring;
    this.#features = features;
    this.#walk = new ChainWalk(memory, ring, features.indirect);
    this.#slab = env.pool.take();
  }

  /**
   * Hands over what waits in the ring, at most a slab of it, and the end of the batch. How many chains that was. The
   * caller publishes them.
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
    for (; taken < waiting && at <= room && !this.#closed; taken++) {
      const head = ring.head(0);
      if (head < 0) break;
      const len = this.#gather(head, at);
      if (len === LIE) {
        ring.broken = true;
        break;
      }
      ring.use(head, 0);
      if (!this.#deliver(slab, at, len)) continue;
      frames++;
      at = (at + len + ALIGN) & ~ALIGN;
    }
    if (frames > 0) this.#env.receiver.batchEnd(this.#link);
    this.#busy = false;
    if (this.#closed) slab.release();
    else if (slab.pinned) {
      this.#slab = this.#env.pool.take();
      slab.release();
    }
    return taken;
  }

  /** No frame follows, even from the middle of a batch. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    if (!this.#busy) this.#slab.release();
  }

  #deliver(slab: ReadSlab, at: number, len: number): boolean {
    const { receiver, trace } = this.#env;
    const { header } = this.#features;
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

  /** Copies a chain to `at` in the slab. Its length, `TOO_LONG`, or `LIE`. */
  #gather(head: number, at: number): number {
    const walk = this.#walk;
    const memory = this.#memory;
    const bytes = this.#slab.bytes;
    const most = this.#features.header + MAX_FRAME;
    let len = 0;
    walk.begin(head);
    for (let more = walk.next(); more !== END; more = walk.next()) {
      if (more === LIE || walk.writable) return LIE;
      if (len + walk.length > most) return TOO_LONG;
      const piece = memory.pieces[memory.find(walk.address)];
      // Mostly a descriptor's memory is in one piece.
      if (piece !== undefined && walk.address + walk.length <= piece.end)
        copy(piece.bytes, walk.address - piece.guest, bytes, at + len, walk.length);
      else if (!memory.read(walk.address, walk.length, bytes, at + len)) return LIE;
      len += walk.length;
    }
    return len;
  }
}
