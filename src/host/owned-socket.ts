/**
 * Node's sockets as `tcp` uses them: made so that they read into one buffer, used again, and with shared listeners.
 *
 * libuv reads and calls back in one go, so one buffer serves all sockets. (On Windows a read is posted with its buffer
 * beforehand, so each socket has its own.) A socket whose connection has ended in order dials the next one, which
 * Node's documentation allows after 'close', because a new `net.Socket` is expensive.
 */
import net from "node:net";
import { MOST_READ } from "../core/host-net.ts";
import { libc } from "./libc.ts";
import { descriptorOf } from "./send-past.ts";

/** Bytes of a read, unless it is one of a stream at full speed. */
export const READ = 262_144;
/** Private read buffers are smaller, since there may be thousands. */
const OWN_READ = 65_536;
const PRIVATE: boolean = process.platform === "win32";
/** What reads fill; takes no memory while nothing is read into it. */
export const LARGE: Uint8Array = new Uint8Array(PRIVATE ? 0 : MOST_READ);
/** Its beginning, which is mostly enough. */
export const SHARED: Uint8Array = LARGE.subarray(0, READ);
/** Beginnings of the shared buffer: 512 bytes, and each twice as long as the one before. */
const LEAST_READ = 512;
const VIEWS: readonly Uint8Array[] = Array.from({ length: 12 }, (_, i) => LARGE.subarray(0, LEAST_READ << i));
/** The shortest of them. */
export const LEAST: Uint8Array = VIEWS[0]!;
/** How many closed sockets a process keeps for the next dials; none where each has a read buffer of its own. */
const MOST_IDLE = PRIVATE ? 0 : 64;

/** The connection that has a socket. */
export interface SocketOwner {
  /** The buffer for the next read. */
  readBuffer(): Uint8Array;
  connected(): void;
  received(bytes: Uint8Array, len: number): void;
  ended(): void;
  /** `code`: the error's; null for an end in order. */
  closed(code: string | null): void;
}

/** Node's socket options, including two that its types leave out. */
interface SocketOptions extends net.SocketConstructorOpts {
  onread?: net.OnReadOpts;
  handle?: object;
  /** With `handle`: read nothing before `resume()`. */
  pauseOnCreate?: boolean;
}

/** The part of a buffer that a flow wants: all of `most`, or a beginning of it. */
export function readView(wanted: number, most: Uint8Array): Uint8Array {
  if (wanted >= most.length) return most;
  let i = 0;
  while (LEAST_READ << (i + 1) <= wanted) i++;
  return VIEWS[i]!;
}

/** A socket that knows its connection, so that all sockets can share their listeners; null while it is idle. */
export class OwnedSocket extends net.Socket {
  owner: SocketOwner | null = null;
}

function onConnect(this: OwnedSocket): void {
  this.owner?.connected();
}
function onEnd(this: OwnedSocket): void {
  this.owner?.ended();
}
function onError(this: OwnedSocket, error: NodeJS.ErrnoException): void {
  this.owner?.closed(error.code ?? "EIO");
}
function onClose(this: OwnedSocket): void {
  this.owner?.closed(null);
}

function onChunk(this: OwnedSocket, chunk: Uint8Array): void {
  this.owner?.received(chunk, chunk.length);
}

function listen(socket: OwnedSocket): OwnedSocket {
  socket.on("connect", onConnect);
  socket.on("end", onEnd);
  socket.on("error", onError);
  socket.on("close", onClose);
  return socket;
}

/**
 * A socket that reads as ours do: into a buffer, and not before `resume()`. `handle`: an existing connection's, or
 * null.
 */
export function readingSocket(handle: object | null): OwnedSocket {
  let socket: OwnedSocket | null = null;
  const options: SocketOptions = {
    allowHalfOpen: true,
    onread: {
      // Node asks for the buffer when there is a connection, and after each read.
      buffer: PRIVATE ? new Uint8Array(OWN_READ) : () => socket?.owner?.readBuffer() ?? SHARED,
      callback: (n, bytes) => {
        socket!.owner?.received(bytes, n);
        return true;
      },
    },
  };
  if (handle !== null) {
    options.handle = handle;
    options.pauseOnCreate = true;
  }
  socket = listen(new OwnedSocket(options));
  return socket;
}

/** A socket of somebody else's that Node does not let us replace, with our listeners. */
export function owned(accepted: net.Socket): OwnedSocket {
  const socket = listen(accepted as OwnedSocket);
  socket.allowHalfOpen = true;
  socket.on("data", onChunk);
  return socket;
}

/**
 * Urgent bytes stay in their place among the others (RFC 6093 section 3) where the C library can be had; otherwise they
 * are lost. Sockets that a server accepts inherit this from the server.
 */
export function inLine(socket: net.Socket | net.Server): void {
  const fd = descriptorOf(socket);
  if (fd >= 0) libc()?.urgentInLine(fd);
}

/** Sockets that have been closed in order and may connect again. */
const idle: OwnedSocket[] = [];

/** A socket to connect, one that is idle if there is one. */
export function idleSocket(): OwnedSocket {
  return idle.pop() ?? readingSocket(null);
}

/** Keeps a closed socket, unless something of its connection is left in it. */
export function keepIdle(socket: net.Socket): void {
  if (!(socket instanceof OwnedSocket) || idle.length >= MOST_IDLE) return;
  if (!socket.readableEnded || !socket.writableFinished) return;
  socket.owner = null;
  idle.push(socket);
}

/** Breaks a connection with a RST, where its kind has one. */
export function abort(socket: net.Socket, unix: boolean): void {
  // A UNIX socket has no RST, and a socket that is not connected would wait until it is.
  if (unix || socket.connecting) socket.destroy();
  else socket.resetAndDestroy();
}
