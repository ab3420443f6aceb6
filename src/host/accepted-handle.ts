/**
 * Takes over the connection of a socket that a server has accepted, so that it can be read in another way than the
 * server's. Node's servers do not pass the option `onread` on to the sockets that they accept; `new net.Socket({
 * handle, onread })` takes it. This rests on two undocumented things, the `handle` option and `_handle`;
 * `test/platform` proves them for the Node it runs on.
 */
import type net from "node:net";

/** The parts of Node's handles that we expect. */
interface Handle {
  useUserBuffer?: unknown;
}

/**
 * Takes the connection away from `accepted`. Null, with `accepted` unchanged, if this Node does not let us. The caller
 * first takes out the bytes that have been read on it.
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
