/**
 * The head of an HTTP/1.x request (RFC 9112): its server's name, and the length of its body. The name is the Host
 * field's, unless the target is in absolute form, or CONNECT's: the authority there takes precedence (section 3.2.2).
 *
 * Servers are lenient about a request's form in different ways, and where two of them differ a guest can show us one
 * request and have the server read another (request smuggling, section 11.2). So only the plain form is read. Anything
 * that some server may read otherwise is a flaw: a second Host, a folded line, a bare CR or LF, two lengths, a length
 * beside a transfer coding, a body behind a GET.
 */
import { latin1, readHttpLine } from "./http-line.ts";
import { flawed, hostName, type ShownName } from "./shown-name.ts";

const CR = 13;
const LF = 10;
const TOKEN = /^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/;
const REQUEST = /^([!#$%&'*+.^_`|~0-9A-Za-z-]+) ([\x21-\x7e\x80-\xff]+) HTTP\/1\.(\d)$/;
const VALUE = /^[\t\x20-\x7e\x80-\xff]*$/;
/** The beginning of HTTP/2 in the clear (RFC 9113 section 3.4), whose names are compressed. */
const HTTP2 = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/** Protocols that an Upgrade may ask for and whose requests we do not read: HTTP/2 under all its names, SPDY. */
const UNREAD = /(?:^|[\s,])(?:h2|http\/2|spdy)/i;
/** Methods whose body some servers take for the next request. */
const WITHOUT_BODY = /^(?:GET|HEAD|OPTIONS|TRACE|CONNECT)$/i;

export interface HttpRequest extends ShownName {
  readonly method: string;
  /** Bytes of the head, with the empty lines in front of it and the one at its end. */
  readonly size: number;
  /** Bytes of the body; null when it comes in chunks. */
  readonly length: number | null;
  /** Whether the connection may change to another protocol behind the request: CONNECT, Upgrade, HTTP/2. */
  readonly leaves: boolean;
  readonly unread: boolean;
}

export type HttpHead = "more" | "other" | HttpRequest;

/** "other" when no server takes the bytes for an HTTP request, except as `strange-line` describes. */
export function readHttpRequest(buf: Uint8Array, at: number, len: number): HttpHead {
  const line = readHttpLine(buf, at, len);
  if (typeof line === "object") return broken(line.flaw);
  return line === "http" ? readHttpHead(buf, at, len) : line;
}

/** As `readHttpRequest`, where only a request may stand. The time is linear in `len`. */
export function readHttpHead(buf: Uint8Array, at: number, len: number): "more" | HttpRequest {
  const end = at + len;
  let from = at;
  // Servers skip empty lines before a request (section 2.2).
  while (end - from >= 2 && buf[from] === CR && buf[from + 1] === LF) from += 2;
  const lines: string[] = [];
  for (;;) {
    const lf = buf.indexOf(LF, from);
    if (lf < 0 || lf >= end) return "more";
    if (lf === from || buf[lf - 1] !== CR) return broken("a line that ends without CR");
    const line = latin1(buf, from, lf - 1);
    if (line === "" && lines.length > 0) return readLines(lines, buf, at, from, end);
    if (!VALUE.test(line)) return broken("a control character");
    from = lf + 1;
    lines.push(line);
  }
}

/** `from` is the offset of the empty line. */
function readLines(
  [line = "", ...fields]: string[],
  buf: Uint8Array,
  at: number,
  from: number,
  end: number,
): "more" | HttpRequest {
  const size = from + 2 - at;
  const request = REQUEST.exec(line);
  if (request === null) {
    if (line !== "PRI * HTTP/2.0" || fields.length > 0) return broken("a request line of another form");
    const preface = latin1(buf, from - 16, Math.min(end, from + 8));
    if (preface !== HTTP2.slice(0, preface.length)) return broken("a preface of HTTP/2 that is none");
    return preface.length < HTTP2.length
      ? "more"
      : { ...shown(null, null), method: "PRI", size: size + 6, length: 0, leaves: true, unread: true };
  }
  const [, method = "", target = "", minor] = request;
  const found = readFields(fields);
  if (typeof found === "string") return broken(found);
  const name = named(method, target, found.host);
  if (name.flaw !== null) return broken(name.flaw);
  const { lengths, codings } = found;
  if (lengths.length + codings.length > 1) return broken("a body's length said twice");
  const chunked = codings.length > 0;
  if (chunked && (codings[0]!.toLowerCase() !== "chunked" || minor === "0")) return broken("a transfer coding");
  if (lengths.length > 0 && !/^\d{1,15}$/.test(lengths[0]!)) return broken("a Content-Length that is none");
  const length = chunked ? null : Number(lengths[0] ?? 0);
  if (length !== 0 && WITHOUT_BODY.test(method)) return broken(`a ${method.toUpperCase()} with a body`);
  const { upgrade } = found;
  return {
    ...name,
    method,
    size,
    length,
    leaves: upgrade !== null || isConnect(method),
    unread: UNREAD.test(upgrade ?? ""),
  };
}

interface Fields {
  host: string | null;
  /** All values of the Upgrade fields; null for none. */
  upgrade: string | null;
  readonly lengths: string[];
  readonly codings: string[];
}

/** The facts that a request's fields tell, or their flaw. */
function readFields(fields: readonly string[]): Fields | string {
  const found: Fields = { host: null, upgrade: null, lengths: [], codings: [] };
  for (const field of fields) {
    const colon = field.indexOf(":");
    if (colon < 0 || !TOKEN.test(field.slice(0, colon))) return "a field of another form";
    const value = field.slice(colon + 1).replace(/^[ \t]+|[ \t]+$/g, "");
    switch (field.slice(0, colon).toLowerCase()) {
      case "host":
        if (found.host !== null) return "two Host fields";
        found.host = value;
        break;
      case "upgrade":
        found.upgrade = `${found.upgrade ?? ""},${value}`;
        break;
      case "content-length":
        found.lengths.push(value);
        break;
      case "transfer-encoding":
        found.codings.push(value);
        break;
    }
  }
  return found;
}

function named(method: string, target: string, host: string | null): ShownName {
  const fromHost = host === null || host === "" ? null : splitAuthority(host);
  if (fromHost === "broken") return flawed("HTTP", "a Host that is none");
  let authority: string | undefined = isConnect(method) ? target : undefined;
  const absolute = /^([a-z][a-z0-9+.-]*):\/\/([^/?#]*)/i.exec(target);
  if (authority === undefined) authority = absolute?.[2];
  if (authority === undefined)
    // Some servers read a target that is neither a path nor "*" as a URL all the same.
    return target.startsWith("/") || target === "*"
      ? shown(fromHost?.name ?? null, null)
      : flawed("HTTP", "a target that is none");
  const fromTarget = splitAuthority(authority);
  if (fromTarget === "broken") return flawed("HTTP", "a target that is none");
  if (fromHost !== null && fromHost.name !== fromTarget.name) return flawed("HTTP", "a target and a Host that differ");
  const port = fromTarget.port ?? (absolute?.[1]?.toLowerCase() === "https" ? 443 : 80);
  return shown(fromTarget.name, port);
}

function isConnect(method: string): boolean {
  return method.toUpperCase() === "CONNECT";
}

function splitAuthority(text: string): { name: string; port: number | null } | "broken" {
  const parts = /^(\[[0-9a-f:.]+\]|[^:[\]]*)(?::(\d{0,5}))?$/i.exec(text);
  if (parts === null) return "broken";
  const [, host = "", portText = ""] = parts;
  const name = host.startsWith("[") ? host.toLowerCase() : hostName(host);
  const port = portText === "" ? null : Number(portText);
  return name === null || (port !== null && port > 65_535) ? "broken" : { name, port };
}

function shown(name: string | null, port: number | null): ShownName {
  return { by: "HTTP", name, port, encrypted: false, flaw: null };
}

function broken(flaw: string): HttpRequest {
  const none = { method: "", size: 0, length: 0, leaves: false, unread: false };
  return { by: "HTTP", name: null, port: null, encrypted: false, flaw, ...none };
}
