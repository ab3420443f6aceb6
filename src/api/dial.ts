/** Streams to guests for programs on this host, which name guests by addresses or DHCP host names. */
import type { Duplex } from "node:stream";
import { parseEndpoint } from "../control/addresses.ts";
import type { Endpoint } from "../core/address.ts";
import { reasonOf } from "../host/reason.ts";
import type { Network } from "../network.ts";
import { splice } from "./splice.ts";

/** HTTP's CONNECT HOST:PORT (RFC 9110 section 9.3.6). `head` has the bytes that the client sent behind the request. */
export async function dial(network: Network, target: string, socket: Duplex, head: Buffer): Promise<void> {
  socket.on("error", () => {});
  const endpoint = guestEndpoint(network, target);
  if (endpoint === null)
    return refuseDial(socket, "400 Bad Request", "expected HOST:PORT: a guest's address, or its DHCP host name");
  try {
    const guest = await network.connect({ ...endpoint, allowHalfOpen: true });
    if (socket.destroyed) {
      guest.destroy();
      return;
    }
    socket.write("HTTP/1.1 200 Connection Established\r\n\r\n");
    if (head.length > 0) guest.write(head);
    splice(guest, socket);
  } catch (error) {
    refuseDial(socket, "502 Bad Gateway", `cannot reach ${target}: ${reasonOf(error)}`);
  }
}

/** Answers a CONNECT that cannot be served. */
export function refuseDial(socket: Duplex, status: string, line: string): void {
  socket.on("error", () => {});
  socket.end(`HTTP/1.1 ${status}\r\nContent-Type: text/plain\r\nConnection: close\r\n\r\n${line}\n`);
}

function guestEndpoint(network: Network, target: string): Endpoint | null {
  const literal = parseEndpoint(target, 0);
  if (literal !== null) return literal.port === 0 ? null : literal;
  const match = /^([^:]+):([0-9]{1,5})$/.exec(target);
  const host = match === null ? null : network.guestNamed(match[1]!);
  const port = Number(match?.[2]);
  return host === null || port < 1 || port > 65_535 ? null : { host, port };
}
