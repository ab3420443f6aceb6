/**
 * Room in the kernel for what we write to a UNIX socket. Linux gives each 208 KiB by itself and never more (of a TCP
 * socket's it takes care), which is less than one of a cable's writes: each would be taken in two, with a turn of the
 * event loop between them.
 */
import type net from "node:net";
import { libc } from "./libc.ts";

/** Asks for `bytes`; without the C library, or for a socket that has an address, nothing changes. */
export function sendRoom(socket: net.Socket, bytes: number): void {
  const { _handle } = socket as unknown as { _handle?: { fd?: number } | null };
  const fd = _handle?.fd ?? -1;
  if (fd >= 0 && socket.remoteAddress === undefined) libc()?.sendRoom(fd, bytes);
}
