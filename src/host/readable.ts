/**
 * Being told that a descriptor can be read, in the event loop.
 *
 * Node has no words for that, but the handle behind a UNIX socket (`_handle`, libuv's pipe) adopts any descriptor that
 * epoll takes (`open`), and reads it into a buffer of ours (`useUserBuffer`). With an empty buffer libuv calls back and
 * reads nothing (ENOBUFS), again and again while there is something: so a socket's descriptors stay for `recvmsg`. An
 * eventfd is read: 8 bytes, and libuv takes a read that does not fill its buffer for the last. All of that is undocumented; `test/platform` proves it
 * for the Node it runs on, and where it does not hold a timer asks every millisecond.
 */
import fs from "node:fs";
import type net from "node:net";

/** What is expected of Node's handles. */
interface PipeHandle {
  readonly fd?: unknown;
  onread: (() => void) | null;
  open(fd: number): number;
  useUserBuffer(buffer: Uint8Array): void;
  readStart(): number;
  close(done?: () => void): void;
}

/** More than an eventfd's 8 bytes, which nobody looks at. Handles know buffers by their addresses only: these are kept for ever. */
const EVENT_BUFFER: Buffer = Buffer.allocUnsafeSlow(16);
const NO_BUFFER: Buffer = Buffer.allocUnsafeSlow(0);
const ASK_MILLIS = 1;

/** Calls back while something can be read, until it is closed, which closes the descriptor. */
export interface Readable {
  /** The descriptor, to read from. */
  readonly fd: number;
  close(): void;
}

/**
 * The socket that a server has accepted, unread (`pauseOnConnect`); the caller reads from its descriptor what makes `ready`
 * be called. Null when this Node does not tell the descriptor.
 */
export function readableSocket(socket: net.Socket, ready: () => void): Readable | null {
  const holder = socket as unknown as { _handle?: PipeHandle | null };
  const handle = holder._handle;
  if (handle === null || handle === undefined) return null;
  const { fd } = handle;
  if (typeof fd !== "number" || fd < 0) return null;
  if (!isPipe(handle)) return asked(fd, ready, () => socket.destroy());
  holder._handle = null;
  // Without a handle this closes nothing: the server counts one connection less.
  socket.destroy();
  return started(handle, fd, NO_BUFFER, ready) ?? asked(fd, ready, () => handle.close());
}

/** Makes eventfds readable, by the kind of handle that a socket has. */
export class EventFds {
  readonly #Pipe: (new (type: number) => PipeHandle) | null;

  /** `socket`: any UNIX socket that has its handle. */
  constructor(socket: net.Socket) {
    const handle = (socket as unknown as { _handle?: PipeHandle | null })._handle;
    this.#Pipe = handle && isPipe(handle) ? (handle.constructor as new (type: number) => PipeHandle) : null;
  }

  /** Reads the eventfd whenever somebody has signalled it, and calls back. Null when `fd` is no eventfd; it is closed then. */
  watch(fd: number, ready: () => void): Readable | null {
    if (!isEventFd(fd)) {
      fs.closeSync(fd);
      return null;
    }
    if (this.#Pipe !== null) {
      const handle = new this.#Pipe(0);
      if (handle.open(fd) === 0) {
        const readable = started(handle, fd, EVENT_BUFFER, ready);
        if (readable !== null) return readable;
        // The handle has the descriptor, and goes with it.
        return asked(fd, ready, () => handle.close());
      }
      handle.close();
    }
    return asked(fd, ready, () => fs.closeSync(fd));
  }
}

/** Whether it is an eventfd: libuv aborts the process over what epoll does not take. */
export function isEventFd(fd: number): boolean {
  try {
    return /^anon_inode:\[?eventfd\]?$/.test(fs.readlinkSync(`/proc/self/fd/${fd}`));
  } catch {
    return false;
  }
}

function isPipe(handle: PipeHandle): boolean {
  return (
    typeof handle.useUserBuffer === "function" &&
    typeof handle.readStart === "function" &&
    typeof handle.open === "function"
  );
}

function started(handle: PipeHandle, fd: number, buffer: Buffer, ready: () => void): Readable | null {
  handle.useUserBuffer(buffer);
  // What it returned would be taken for the next buffer, and anything else aborts the process.
  handle.onread = () => {
    ready();
  };
  if (handle.readStart() !== 0) return null;
  let closed = false;
  return {
    fd,
    close() {
      if (closed) return;
      closed = true;
      handle.onread = () => {};
      handle.close();
    },
  };
}

/** Every millisecond. */
function asked(fd: number, ready: () => void, close: () => void): Readable {
  const timer = setInterval(ready, ASK_MILLIS);
  let closed = false;
  return {
    fd,
    close() {
      if (closed) return;
      closed = true;
      clearInterval(timer);
      close();
    },
  };
}
