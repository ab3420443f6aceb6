/**
 * Being told in the event loop that a descriptor can be read, without its being read.
 *
 * Node has no words for that. The handle behind a UNIX socket (libuv's pipe) adopts any descriptor that epoll takes, and
 * when it is given a buffer of no bytes it calls back and reads nothing (ENOBUFS), again and again while there is something.
 * All of that is undocumented: `test/platform` proves it, and where it does not hold a timer asks every millisecond.
 */
import fs from "node:fs";
import net from "node:net";

interface PipeHandle {
  onread: (() => void) | null;
  open(fd: number): number;
  useUserBuffer(buffer: Uint8Array): void;
  readStart(): number;
  close(): void;
}

/** Handles know buffers by their addresses only: this one is kept for ever. */
const NOTHING: Buffer = Buffer.allocUnsafeSlow(0);
const ASK_MILLIS = 1;

/** Calls `ready` while `fd` can be read, until what is returned is called, which closes the descriptor. */
export function whileReadable(fd: number, ready: () => void): () => void {
  const handle = newPipe();
  if (handle !== null && handle.open(fd) === 0) {
    handle.useUserBuffer(NOTHING);
    handle.onread = ready;
    if (handle.readStart() === 0) {
      return once(() => {
        handle.onread = () => {};
        handle.close();
      });
    }
    return asking(ready, () => handle.close());
  }
  handle?.close();
  return asking(ready, () => fs.closeSync(fd));
}

/** Whether it holds on this Node, without a timer. */
export function hasPipes(): boolean {
  const handle = newPipe();
  handle?.close();
  return handle !== null;
}

/** A handle of the class that a connecting UNIX socket has. */
function newPipe(): PipeHandle | null {
  const socket = new net.Socket();
  // Nobody listens there: it is only to have a handle.
  socket.on("error", () => {});
  socket.connect("/dev/null/none");
  const kind = (socket as unknown as { _handle?: { constructor: new (type: number) => PipeHandle } })._handle;
  const handle = kind === undefined || kind === null ? null : new kind.constructor(0);
  socket.destroy();
  const works =
    typeof handle?.useUserBuffer === "function" &&
    typeof handle.open === "function" &&
    typeof handle.readStart === "function";
  if (works) return handle;
  return null;
}

function asking(ready: () => void, close: () => void): () => void {
  const timer = setInterval(ready, ASK_MILLIS);
  return once(() => {
    clearInterval(timer);
    close();
  });
}

function once(act: () => void): () => void {
  let done = false;
  return () => {
    if (done) return;
    done = true;
    act();
  };
}
