/**
 * One guest's cable over shared memory, and when its rings are looked at.
 *
 * A guest that sends signals an eventfd (a kick), and we look at its ring in the same turn. From then on the ring is looked
 * at once a turn, and the guest is asked not to kick, until there was nothing for some turns: a kick costs the guest an exit
 * from its virtual machine and us a wake-up. A guest is woken (a call) once for what a flush has brought it.
 *
 * The cable is there from the moment a ring runs until the front end is gone: while the guest reboots or is stopped it is full.
 */
import { COMPLETE, type Link, MAX_FRAME, type Offload } from "../../core/link.ts";
import type { SharedLibc } from "../../host/shared-libc.ts";
import { giveBack, region } from "../../wire/arena.ts";
import { virtioWrite } from "../../wire/virtio-net.ts";
import type { CableEnv } from "../attachment.ts";
import type { Features } from "./features.ts";
import { FromGuest } from "./from-guest.ts";
import type { GuestMemory } from "./memory.ts";
import { ToGuest } from "./to-guest.ts";
import type { Vring } from "./vring.ts";

/** A frame is built here, with room for its header before. */
const FRAME = 16;
/** Pieces of one frame that are taken from where they stand; more are put together first. */
const MOST_GATHERED = 64;
const NO_BYTES = new Uint8Array(0);
/** So many turns without a frame are looked at before the guest is asked to kick again. */
const IDLE_TURNS = 2;

/** The least bytes of a driver's buffer (virtio 1.2, 5.1.6.3.1). */
const LEAST_BUFFER = 1526;
/** What a driver's buffers hold, beside the header, that takes segments longer than the MTU and does not merge buffers. */
const LARGE_BUFFER = 65_550;

/** A ring, and whom to wake about it. */
export interface RunningRing {
  readonly ring: Vring;
  /** The guest's eventfd; null for a guest that looks by itself. */
  readonly call: number | null;
  /** Where the front end hears that the ring is broken. */
  readonly error: number | null;
}

export class VhostUserLink implements Link {
  readonly name: string;
  tx: Uint8Array = region(FRAME + MAX_FRAME);
  readonly #env: CableEnv;
  readonly #libc: SharedLibc;
  readonly #onClose: () => void;
  readonly #turn: () => void = () => this.#look();
  #receiving: RunningRing | null = null;
  #toGuest: ToGuest | null = null;
  #sending: RunningRing | null = null;
  #fromGuest: FromGuest | null = null;
  #header = 0;
  #offload: Offload | null = null;
  #attached = false;
  /** The room that a `reserve` did not find; 0 for none. */
  #wanted = 0;
  /** What has been gathered for the frame that is being written, and the bytes in `tx` before it. */
  #gathered = 0;
  #head = 0;
  readonly #pieces: Uint8Array[] = [];
  readonly #pieceAt: Int32Array = new Int32Array(MOST_GATHERED);
  readonly #pieceLen: Int32Array = new Int32Array(MOST_GATHERED);
  #awake = false;
  #idle = 0;
  #closed = false;

  /** `onClose` is called when the network ends the cable. */
  constructor(name: string, env: CableEnv, libc: SharedLibc, onClose: () => void) {
    this.name = name;
    this.#env = env;
    this.#libc = libc;
    this.#onClose = onClose;
  }

  /** The guest receives by this ring from now on; null: by none. */
  receiveBy(running: RunningRing | null, memory: GuestMemory, features: Features): void {
    this.#finish(this.#receiving);
    this.#receiving = running;
    this.#toGuest = running === null ? null : new ToGuest(memory, running.ring, features);
    this.#header = features.header;
    if (running === null) return;
    this.#offload = offloadOf(features, running.ring.size);
    running.ring.disarm();
    this.#attach();
    this.given();
  }

