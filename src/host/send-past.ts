/**
 * Writes to Node's stream sockets past Node (Linux, `stream-libc.ts`).
 *
 * A write through a stream makes an object for the request, and calls back in a tick of its own. For a small write that
 * costs as much as the kernel's part. So as long as none of the socket's own bytes wait, the kernel is asked directly;
 * what it does not take goes through the stream after all, which waits for room. An error is met there, too.
 */
import net from "node:net";
import { streamLibc } from "./stream-libc.ts";

/** Our assumption about Node's sockets; only speed depends on it. */
interface HasHandle {
  readonly _handle?: { readonly fd?: unknown } | null;
}

/** Node's classes of handles whose descriptors take the bytes as they are. TLS has another. */
const PLAIN: readonly string[] = ["TCP", "Pipe"];

/** Whether the bytes that are written to a socket are those that its descriptor takes. */
export function isPlain(socket: net.Socket): boolean {
  if (Object.getPrototypeOf(socket) !== net.Socket.prototype || Object.hasOwn(socket, "write")) return false;
  const handle = (socket as unknown as HasHandle)._handle;
  return PLAIN.includes(handle?.constructor.name ?? "");
}

/** A socket's descriptor; -1 if it has none, or Node does not tell. */
export function descriptorOf(socket: net.Socket | net.Server): number {
  const fd = (socket as unknown as HasHandle)._handle?.fd;
  return typeof fd === "number" ? fd : -1;
}

/** The descriptor of an open socket of whose bytes none wait; -1 for any other. */
export function readyDescriptor(socket: net.Socket): number {
  if (socket.connecting || socket.writableEnded || socket.writableLength > 0) return -1;
  return descriptorOf(socket);
}

/** How many of the bytes the kernel has taken; 0 also where it cannot be asked, or refuses. */
export function sendPast(socket: net.Socket | null, bytes: Uint8Array): number {
  if (socket === null) return 0;
  const c = streamLibc();
  const fd = c === null ? -1 : readyDescriptor(socket);
  return fd < 0 ? 0 : Math.max(0, c!.send(fd, bytes));
}
