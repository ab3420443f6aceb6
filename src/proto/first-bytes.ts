/**
 * What a connection's first bytes show of where it really wants to go: a TLS ClientHello's server name, an HTTP request's
 * Host. One address serves many names, so that an address which an allowed name led to says little by itself.
 */
import { readHttpRequest } from "./http-request.ts";
import type { FirstBytesReading } from "./shown-name.ts";
import { readTlsHello } from "./tls-hello.ts";

/** Looks at the first `len` bytes of a connection. Any bytes are fine; time is linear in `len`. */
export function readFirstBytes(buf: Uint8Array, at: number, len: number): FirstBytesReading {
  const hello = readTlsHello(buf, at, len);
  return hello === "other" ? readHttpRequest(buf, at, len) : hello;
}