  /** The guest sends by this ring from now on; null: by none. */
  sendBy(running: RunningRing | null, memory: GuestMemory, features: Features): void {
    this.#finish(this.#sending);
    this.#sending = running;
    this.#fromGuest?.close();
    this.#fromGuest =
      running === null ? null : new FromGuest(this.#env, this, this.#libc, memory, running.ring, features);
    if (running === null) return;
    this.#attach();
    this.kicked();
  }

  /** The guest says that it has sent. */
  kicked(): void {
    if (this.#sending === null) return;
    this.#idle = 0;
    if (this.#awake) return;
    this.#awake = true;
    this.#look();
  }

  /** The guest says that it has given room, or may have. */
  given(): void {
    if (this.#wanted === 0 || this.#toGuest?.has(this.#wanted) !== true) {
      this.#check(this.#receiving);
      return;
    }
    this.#wanted = 0;
    this.#receiving!.ring.disarm();
    this.#env.receiver.writable(this);
  }

  get offload(): Offload | null {
    return this.#env.tap.byFrame ? null : this.#offload;
  }

  reserve(len: number): number {
    this.#gathered = 0;
    if (this.#toGuest?.has(len) === true) return FRAME;
    this.#wanted = len;
    this.#check(this.#receiving);
    return -1;
  }

  gather(o: number, buf: Uint8Array, at: number, len: number): void {
    const n = this.#gathered;
    // Whoever looks at frames has them in one piece.
    if (this.#env.tap.active || n >= MOST_GATHERED - 1) {
      this.tx.set(buf.subarray(at, at + len), o);
      if (n === 0) return;
      buf = this.tx;
      at = o;
      // The last piece grows with what follows it in `tx`.
      if (this.#pieces[n - 1] === buf && this.#pieceAt[n - 1]! + this.#pieceLen[n - 1]! === o) {
        this.#pieceLen[n - 1] = this.#pieceLen[n - 1]! + len;
        return;
      }
    }
    if (n === 0) this.#head = o - FRAME;
    this.#pieces[n] = buf;
    this.#pieceAt[n] = at;
    this.#pieceLen[n] = len;
    this.#gathered = n + 1;
  }

  commit(len: number, undone: number = COMPLETE): void {
    const { tap, sent, trace } = this.#env;
    if (tap.active && !tap.outgoing(this, this.tx, FRAME, len)) return;
    const to = this.#toGuest;
    // The tap may have brought an end to it.
    if (to === null) return;
    const { tx } = this;
    const from = FRAME - this.#header;
    virtioWrite(tx, from, undone, tx, FRAME, len);
    if (!to.begin(this.#header + len, tx, from)) return trace.drop("frame-too-long");
    to.put(tx, from, this.#header + (this.#gathered > 0 ? this.#head : len));
    for (let i = 0; i < this.#gathered; i++) {
      to.put(this.#pieces[i]!, this.#pieceAt[i]!, this.#pieceLen[i]!);
      this.#pieces[i] = NO_BYTES;
    }
    this.#gathered = 0;
    sent.frames++;
    sent.bytes += len;
  }

  flush(): void {
    this.#publish(this.#receiving);
  }

  close(): void {
    if (!this.#closed) this.#onClose();
  }

  /** The front end is gone: nothing of the guest's memory is touched any more. */
  end(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#receiving = null;
    this.#toGuest = null;
    this.#sending = null;
    this.#fromGuest?.close();
    this.#fromGuest = null;
    giveBack(this.tx);
    this.tx = new Uint8Array(FRAME);
    if (this.#attached) this.#env.receiver.detached(this);
  }

  #attach(): void {
    if (this.#attached) return;
    this.#attached = true;
    this.#env.receiver.attached(this);
  }

  /** Takes what the guest has sent, now and in the next turns. */
  #look(): void {
    const sending = this.#sending;
    if (sending === null || this.#fromGuest === null) {
      this.#awake = false;
      return;
    }
    sending.ring.disarm();
    const taken = this.#fromGuest.take();
    // What was taken may have ended it.
    if (this.#sending === sending) this.#publish(sending);
    this.#idle = taken > 0 ? 0 : this.#idle + 1;
    if (this.#check(sending) || (this.#idle > IDLE_TURNS && sending.ring.arm(0))) this.#awake = false;
    else setImmediate(this.#turn);
  }

  #publish(running: RunningRing | null): void {
    if (running?.ring.publish() === true && running.call !== null) this.#libc.signal(running.call);
  }

  /** What a ring has used is told before it stops. */
  #finish(running: RunningRing | null): void {
    if (running !== null && !running.ring.broken) this.#publish(running);
  }

  /** Whether a ring has lied: it is not looked at any more, until the front end starts it again. */
  #check(running: RunningRing | null): boolean {
    if (running === null || !running.ring.broken) return false;
    this.#env.trace.drop("virtio-ring");
    if (running.error !== null) this.#libc.signal(running.error);
    if (running === this.#receiving) {
      this.#receiving = null;
      this.#toGuest = null;
    } else {
      this.#sending = null;
      this.#fromGuest?.close();
      this.#fromGuest = null;
    }
    return true;
  }
}

/** What a driver takes undone. All its buffers together hold the longest frame, or one of them does. */
function offloadOf({ guestCsum, guestTso4, guestTso6, mergeable, header }: Features, entries: number): Offload | null {
  if (!guestCsum) return null;
  const largest = mergeable ? Math.min(MAX_FRAME, entries * LEAST_BUFFER - header) : LARGE_BUFFER;
  return { sums: true, tcp4: guestTso4, tcp6: guestTso6, largest };
}
