/**
 * Who may command the network. On a UNIX socket: whoever the file's mode (0600) lets in. On TCP: whoever has the token,
 * and only under a loopback name, so that a web page that has its own name point at 127.0.0.1 gets nothing.
 */
import type { IncomingMessage } from "node:http";
import { showsToken } from "../host/token.ts";

/** What is wrong with a request; null when it may pass. `token` null: the socket's mode has decided. */
export function refusal(request: IncomingMessage, token: string | null): "host" | "token" | null {
  if (token === null) return null;
  if (request.method !== "CONNECT" && !isLoopbackName(request.headers.host ?? "")) return "host";
  return showsToken(request, token) ? null : "token";
}

function isLoopbackName(host: string): boolean {
  return /^(?:localhost|127(?:\.[0-9]+){3}|\[::1\])(?::[0-9]+)?$/i.test(host);
}
