/**
 * One guest's cable over a byte stream (QEMU `-netdev stream` and `-netdev socket`): a UNIX or TCP socket, or any
 * Duplex of the embedder's.
 *
 * Sockets of our own read by Node's `onread` straight into the decoder's slab. `net.connect` and `new net.Socket` take
 * that option, but a server does not pass it on to the sockets that it accepts. So an accepted socket's connection is
 * moved to a new one (`adopt`, `host/accepted-handle`). If Node does not let us, the chunks of 'data' are copied
 * instead.
 *
 * Writes to Node's sockets go past Node where they can (`host/send-past`). Node's sockets no longer need the written
 * bytes when they call back. Other Duplexes pass bytes on by reference (a
 * PassThrough, the other half of a pair) to a reader that may read them later, so those get copies.
 *
 * A guest that does not read fills its transmit queue and no more; its own frames are read all the same.
 */
import net from "node:net";
import type { Duplex } from "node:stream";
import type { Link } from "../core/link.ts";
import { takeHandle } from "../host/accepted-handle.ts";
import { isPlain, sendPast } from "../host/send-past.ts";
import { sendRoom } from "../host/send-room.ts";
import type { CableEnv } from "./attachment.ts";
import { FrameDecoder } from "./decoder.ts";
import { QueuedLink } from "./queued-link.ts";
import { TX_SLAB } from "./transmit.ts";
import { userFailed } from "./user-errors.ts";

/** How many milliseconds a closed cable may take to deliver bytes that were flushed before. */
const LINGER_MILLIS = 500;

export class StreamLink extends QueuedLink {
  /** For the socket that this cable will use. */
  readonly onread: net.OnReadOpts;
  readonly #onGone: () => void;
  readonly #decoder: FrameDecoder;
  #socket: Duplex | null = null;
  /** The stream passes on by reference what is written. */
  #hands = false;
  /** The socket, if bytes may be sent past Node. */
  #past: net.Socket | null = null;
  #linger: NodeJS.Timeout | null = null;
  /** The array that the socket reads into. */
  #area: Uint8Array | null = null;
  #closing = false;
  #gone = false;

  /** Nothing happens before `start` or `abandon`. `onGone` follows `detached`. */
  constructor(name: string, env: CableEnv, onGone: () => void) {
    super(name, env);
    this.#onGone = onGone;
    this.#decoder = new FrameDecoder(env.pool, env.receiver, this, env.trace);
    this.onread = {
      // Node asks for the buffer after each read; undefined means the same as before.
      buffer: () => this.#nextArea() as Uint8Array,
      callback: (n) => {
        this.#check(this.#decoder.received(n));
        return true;
      },
    };
  }

  protected write(bytes: Uint8Array, done: () => void): boolean {
    const socket = this.#socket!;
    if (this.#hands) {
      try {
        socket.write(Buffer.from(bytes), done);
      } catch (error) {
        // The stream is the user's, and has not said how much it has taken. Not inside a call of the network's own.
        userFailed(error);
        queueMicrotask(() => this.#end());
      }
      return false;
    }
    const taken = sendPast(this.#past, bytes);
    if (taken === bytes.length) return true;
    socket.write(taken > 0 ? bytes.subarray(taken) : bytes, done);
    return false;
  }

  /** The socket is connected. `reads`: it was made with this cable's `onread`. */
  start(socket: Duplex, reads: boolean): void {
    this.#socket = socket;
    this.#hands = !(socket instanceof net.Socket);
    if (socket instanceof net.Socket) {
      socket.setNoDelay(true);
      sendRoom(socket, 2 * TX_SLAB);
      if (isPlain(socket)) this.#past = socket;
    }
    socket.on("error", () => this.#end());
    socket.on("end", () => this.#end());
    socket.on("close", () => {
      this.#end();
      this.queue.release();
    });
    this.env.receiver.attached(this);
    if (!reads) socket.on("data", (chunk: unknown) => this.#chunk(chunk));
    socket.resume();
    // A stream that ended before it came here emits nothing any more.
    if (socket.destroyed) this.#end();
  }

  /**
   * As `start`, over a socket that a server has accepted. If nothing has been read of it, by `onread` (see `adopt`).
   */
  startAccepted(socket: net.Socket): void {
    const adopted = socket.bytesRead === 0 ? adopt(socket, this.onread) : null;
    this.start(adopted ?? socket, adopted !== null);
  }

  /** There will be no socket. */
  abandon(): void {
    this.#decoder.close();
    this.queue.close();
    this.queue.release();
  }

  /** Closes the cable after delivering flushed bytes, if the guest takes them soon; `detached` follows. */
  close(): void {
    if (this.#closing || this.#socket === null) return;
    this.#closing = true;
    this.#decoder.close();
    this.queue.close();
    const socket = this.#socket;
    socket.end(() => this.#end());
    this.#linger = setTimeout(() => this.#end(), LINGER_MILLIS);
  }

  #nextArea(): Uint8Array | undefined {
    const area = this.#decoder.readArea;
    if (area === this.#area) return undefined;
    this.#area = area;
    return area;
  }

  /** A user's stream may yield texts and objects, too. They are no frames, so the cable ends. */
  #chunk(chunk: unknown): void {
    if (chunk instanceof Uint8Array) return this.#check(this.#decoder.copied(chunk));
    if (this.#closing) return;
    const text = `the cable ${this.name} ends: its stream gave a ${typeof chunk}, expected bytes`;
    this.env.trace.event({ type: "notice", text });
    this.#end();
  }

  #check(sane: boolean): void {
    if (!sane) this.#end();
  }

  #end(): void {
    if (this.#gone) return;
    this.#gone = true;
    this.#closing = true;
    if (this.#linger !== null) clearTimeout(this.#linger);
    this.#decoder.close();
    this.queue.close();
    this.#socket!.destroy();
    this.env.receiver.detached(this);
    this.#onGone();
  }
}

/**
 * Moves an accepted socket's connection to a socket that reads by `onread`. Null, with `accepted` unchanged, if this
 * Node does not let us. The server needs `pauseOnConnect`, so that nothing has been read yet.
 */
export function adopt(accepted: net.Socket, onread: net.OnReadOpts): net.Socket | null {
  const handle = takeHandle(accepted);
  return handle === null ? null : new net.Socket({ handle, onread } as unknown as net.SocketConstructorOpts);
}

/** A cable over the embedder's stream, with length-prefixed frames both ways. The network closes the stream, too. */
export function attachDuplex(duplex: Duplex, name: string, env: CableEnv, onGone: () => void = () => {}): Link {
  const link = new StreamLink(name, env, onGone);
  link.start(duplex, false);
  return link;
}

/** A cable over a socket that the embedder's own server, or another process, has accepted. */
export function attachAccepted(socket: net.Socket, name: string, env: CableEnv, onGone: () => void): Link {
  const link = new StreamLink(name, env, onGone);
  link.startAccepted(socket);
  return link;
}
