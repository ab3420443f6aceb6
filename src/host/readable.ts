/**
 * Tells, in the event loop, when a descriptor can be read: a control socket, an eventfd, a TAP.
 *
 * Node offers no such call. It watches a descriptor by a handle of libuv's, and the handle behind a UNIX socket
 * (`_handle`, a libuv pipe) adopts any descriptor that epoll takes. It reads into a buffer of ours, and there are two
 * ways to use that:
 *
 * - With an **empty** buffer libuv reads nothing and calls back (ENOBUFS), once a turn while there is something to
 *   read. So the bytes in a socket or a TAP stay there for a `recvmsg` or `read` of ours.
 * - With a buffer of **16 bytes** an eventfd is read, which always gives 8 bytes. Since that does not fill the buffer,
 *   libuv takes the read for the last one, and calls back once for all signals so far.
 *
 * Assumptions about Node, which documents none of them; `test/platform/readable.test.ts` proves each for the Node it
 * runs on:
 *
 * 1. A UNIX socket has its `_handle` from the moment it connects or is accepted. `new handle.constructor(0)` is another one.
 * 2. `open(fd)` adopts a descriptor, and `close()` closes it, also within its own callback. An accepted handle tells its `fd`.
 * 3. `useUserBuffer` and `readStart` work as described above. The end of a socket is reported like data.
 * 4. `onread` may return undefined only: Node takes anything else for its next buffer, and aborts when it is none.
 * 5. A socket that has lost its `_handle` closes nothing when it is destroyed.
 *
 * If Node's handles lack these functions, or refuse, a timer calls back every millisecond, whether there is something
 * to read or not. So a `ready` function must never block in its read, and may find nothing. libuv aborts the process
 * over a descriptor that epoll refuses (a file), so callers have to know what their descriptor is.
 */
import fs from "node:fs";
import net from "node:net";

/** The parts of Node's handles that we assume. */
interface PipeHandle {
  readonly fd?: unknown;
  onread: (() => void) | null;
  open(fd: number): number;
  useUserBuffer(buffer: Uint8Array): void;
  readStart(): number;
  close(): void;
}

type PipeClass = new (type: number) => PipeHandle;
interface HasHandle {
  _handle?: PipeHandle | null;
}

/**
 * Kept for ever, because handles know buffers by their addresses only. The bytes read from eventfds are never looked
 * at.
 */
const NO_BUFFER: Buffer = Buffer.allocUnsafeSlow(0);
const EVENT_BUFFER: Buffer = Buffer.allocUnsafeSlow(16);
/** Node's constant PipeConstants.SOCKET. */
const KIND = 0;
const ASK_MILLIS = 1;

/** Calls back while the descriptor can be read. `close` ends that, and closes the descriptor. */
export interface Readable {
  /** The descriptor, for the caller's reads. */
  readonly fd: number;
  close(): void;
}

/** Calls `ready` while `fd`, which epoll must accept, can be read. The caller reads it, without blocking. */
export function readableDescriptor(fd: number, ready: () => void): Readable {
  return adopted(fd, NO_BUFFER, ready);
}

/**
 * As `readableDescriptor`, for an unread socket that a server has accepted (`pauseOnConnect`), which is taken over.
 * Null if this Node does not tell the socket's descriptor.
 */
export function readableSocket(socket: net.Socket, ready: () => void): Readable | null {
  const holder = socket as unknown as HasHandle;
  const handle = holder._handle;
  if (handle === null || handle === undefined) return null;
  const { fd } = handle;
  if (typeof fd !== "number" || fd < 0) return null;
  if (!isPipe(handle)) return asked(fd, ready, () => socket.destroy());
  holder._handle = null;
  // Without a handle this closes nothing: the server counts one connection less.
  socket.destroy();
  return started(handle, fd, NO_BUFFER, ready);
}

/**
 * Reads the eventfd `fd`, which must not block, whenever somebody has signalled it, and calls `ready`. Null if `fd` is
 * no eventfd; then it is closed.
 */
export function readableEventFd(fd: number, ready: () => void): Readable | null {
  if (isEventFd(fd)) return adopted(fd, EVENT_BUFFER, ready);
  fs.closeSync(fd);
  return null;
}

export function isEventFd(fd: number): boolean {
  try {
    return /^anon_inode:\[?eventfd\]?$/.test(fs.readlinkSync(`/proc/self/fd/${fd}`));
  } catch {
    return false;
  }
}

function adopted(fd: number, buffer: Buffer, ready: () => void): Readable {
  const handle = newPipe();
  if (handle !== null && handle.open(fd) === 0) return started(handle, fd, buffer, ready);
  handle?.close();
  return asked(fd, ready, () => fs.closeSync(fd));
}

/** By a handle that owns the descriptor, and closes it with itself. */
function started(handle: PipeHandle, fd: number, buffer: Buffer, ready: () => void): Readable {
  handle.useUserBuffer(buffer);
  handle.onread = () => {
    ready();
  };
  if (handle.readStart() !== 0) return asked(fd, ready, () => handle.close());
  return closing(fd, () => {
    handle.onread = () => {};
    handle.close();
  });
}

/** By a timer, where Node's handles cannot be used. */
function asked(fd: number, ready: () => void, close: () => void): Readable {
  const timer = setInterval(ready, ASK_MILLIS);
  return closing(fd, () => {
    clearInterval(timer);
    close();
  });
}

/** Closes once only: afterwards the number may be another descriptor's. */
function closing(fd: number, close: () => void): Readable {
  let closed = false;
  return {
    fd,
    close() {
      if (closed) return;
      closed = true;
      close();
    },
  };
}

/** Undefined until it has been looked for; null where Node has changed. */
let pipeClass: PipeClass | null | undefined;

/** Null where Node's handles are not as assumed. */
function newPipe(): PipeHandle | null {
  if (pipeClass === undefined) pipeClass = findPipeClass();
  if (pipeClass === null) return null;
  const handle = new pipeClass(KIND);
  if (isPipe(handle)) return handle;
  handle.close();
  return null;
}

function findPipeClass(): PipeClass | null {
  const socket = new net.Socket();
  // Nobody can listen at that path: the socket connects only to have a handle.
  socket.on("error", () => {});
  socket.connect("/dev/null/none");
  const handle = (socket as unknown as HasHandle)._handle;
  socket.destroy();
  return handle ? (handle.constructor as PipeClass) : null;
}

/** Whether this Node reports readable descriptors by a handle. If not, each one is polled by a timer. */
export function tellsReadable(): boolean {
  if (pipeClass === undefined) pipeClass = findPipeClass();
  return pipeClass !== null;
}

function isPipe(handle: PipeHandle): boolean {
  return (
    typeof handle.useUserBuffer === "function" &&
    typeof handle.readStart === "function" &&
    typeof handle.open === "function"
  );
}
