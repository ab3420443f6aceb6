/**
 * Who may use the API. On a UNIX socket, its mode (0600) decides. On TCP, clients need the token, and have to use a
 * loopback name: so a web page that points its own name at 127.0.0.1 gets nothing.
 */
import type { IncomingMessage } from "node:http";
import { showsToken } from "../host/token.ts";

/** The fault of a request, or null when it may pass. `token` is null on a UNIX socket, whose mode decides. */
export function refusal(request: IncomingMessage, token: string | null): "host" | "token" | null {
  if (token === null) return null;
  if (request.method !== "CONNECT" && !isLoopbackName(request.headers.host ?? "")) return "host";
  return showsToken(request, token) ? null : "token";
}

function isLoopbackName(host: string): boolean {
  return /^(?:localhost|127(?:\.[0-9]+){3}|\[::1\])(?::[0-9]+)?$/i.test(host);
}
