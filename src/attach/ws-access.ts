/**
 * Who may attach a cable to a network by WebSocket.
 *
 * Any web page can have a visitor's browser open a WebSocket to that visitor's own machine, and the browser asks nobody
 * (there is no same-origin policy for it); by DNS rebinding, even under a name that leads there. But the browser tells
 * truthfully which page that is (`Origin`, RFC 6455 section 10.2). So a request with an origin comes from a browser,
 * and its page must be listed, wherever it comes from. Other programs can send any origin or none. Against those there
 * is a token: if it is set, everybody has to show it.
 */
import type { IncomingMessage } from "node:http";
import { showsToken } from "../host/token.ts";

export interface WsAccess {
  /** The web pages that may connect, as `normalOrigin` writes them; `*` stands for all. */
  readonly origins: readonly string[];
  /** The token that clients must show; null for none. */
  readonly token: string | null;
}

/** Clients that are no browsers may connect, without a token. */
export const NO_BROWSERS: WsAccess = { origins: [], token: null };

/** The HTTP answer in place of a WebSocket. */
export interface WsRefusal {
  readonly status: number;
  /** One line that says what would be right. */
  readonly line: string;
}

/** Why a request may not open its WebSocket; null when it may. */
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

/**
 * An origin as it is compared: `https://example.org`, `https://example.org:8443`, `null` (a file's page) or `*`; null
 * for other texts.
 */
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
