/**
 * The name that a connection's first bytes show: a TLS ClientHello's server name, or an HTTP request's Host. One
 * address serves many names, so an address that an allowed name led to says little by itself.
 */
import { readHttpRequest } from "./http-request.ts";
import type { FirstBytesReading } from "./shown-name.ts";
import { readTlsHello } from "./tls-hello.ts";

/** Reads the first `len` bytes of a connection. They may be any bytes; the time is linear in `len`. */
export function readFirstBytes(buf: Uint8Array, at: number, len: number): FirstBytesReading {
  const hello = readTlsHello(buf, at, len);
  return hello === "other" ? readHttpRequest(buf, at, len) : hello;
}
