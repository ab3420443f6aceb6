/**
 * A guest's cable over a WebSocket: one binary message is one Ethernet frame, without a length (v86's relay protocol).
 *
 * The socket is one of the `ws` package's, or a standard one (WHATWG), whose interface is smaller. Frames to the guest
 * fill the slabs of a `TransmitQueue`, as on a stream; a flush sends one message for each frame. `ws` tells when the
 * kernel has them. A standard socket copies what it is given, and tells only how many bytes wait (`bufferedAmount`);
 * while those are many, it is asked again every few milliseconds.
 *
 * Messages that came by one read of the socket are one batch: `ws` hands them on in one go, and the microtask behind
 * them ends the batch. A read slab is held during a batch only, so a guest at rest holds none.
 *
 * A client that sends text, or a message longer than any frame, is not a guest: its cable ends.
 */
import type net from "node:net";
import { type Link, MAX_FRAME } from "../core/link.ts";
import { get32 } from "../wire/bytes.ts";
import type { CableEnv } from "./attachment.ts";
import { QueuedLink } from "./queued-link.ts";
import { HEADROOM, type ReadSlab } from "./slab.ts";
import { TX_SLAB } from "./transmit.ts";
import { userFailed } from "./user-errors.ts";

/** The interface that a cable needs, which a standard WebSocket and the `ws` package's share. */
export interface FrameSocket {
  binaryType: string;
  readonly readyState: number;
  /** How many bytes have been sent and not yet handed to the kernel. */
  readonly bufferedAmount: number;
  send(data: Uint8Array): void;
  close(code?: number, reason?: string): void;
  addEventListener(type: "open" | "close" | "error", listener: () => void): void;
  addEventListener(type: "message", listener: (event: { readonly data: unknown }) => void): void;
}

/** The parts that only `ws` has. */
interface WsSocket extends FrameSocket {
  /** The connection beneath. Undocumented; if it is missing, we do without. */
  readonly _socket?: net.Socket | null;
  on(event: "message", listener: (data: Uint8Array, isBinary: boolean) => void): void;
  on(event: "error", listener: (error: NodeJS.ErrnoException) => void): void;
  on(event: "close" | "ping" | "pong", listener: () => void): void;
  send(data: Uint8Array, options?: object, done?: () => void): void;
  ping(): void;
  terminate(): void;
}

const CONNECTING = 0;
const OPEN = 1;
/** RFC 6455 section 7.4.1. */
const GOING_AWAY = 1001;
const UNSUPPORTED_DATA = 1003;
const TOO_BIG = 1009;

/**
 * How often a guest is asked whether it is there. A guest that has sent nothing until the next time is gone.
 * Milliseconds.
 */
const PING_MILLIS = 30_000;
/** How many milliseconds a closed cable may take to deliver flushed frames, and to complete the closing handshake. */
const LINGER_MILLIS = 500;
/** A standard socket on which this many bytes wait is given no more for the moment. */
const ENOUGH_WAITING = TX_SLAB;
const ASK_AGAIN_MILLIS = 5;
/** The error code of `ws` for a message beyond its cap. */
const TOO_LONG = "WS_ERR_UNSUPPORTED_MESSAGE_LENGTH";

const BINARY = { binary: true, compress: false };

/** Serves the guest behind `socket`, which belongs to the network from now on. `onGone` follows `detached`. */
export function attachWebSocket(socket: FrameSocket, name: string, env: CableEnv, onGone: () => void): Link {
  return new WebSocketLink(socket, name, env, onGone);
}

function isWs(socket: FrameSocket): socket is WsSocket {
  return typeof (socket as Partial<WsSocket>).terminate === "function";
}

