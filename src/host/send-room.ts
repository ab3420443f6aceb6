/**
 * Enlarges the kernel's send buffer of a UNIX socket. Linux gives each 208 KiB and never enlarges it (as it does a TCP
 * socket's). A cable writes more at once: each write would take two calls, with a turn of the event loop between them.
 */
import type net from "node:net";
import { libc } from "./libc.ts";

/** Asks for `bytes` of room. Without the C library, or for a socket that has an IP address, nothing changes. */
export function sendRoom(socket: net.Socket, bytes: number): void {
  const { _handle } = socket as unknown as { _handle?: { fd?: number } | null };
  const fd = _handle?.fd ?? -1;
  if (fd >= 0 && socket.remoteAddress === undefined) libc()?.sendRoom(fd, bytes);
}
