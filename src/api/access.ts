/**
 * Who may command the network. On a UNIX socket: whoever the file's mode (0600) lets in. On TCP: whoever has the token,
 * and only under a loopback name, so that a web page that has its own name point at 127.0.0.1 gets nothing.
 */
import { randomBytes, timingSafeEqual } from "node:crypto";
import type { IncomingMessage } from "node:http";

export function newToken(): string {
  return randomBytes(24).toString("base64url");
}

/** What is wrong with a request; null when it may pass. `token` null: the socket's mode has decided. */
export function refusal(request: IncomingMessage, token: string | null): "host" | "token" | null {
  if (token === null) return null;
  if (request.method !== "CONNECT" && !isLoopbackName(request.headers.host ?? "")) return "host";
  const given =
    bearer(request.headers.authorization) ??
    bearer(request.headers["proxy-authorization"]) ??
    queryToken(request.url ?? "");
  return given !== null && same(given, token) ? null : "token";
}

function isLoopbackName(host: string): boolean {
  return /^(?:localhost|127(?:\.[0-9]+){3}|\[::1\])(?::[0-9]+)?$/i.test(host);
}

function bearer(header: string | undefined): string | null {
  return /^Bearer (\S+)$/i.exec(header ?? "")?.[1] ?? null;
}

/** A browser cannot set a header on its first request, nor on an event stream. */
function queryToken(url: string): string | null {
  const query = url.indexOf("?");
  return query < 0 ? null : new URLSearchParams(url.slice(query)).get("token");
}

function same(a: string, b: string): boolean {
  const x = Buffer.from(a);
  const y = Buffer.from(b);
  return x.length === y.length && timingSafeEqual(x, y);
}
