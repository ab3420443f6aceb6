/**
 * The in-process end of a guest's TCP connection.
 *
 * Theory of operation. To the NAT's flow a plug is a host socket (`HostTcp`), so the TCP engine needs no special case.
 * To its user a plug is a small set of callbacks (`PlugUser`), from which `GuestSocket` makes a Duplex.
 *
 *     guest ─ flow ─ write() ─→ queue ─ microtask ─→ onBytes() ─ user
 *     guest ─ flow ←─ onData() ──────────────────── send()     ─ user
 *
 * The flow's calls only leave notes, and a microtask acts on them. So a user's code never runs inside a call of the
 * stack's, and may call the stack at once. Bytes are copied from the slab, since users keep what they are given.
 *
 * The `backlog` counts the bytes that wait here and those that the user has not read; it closes the guest's window. It
 * also counts the memory of each piece. Without that, a guest that sends single bytes could make us hold two hundred
 * times as much. Whenever the user has read something, the flow is told, so that the window opens again.
 *
 * A user who leaves before the guest has ended leaves an orphan, as `close` does with a kernel's socket. The guest is
 * sent FIN, and RST if it goes on sending. If the guest says nothing, the orphan ends after `ORPHAN_MS`.
 */
import type { Endpoint } from "../core/address.ts";
import { BUFFER_COST } from "../core/cost.ts";
import type { HostTcp, HostTcpEvents } from "../core/host-net.ts";
import type { Slab } from "../core/link.ts";

/** Milliseconds in FIN-WAIT-2 for a connection that nobody holds any more, as Linux's tcp_fin_timeout. */
const ORPHAN_MS = 60_000;
/** Bytes go to the flow in pieces of at most this size, so that its `pause()` takes effect within a long write. */
const PIECE = 65_536;

/** Takes the place of a flow that is over. */
const NOBODY: HostTcpEvents = { onConnect() {}, onData() {}, onEnd() {}, onDrain() {}, onClose() {} };

/** The reader and writer of the connection. All its methods are called from microtasks only. */
export interface PlugUser {
  /** How many bytes from `onBytes` the user has not read yet. */
  readonly unread: number;
  /** The connection is established: `send` works from now on. */
  onOpen(): void;
  /** Bytes from the guest. The user may keep them. */
  onBytes(bytes: Buffer): void;
  /** The guest has sent FIN. */
  onEnd(): void;
  /** `send` accepts bytes again. */
  onRoom(): void;
  /** The connection has broken; `code` is a system's error code such as ECONNRESET. No callback follows. */
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
  /** How many pieces the user was given since it had last read everything. */
  #pieces = 0;
  /** The backlog when the flow was last told that it has fallen. */
  #told = 0;
  #finSent = false;
  #ended = false;
  #toldEnd = false;
  #lost: string | null = null;
  /** The user has left. */
  #left = false;
  #orphan: NodeJS.Timeout | null = null;
  #scheduled = false;

  constructor(events: HostTcpEvents, user: PlugUser) {
    this.#events = events;
    this.#user = user;
  }

  // Calls from the flow (HostTcp).

  get backlog(): number {
    const { unread } = this.#user;
    // Each piece holds at least one byte.
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

  // Calls from the user.

  /** Has the flow send its SYN-ACK to a guest that has dialled in. */
  answer(): void {
    queueMicrotask(() => this.#events.onConnect());
  }

  /** Hands bytes to the flow, which copies them until it has enough. Returns how many. If not all, `onRoom` follows. */
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

  /** The user has read, or is ready to read. The guest's window may open. */
  read(): void {
    if (this.#user.unread === 0) this.#pieces = 0;
    const { backlog } = this;
    if (backlog >= this.#told) return;
    this.#told = backlog;
    this.#events.onDrain();
  }

  /** Sends FIN behind all bytes sent before. */
  finish(): void {
    if (this.#finSent) return;
    this.#finSent = true;
    this.#events.onEnd();
  }

  /**
   * The user leaves; no callback follows. Sends RST for `reset`, for unread bytes (RFC 2525 section 2.17) and before
   * the connection is established; else FIN.
   */
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
      if (this.#left) return this.#settle();
      let told = false;
      try {
        this.#pump();
        told = true;
      } finally {
        // A listener of the user's has thrown: the rest is told in another microtask.
        if (!told) this.#schedule();
      }
    });
  }

  /** The orphan's guest has sent more, has ended, or is gone. */
  #settle(): void {
    if (this.#events === NOBODY) return;
    if (this.#queued > 0) this.#close("ECONNRESET");
    else if (this.#ended) this.#close(null);
  }

  /** Tells the user everything that has happened. The user may leave in any callback. */
  #pump(): void {
    if (this.#opened && !this.#toldOpen) {
      this.#toldOpen = true;
      this.#user.onOpen();
    }
    const queue = this.#queue;
    this.#queue = [];
    let given = 0;
    try {
      for (const bytes of queue) {
        if (this.#left) return;
        given++;
        this.#queued -= bytes.length;
        this.#pieces++;
        // If the user reads at once, the backlog never shows these bytes. They are added here, so that the flow is told
        // of the read.
        this.#told = this.backlog + bytes.length;
        this.#user.onBytes(bytes);
      }
    } finally {
      // If a listener of the user's has thrown, pieces are left.
      if (given < queue.length && !this.#left) this.#queue = [...queue.slice(given), ...this.#queue];
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
