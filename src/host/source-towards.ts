/** The address that this machine speaks from to another, as its routes say. */
import { createSocket } from "node:dgram";

/** Any: nothing is sent to it. */
const PORT = 9;

/** Addresses are not looked up, and so bind and connect are done when they return. */
function lookup(host: string, _family: unknown, done: (error: null, address: string, family: number) => void): void {
  done(null, host, host.includes(":") ? 6 : 4);
}

/** Connects a UDP socket, which sends nothing. Null where no route leads there, or no descriptor is left. */
export function sourceTowards(host: string): string | null {
  const v6 = host.includes(":");
  const socket = createSocket({ type: v6 ? "udp6" : "udp4", ipv6Only: v6, lookup: lookup as never });
  socket.on("error", () => {});
  try {
    socket.bind({ address: v6 ? "::" : "0.0.0.0", port: 0, exclusive: true });
    socket.connect(PORT, host, () => {});
    socket.remoteAddress();
    return socket.address().address;
  } catch {
    return null;
  } finally {
    socket.close();
  }
}
