/**
 * The connection behind a socket that a server has accepted, to be read in another way than the server's. Node's servers
 * do not pass the option `onread` on to the sockets that they accept; `new net.Socket({ handle, onread })` takes it. That
 * rests on two undocumented things, the `handle` option and `_handle`, which `test/platform` proves for the Node it runs on.
 */
import type net from "node:net";

/** Our expectations of Node's handles. */
interface Handle {
  useUserBuffer?: unknown;
}

/**
 * Takes the connection away from `accepted`. Null when this Node does not let us; `accepted` is then as it was. What
 * has been read on it is the caller's to take out before.
 */
export function takeHandle(accepted: net.Socket): object | null {
  const holder = accepted as unknown as { _handle?: Handle | null };
  const handle = holder._handle;
  if (typeof handle?.useUserBuffer !== "function") return null;
  holder._handle = null;
  // Without a handle this closes nothing: the server counts one connection less.
  accepted.destroy();
  return handle;
}