class WebSocketLink extends QueuedLink {
  readonly #socket: FrameSocket;
  readonly #onGone: () => void;
  /** The slab that this batch's messages are copied to; null between batches. */
  #slab: ReadSlab | null = null;
  /** Where the next message goes in the slab. */
  #end = 0;
  #ping: NodeJS.Timeout | null = null;
  /** Whether anything has come since the last ping. */
  #heard = true;
  #linger: NodeJS.Timeout | null = null;
  #attached = false;
  #closing = false;
  #gone = false;
  readonly #endBatch = (): void => {
    const slab = this.#slab;
    if (slab === null) return;
    this.#slab = null;
    this.env.receiver.batchEnd(this);
    slab.release();
  };

  constructor(socket: FrameSocket, name: string, env: CableEnv, onGone: () => void) {
    super(name, env);
    this.#socket = socket;
    this.#onGone = onGone;
    if (isWs(socket)) this.#listenToWs(socket);
    else this.#listen();
    if (socket.readyState === CONNECTING) socket.addEventListener("open", () => this.#attach());
    else if (socket.readyState > OPEN) setImmediate(() => this.#over());
    else this.#attach();
  }

  protected write(bytes: Uint8Array, done: () => void): boolean {
    const socket = this.#socket;
    try {
      if (isWs(socket)) this.#sendByWs(socket, bytes, done);
      else this.#sendPlainly(bytes, done);
    } catch (error) {
      // The socket is the user's, and has not said how much it has taken. Not inside a call of the network's own.
      userFailed(error);
      queueMicrotask(() => this.#over());
    }
    return false;
  }

  close(): void {
    this.#close(GOING_AWAY);
  }

  #listenToWs(socket: WsSocket): void {
    socket.binaryType = "nodebuffer";
    socket.on("message", (data, isBinary) => {
      if (isBinary) this.#message(data);
      else this.#text();
    });
    const heard = (): void => {
      this.#heard = true;
    };
    socket.on("ping", heard);
    socket.on("pong", heard);
    socket.on("error", ({ code }) => {
      if (code === TOO_LONG) this.env.trace.drop("frame-too-long");
      this.#over();
    });
    socket.on("close", () => {
      this.#over();
      this.queue.release();
    });
    this.#ping = setInterval(() => {
      if (!this.#heard) return this.#over();
      this.#heard = false;
      if (socket.readyState === OPEN) socket.ping();
    }, PING_MILLIS).unref();
  }

  #listen(): void {
    const socket = this.#socket;
    socket.binaryType = "arraybuffer";
    socket.addEventListener("message", ({ data }) => {
      if (data instanceof ArrayBuffer) this.#message(new Uint8Array(data));
      else this.#text();
    });
    socket.addEventListener("error", () => this.#over());
    socket.addEventListener("close", () => this.#over());
  }

  #attach(): void {
    if (this.#gone) return;
    this.#attached = true;
    this.env.receiver.attached(this);
  }

  #message(bytes: Uint8Array): void {
    const { length } = bytes;
    if (this.#closing || !this.#attached) return;
    this.#heard = true;
    if (length === 0) return this.env.trace.drop("eth-short");
    if (length > MAX_FRAME) {
      this.env.trace.drop("frame-too-long");
      return this.#close(TOO_BIG);
    }
    if (this.#slab !== null && this.#end + length > this.#slab.bytes.length) this.#endBatch();
    if (this.#slab === null) {
      this.#slab = this.env.pool.take();
      this.#end = HEADROOM;
      queueMicrotask(this.#endBatch);
    }
    const at = this.#end;
    this.#slab.bytes.set(bytes, at);
    this.#end += length;
    this.env.receiver.receive(this, this.#slab, at, length);
  }

  #text(): void {
    if (this.#closing) return;
    this.env.trace.drop("ws-refused");
    this.#close(UNSUPPORTED_DATA);
  }

  /** Sends one message for each frame, in one write. */
  #sendByWs(socket: WsSocket, bytes: Uint8Array, done: () => void): void {
    const wire = socket._socket;
    wire?.cork?.();
    for (let at = 0; at < bytes.length; ) {
      const end = at + 4 + get32(bytes, at);
      socket.send(bytes.subarray(at + 4, end), BINARY, end === bytes.length ? done : undefined);
      at = end;
    }
    wire?.uncork?.();
  }

  #sendPlainly(bytes: Uint8Array, done: () => void): void {
    for (let at = 0; at < bytes.length; ) {
      const end = at + 4 + get32(bytes, at);
      this.#socket.send(bytes.subarray(at + 4, end));
      at = end;
    }
    const ask = (): void => {
      if (this.#gone || this.#socket.bufferedAmount < ENOUGH_WAITING) done();
      else setTimeout(ask, ASK_AGAIN_MILLIS);
    };
    queueMicrotask(ask);
  }

  /** Closes the cable after delivering flushed frames, if the guest takes them soon; `detached` follows. */
  #close(code: number): void {
    if (this.#closing) return;
    this.#closing = true;
    this.queue.close();
    this.#socket.close(code);
    this.#linger = setTimeout(() => this.#over(), LINGER_MILLIS);
  }

  #over(): void {
    if (this.#gone) return;
    this.#gone = true;
    this.#closing = true;
    if (this.#ping !== null) clearInterval(this.#ping);
    if (this.#linger !== null) clearTimeout(this.#linger);
    this.queue.close();
    this.#endBatch();
    if (isWs(this.#socket)) this.#socket.terminate();
    else {
      this.#socket.close();
      this.queue.release();
    }
    if (this.#attached) this.env.receiver.detached(this);
    this.#onGone();
  }
}
