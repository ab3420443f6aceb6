/** A secret that a client of an HTTP server shows: a header, or the address where there can be no header. */
import { randomBytes, timingSafeEqual } from "node:crypto";
import type { IncomingMessage } from "node:http";

export function newToken(): string {
  return randomBytes(24).toString("base64url");
}

/** Whether the request shows `token`. A browser cannot set a header on its first request, nor on a stream or a WebSocket: it says `?token=`. */
export function showsToken(request: IncomingMessage, token: string): boolean {
  const { authorization, "proxy-authorization": proxy } = request.headers;
  const given = bearer(authorization) ?? bearer(proxy) ?? queryToken(request.url ?? "");
  return given !== null && same(given, token);
}

function bearer(header: string | undefined): string | null {
  return /^Bearer (\S+)$/i.exec(header ?? "")?.[1] ?? null;
}

function queryToken(url: string): string | null {
  const query = url.indexOf("?");
  return query < 0 ? null : new URLSearchParams(url.slice(query)).get("token");
}

/** In the same time wherever they differ. */
function same(a: string, b: string): boolean {
  const x = Buffer.from(a);
  const y = Buffer.from(b);
  return x.length === y.length && timingSafeEqual(x, y);
}
