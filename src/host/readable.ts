/**
 * Being told, in the event loop, that a descriptor can be read: a control socket, an eventfd, a TAP.
 *
 * Node has no words for that. It watches a descriptor by a handle of libuv's, and the handle behind a UNIX socket
 * (`_handle`, libuv's pipe) is not particular: it adopts any descriptor that epoll takes. What it reads, it reads into a
 * buffer of ours, and there are two ways to use that:
 *
 * - With an **empty** buffer libuv reads nothing and calls back (ENOBUFS), once a turn while there is something. So what
 *   stands in a socket or in a TAP stays there for a `recvmsg` or `read` of ours.
 * - With a buffer of **16 bytes** an eventfd is read, which always gives 8: libuv takes a read that does not fill its
 *   buffer for the last, and calls back once for all the signals so far.
 *
 * Assumed of Node, which documents none of it; `test/platform/readable.test.ts` proves each point for the Node it runs on:
 *
 * 1. A UNIX socket has its `_handle` from the moment it connects or is accepted. `new handle.constructor(0)` is another one.
 * 2. `open(fd)` adopts a descriptor, and `close()` closes it, also within its own callback. An accepted handle tells its `fd`.
 * 3. `useUserBuffer` and `readStart` do what stands above. The end of a socket is told like data.
 * 4. `onread` may return undefined only: Node takes anything else for its next buffer, and aborts when it is none.
 * 5. A socket that has lost its `_handle` closes nothing when it is destroyed.
 *
 * A Node whose handles lack these functions, or refuse, is asked nothing more: a timer calls back every millisecond, whether
 * there is something or not. Whoever is told must therefore never wait in its read, and may find nothing. Libuv aborts the
 * process over a descriptor that epoll refuses (a file): who calls here knows what the descriptor is.
 */
import fs from "node:fs";
import net from "node:net";

/** Our assumptions about Node's handles. */
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

/** Handles know buffers by their addresses only: these are kept for ever. Nobody looks at what an eventfd's says. */
const NO_BUFFER: Buffer = Buffer.allocUnsafeSlow(0);
const EVENT_BUFFER: Buffer = Buffer.allocUnsafeSlow(16);
/** PipeConstants.SOCKET. */
const KIND = 0;
const ASK_MILLIS = 1;

/** Calls back while something can be read, until it is closed, which closes the descriptor. */
export interface Readable {
  /** The descriptor, to read from. */
  readonly fd: number;
  close(): void;
}

/** Calls `ready` while `fd`, which epoll must take, can be read; the caller reads it, without waiting. */
export function readableDescriptor(fd: number, ready: () => void): Readable {
  return adopted(fd, NO_BUFFER, ready);
}

/**
 * The same of the socket that a server has accepted, unread (`pauseOnConnect`), which is taken over. Null when this Node
 * does not tell the descriptor.
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
 * Reads the eventfd `fd`, which never waits, whenever somebody has signalled it, and calls `ready`. Null when it is no
 * eventfd; it is closed then.
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

/** By a handle that has the descriptor, which goes with it. */
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

/** By a timer. */
function asked(fd: number, ready: () => void, close: () => void): Readable {
  const timer = setInterval(ready, ASK_MILLIS);
  return closing(fd, () => {
    clearInterval(timer);
    close();
  });
}

/** Closes once: the number may be another descriptor's afterwards. */
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

/** Undefined until it has been looked for. */
let pipeClass: PipeClass | null | undefined;

/** Null where Node has changed. */
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
  // Nobody can listen there: it connects only to have a handle.
  socket.on("error", () => {});
  socket.connect("/dev/null/none");
  const handle = (socket as unknown as HasHandle)._handle;
  socket.destroy();
  return handle ? (handle.constructor as PipeClass) : null;
}

/** Whether this Node tells by a handle of its own that a descriptor can be read; if not, each asks by a timer. */
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
