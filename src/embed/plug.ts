/**
 * The in-process end of a guest's TCP connection.
 *
 * Theory of operation. To the NAT's flow a plug is a host socket (`HostTcp`), so there is one TCP and no special case
 * in it; to its user it is a small set of callbacks (`PlugUser`), out of which `GuestSocket` makes a Duplex.
 *
 *     guest ─ flow ─ write() ─→ queue ─ microtask ─→ onBytes() ─ user
 *     guest ─ flow ←─ onData() ──────────────────── send()     ─ user
 *
 * The flow's calls only leave notes; a microtask acts on them. So a user's code never runs inside a call of the
 * stack's, and may in its turn call into it at once. The bytes of a slab are copied, since a user keeps what it is
 * given. What waits here and what the user has not read count as `backlog`, which closes the guest's window; so does what
 * the pieces cost that it lies in, or a guest that sends a byte at a time would make us hold two hundred times as much.
 * Whenever the user has read something the flow is told, so that the window opens again.
 *
 * A user who leaves before the guest has ended leaves an orphan, as a kernel's `close` does: the guest is sent FIN,
 * and RST if it goes on sending; an orphan whose guest says nothing is over after `ORPHAN_MS`.
 */
import type { Endpoint } from "../core/address.ts";
import { BUFFER_COST } from "../core/cost.ts";
import type { HostTcp, HostTcpEvents } from "../core/host-net.ts";
import type { Slab } from "../core/link.ts";

/** FIN-WAIT-2 of a connection that nobody holds any more, as Linux's tcp_fin_timeout. */
const ORPHAN_MS = 60_000;
/** Bytes go to the flow in pieces, so that its `pause()` takes effect within a long write. */
const PIECE = 65_536;

/** Stands where a flow was, once it is over. */
const NOBODY: HostTcpEvents = { onConnect() {}, onData() {}, onEnd() {}, onDrain() {}, onClose() {} };

/** Whoever reads and writes. Called from microtasks only. */
export interface PlugUser {
  /** Bytes handed over by `onBytes` that have not been read. */
  readonly unread: number;
  /** The connection stands: `send` goes through. */
  onOpen(): void;
  /** The bytes are the user's to keep. */
  onBytes(bytes: Buffer): void;
  /** The guest has sent FIN. */
  onEnd(): void;
  /** `send` takes bytes again. */
  onRoom(): void;
  /** The connection broke: ECONNREFUSED, ECONNRESET, ETIMEDOUT, ENETDOWN. Nothing follows. */
  onLost(code: string): void;
}

export class Plug implements HostTcp {
  readonly local: Endpoint | null = null;
  readonly #user: PlugUser;
  #events: HostTcpEvents;
  #queue: Buffer[] = [];
  #queued = 0;
  #paused = true;
  #opened = false;
  #toldOpen = false;
  #wantsRoom = false;
  /** Pieces handed over since the user had last read everything. */
  #pieces = 0;
  /** What the backlog was when the flow was last told that it has fallen. */
  #told = 0;
  #finSent = false;
  #ended = false;
  #toldEnd = false;
  #lost: string | null = null;
  /** The user is gone. */
  #left = false;
  #orphan: NodeJS.Timeout | null = null;
  #scheduled = false;

  constructor(events: HostTcpEvents, user: PlugUser) {
    this.#events = events;
    this.#user = user;
  }

  // What the flow calls (HostTcp)

  get backlog(): number {
    const { unread } = this.#user;
    // A piece has a byte at the least.
    const pieces = this.#queue.length + Math.min(this.#pieces, unread);
    return this.#queued + unread + pieces * BUFFER_COST;
  }

  write(slab: Slab, at: number, len: number): void {
    if (!this.#left) {
      const bytes = Buffer.allocUnsafe(len);
      bytes.set(slab.bytes.subarray(at, at + len));
      this.#queue.push(bytes);
    }
    this.#queued += len;
    this.#schedule();
  }

  end(): void {
    this.#ended = true;
    this.#schedule();
  }

  pause(): void {
    this.#paused = true;
  }

  resume(): void {
    this.#opened = true;
    this.#paused = false;
    this.#schedule();
  }

  reset(code = "ECONNRESET"): void {
    this.#lost = code === "ECONNRESET" && !this.#opened ? "ECONNREFUSED" : code;
    this.#over();
    this.#schedule();
  }

  // What the user calls

  /** A guest that dialled in may have its SYN-ACK. */
  answer(): void {
    queueMicrotask(() => this.#events.onConnect());
  }

  /** Hands bytes to the flow, which copies them, until it has enough: how many it took. When not all, `onRoom` follows. */
  send(bytes: Uint8Array, from: number): number {
    let at = from;
    while (!this.#paused && at < bytes.length) {
      const len = Math.min(PIECE, bytes.length - at, this.#events.readMost?.(true) ?? PIECE);
      this.#events.onData(bytes, at, len);
      at += len;
    }
    this.#wantsRoom = at < bytes.length;
    return at - from;
  }

  /** The user has read, or would like to: the guest's window may open. */
  read(): void {
    if (this.#user.unread === 0) this.#pieces = 0;
    const { backlog } = this;
    if (backlog >= this.#told) return;
    this.#told = backlog;
    this.#events.onDrain();
  }

  /** FIN after all that was sent. */
  finish(): void {
    if (this.#finSent) return;
    this.#finSent = true;
    this.#events.onEnd();
  }

  /** The user goes. `reset` says RST; so do bytes that nobody has read (RFC 2525 section 2.17). No callback follows. */
  leave(reset: boolean): void {
    if (this.#left) return;
    this.#left = true;
    if (reset || this.backlog > 0 || !this.#opened) return this.#close("ECONNRESET");
    this.#queue = [];
    this.finish();
    if (this.#ended) return this.#close(null);
    if (this.#events !== NOBODY) this.#orphan = setTimeout(() => this.#close("ETIMEDOUT"), ORPHAN_MS).unref();
  }

  #close(code: string | null): void {
    const events = this.#events;
    this.#over();
    events.onClose(code);
  }

  #over(): void {
    this.#events = NOBODY;
    if (this.#orphan !== null) clearTimeout(this.#orphan);
    this.#orphan = null;
  }

  #schedule(): void {
    if (this.#scheduled) return;
    this.#scheduled = true;
    queueMicrotask(() => {
      this.#scheduled = false;
      if (this.#left) this.#settle();
      else this.#pump();
    });
  }

  /** An orphan's guest has sent more, or ended, or is gone. */
  #settle(): void {
    if (this.#events === NOBODY) return;
    if (this.#queued > 0) this.#close("ECONNRESET");
    else if (this.#ended) this.#close(null);
  }

  /** Tells the user everything that has happened. Each callback may make it leave. */
  #pump(): void {
    if (this.#opened && !this.#toldOpen) {
      this.#toldOpen = true;
      this.#user.onOpen();
    }
    const queue = this.#queue;
    this.#queue = [];
    for (const bytes of queue) {
      if (this.#left) return;
      this.#queued -= bytes.length;
      this.#pieces++;
      // Whoever reads at once never lets it be seen in the backlog.
      this.#told = this.backlog + bytes.length;
      this.#user.onBytes(bytes);
    }
    if (this.#ended && !this.#toldEnd && !this.#left) {
      this.#toldEnd = true;
      this.#user.onEnd();
    }
    if (this.#lost !== null && !this.#left) {
      this.#left = true;
      this.#user.onLost(this.#lost);
    }
    if (this.#wantsRoom && !this.#paused && !this.#left) this.#user.onRoom();
  }
}
