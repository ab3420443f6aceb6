/** A secret that an HTTP client shows: in a header, or in the address where it cannot set a header. */
import { randomBytes, timingSafeEqual } from "node:crypto";
import type { IncomingMessage } from "node:http";

export function newToken(): string {
  return randomBytes(24).toString("base64url");
}

/**
 * Whether the request shows `token`. Browsers cannot set headers for a page, a stream or a WebSocket: they use
 * `?token=`.
 */
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

/** Takes the same time wherever the texts differ. */
function same(a: string, b: string): boolean {
  const x = Buffer.from(a);
  const y = Buffer.from(b);
  return x.length === y.length && timingSafeEqual(x, y);
}
