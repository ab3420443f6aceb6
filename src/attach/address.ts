/**
 * The addresses at which guests attach, as users write them: `unix:PATH`, `tcp:HOST:PORT`, `udp:HOST:PORT`,
 * `ws://HOST:PORT[/PATH]` (IPv6 in brackets), `vhost-user:PATH`.
 */

import { isIPv6 } from "node:net";
import { endpointText } from "../core/address.ts";
import { UNIX_PATH_MAX } from "../host/unix-path.ts";

export type StreamAddress =
  | { readonly kind: "unix"; readonly path: string }
  | { readonly kind: "tcp"; readonly host: string; readonly port: number };
export interface DgramAddress {
  readonly kind: "udp";
  readonly host: string;
  readonly port: number;
}
export interface WsAddress {
  readonly kind: "ws";
  readonly host: string;
  readonly port: number;
  /** Begins with a slash. */
  readonly path: string;
}
/** The UNIX socket on which a vhost-user back-end listens. */
export interface VhostUserAddress {
  readonly kind: "vhost-user";
  readonly path: string;
}
export type AttachAddress = StreamAddress | DgramAddress | WsAddress | VhostUserAddress;

const EXAMPLES = "unix:PATH, tcp:HOST:PORT, udp:HOST:PORT, ws://HOST:PORT or vhost-user:PATH";

/** Throws an `Error` of one line that says what would be right. Port 0 means any free port. */
export function parseAttachAddress(text: string): AttachAddress {
  const colon = text.indexOf(":");
  const kind = text.slice(0, Math.max(colon, 0));
  const rest = text.slice(colon + 1);
  if (kind === "unix" || kind === "vhost-user") return { kind, path: unixPath(rest, kind) };
  if (kind === "tcp" || kind === "udp") return { kind, ...hostPort(rest, `${kind}:`) };
  if (kind === "ws" && rest.startsWith("//")) return webSocket(rest.slice(2));
  if (kind === "wss") throw new Error("expected ws://127.0.0.1:PORT behind a reverse proxy, which does TLS");
  throw new Error(`expected ${EXAMPLES}`);
}

export function attachAddressText(address: AttachAddress): string {
  if (address.kind === "unix" || address.kind === "vhost-user") return `${address.kind}:${address.path}`;
  if (address.kind === "ws") return `ws://${endpointText(address)}${address.path}`;
  return `${address.kind}:${endpointText(address)}`;
}

function unixPath(path: string, kind: string): string {
  if (path === "") throw new Error(`expected ${kind}:PATH, like ${kind}:/run/user/1000/vm.sock`);
  if (path.includes("\0")) throw new Error("expected a path without NUL");
  const bytes = Buffer.byteLength(path);
  if (bytes > UNIX_PATH_MAX) {
    throw new Error(`expected at most ${UNIX_PATH_MAX} bytes in a UNIX socket's path, not ${bytes}`);
  }
  return path;
}

function webSocket(rest: string): WsAddress {
  const slash = rest.indexOf("/");
  const path = slash < 0 ? "/" : rest.slice(slash);
  if (!/^[A-Za-z0-9._~!$&'()*+,;=:@%/-]*$/.test(path)) throw new Error("expected a path like /relay, without a query");
  return { kind: "ws", ...hostPort(slash < 0 ? rest : rest.slice(0, slash), "ws://"), path };
}

/** `scheme` is the text in front of the host. */
function hostPort(rest: string, scheme: string): { host: string; port: number } {
  const expected = `expected ${scheme}HOST:PORT, like ${scheme}127.0.0.1:9000 or ${scheme}[::1]:9000`;
  const match = /^(?:\[([^\]]*)\]|([^:[\]]*)):([^:]*)$/.exec(rest);
  if (match === null) throw new Error(expected);
  const [, bracketed, plain, portText] = match;
  const host = bracketed ?? plain ?? "";
  if (bracketed !== undefined ? !isIPv6(bracketed) : !/^[A-Za-z0-9_.-]+$/.test(host)) {
    throw new Error(`${expected}: a name, an IPv4 address, or an IPv6 address in brackets`);
  }
  const port = Number(portText);
  if (!/^[0-9]{1,5}$/.test(portText ?? "") || port > 65_535) {
    throw new Error(`${expected}, with a port from 0 to 65535`);
  }
  return { host, port };
}
