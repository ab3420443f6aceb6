/**
 * Who may put a cable into a network by WebSocket.
 *
 * Any web page can have a visitor's browser open a WebSocket to that visitor's own machine, and the browser asks nobody
 * (there is no same-origin policy for it); by DNS rebinding even under a name that leads there. But it says truly which
 * page that is (`Origin`, RFC 6455 section 10.2). So a request with an origin is a browser's, and its page must be listed,
 * wherever it comes from. What is no browser can say any origin or none: against that there is a token, which everybody
 * has to show when there is one.
 */
import type { IncomingMessage } from "node:http";
import { showsToken } from "../host/token.ts";

export interface WsAccess {
  /** Web pages that may, as `normalOrigin` writes them; `*` is all of them. */
  readonly origins: readonly string[];
  /** What clients must show; null for nothing. */
  readonly token: string | null;
}

/** Clients that are no browser, without a token. */
export const NO_BROWSERS: WsAccess = { origins: [], token: null };

/** An answer in place of a WebSocket. */
export interface WsRefusal {
  readonly status: number;
  /** What would be right. */
  readonly line: string;
}

/** Null when the request may have its WebSocket. */
export function wsRefusal(request: IncomingMessage, path: string, access: WsAccess): WsRefusal | null {
  if (pathOf(request.url) !== path) return { status: 404, line: `expected the path ${path}` };
  const { origin } = request.headers;
  if (origin !== undefined && !isListed(origin, access.origins))
    return { status: 403, line: "expected an origin that is listed: tslirp serve --ws-origin ORIGIN" };
  if (access.token !== null && !showsToken(request, access.token))
    return { status: 401, line: "expected the token: ?token=TOKEN, or Authorization: Bearer TOKEN" };
  return null;
}

export function pathOf(url = "/"): string {
  return url.split("?")[0]!;
}

/** `https://example.org`, `https://example.org:8443`, `null` (a file's page) and `*` as they are compared; null for what is none of these. */
export function normalOrigin(text: string): string | null {
  if (text === "*" || text === "null") return text;
  if (!/^[a-z][a-z0-9+.-]*:\/\/[^/?#\s]+\/?$/i.test(text) || !URL.canParse(text)) return null;
  const { protocol, host, username, password } = new URL(text);
  return username + password === "" ? `${protocol}//${host}` : null;
}

function isListed(origin: string, origins: readonly string[]): boolean {
  if (origins.includes("*")) return true;
  const normal = normalOrigin(origin);
  return normal !== null && normal !== "*" && origins.includes(normal);
}
