/**
 * One guest's cable over shared memory, and when its rings are looked at.
 *
 * A guest that sends signals an eventfd (a kick), and we look at its ring in the same turn. From then on we look at the
 * ring once a turn, and ask the guest not to kick, until some turns have brought nothing: a kick costs the guest an
 * exit from its virtual machine, and us a wake-up. A flush wakes the guest (a call) once for all the frames that it has
 * brought.
 *
 * The cable exists from the moment a ring runs until the front end is gone. While the guest reboots or is stopped it is
 * full.
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

/** Where a frame is built, with room for its header before it. */
const FRAME = 16;
/** How many pieces of one frame are taken from where they stand; further ones are put together first. */
const MOST_GATHERED = 64;
const NO_BYTES = new Uint8Array(0);
/** After this many turns without a frame the guest is asked to kick again. */
const IDLE_TURNS = 2;

/** The smallest buffer of a driver, in bytes (virtio 1.2, 5.1.6.3.1). */
const LEAST_BUFFER = 1526;
/**
 * The buffer, without its header, of a driver that takes segments longer than the MTU and does not merge buffers.
 * Bytes.
 */
const LARGE_BUFFER = 65_550;

/** A ring, and the eventfds to signal. */
export interface RunningRing {
  readonly ring: Vring;
  /** The eventfd that wakes the guest; null for a guest that polls. */
  readonly call: number | null;
  /** The eventfd that tells the front end of a broken ring. */
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
  /** The room that a `reserve` has asked for in vain; 0 for none. */
  #wanted = 0;
  /** How many pieces of the current frame have been gathered, and how many bytes in `tx` come before it. */
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

  /** Sets the ring by which the guest receives; null: none. */
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

  /** Sets the ring by which the guest sends; null: none. */
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

  /** The guest signals that it has sent. */
  kicked(): void {
    if (this.#sending === null) return;
    this.#idle = 0;
    if (this.#awake) return;
    this.#awake = true;
    this.#look();
  }

  /** The guest signals that it may have given more buffers. */
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
    // Those who watch frames get them in one piece.
    if (this.#env.tap.active || n >= MOST_GATHERED - 1) {
      this.tx.set(buf.subarray(at, at + len), o);
      if (n === 0) return;
      buf = this.tx;
      at = o;
      // The last piece grows if the next bytes follow it in `tx`.
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
    // The tap may have ended the cable.
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

  /** The front end is gone: the guest's memory is not touched any more. */
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

  /** Takes the frames that the guest has sent, now and in the next turns. */
  #look(): void {
    const sending = this.#sending;
    if (sending === null || this.#fromGuest === null) {
      this.#awake = false;
      return;
    }
    sending.ring.disarm();
    const taken = this.#fromGuest.take();
    // A frame that was taken may have ended the cable.
    if (this.#sending === sending) this.#publish(sending);
    this.#idle = taken > 0 ? 0 : this.#idle + 1;
    if (this.#check(sending) || (this.#idle > IDLE_TURNS && sending.ring.arm(0))) this.#awake = false;
    else setImmediate(this.#turn);
  }

  #publish(running: RunningRing | null): void {
    if (running?.ring.publish() === true && running.call !== null) this.#libc.signal(running.call);
  }

  /** Publishes the chains that a ring has used, before the ring stops. */
  #finish(running: RunningRing | null): void {
    if (running !== null && !running.ring.broken) this.#publish(running);
  }

  /** Whether a ring has lied: then it is left alone until the front end starts it again. */
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

/** The unfinished frames that a driver accepts. Its buffers together, or one of them, must hold the longest frame. */
function offloadOf({ guestCsum, guestTso4, guestTso6, mergeable, header }: Features, entries: number): Offload | null {
  if (!guestCsum) return null;
  const largest = mergeable ? Math.min(MAX_FRAME, entries * LEAST_BUFFER - header) : LARGE_BUFFER;
  return { sums: true, tcp4: guestTso4, tcp6: guestTso6, largest };
}
