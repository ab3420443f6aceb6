/** Nodes whose handles are others than those that we know, for tests of what is done then. */
import net from "node:net";

/** Until it is disposed of, the handles of UNIX sockets have `replacement` for the function `name`. */
export function handlesWithout(name: string, replacement?: () => number): Disposable {
  const socket = new net.Socket();
  socket.on("error", () => {});
  socket.connect("/dev/null/none");
  const handle = (socket as unknown as { _handle: object })._handle;
  const prototype = Object.getPrototypeOf(handle) as Record<string, unknown>;
  socket.destroy();
  const own = Object.getOwnPropertyDescriptor(prototype, name);
  Object.defineProperty(prototype, name, { value: replacement, configurable: true, writable: true });
  return {
    [Symbol.dispose]() {
      if (own === undefined) delete prototype[name];
      else Object.defineProperty(prototype, name, own);
    },
  };
}
