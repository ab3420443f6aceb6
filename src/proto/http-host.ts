/**
 * The name in an HTTP/1.x request (RFC 9112): the Host field, and the authority of a target in absolute form or of
 * CONNECT, which counts before it (section 3.2.2). Servers are lenient in different ways about a request's form; what one
 * of them may read otherwise than we do (a second Host, a folded line, a space before the colon, a bare CR) is a flaw.
 *
 * A text is taken for HTTP by its first line, so that other protocols in which the client speaks first go their way.
 */
import { type FirstBytesReading, flawed, hostName, type ShownName } from "./shown-name.ts";

const CR = 13;
const LF = 10;
const SP = 32;
const MOST_METHOD = 32;
const TOKEN = /^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/;
const REQUEST = /^([!#$%&'*+.^_`|~0-9A-Za-z-]+) ([\x21-\x7e\x80-\xff]+) HTTP\/(\d)\.\d$/;
/** HTTP/0.9 has nothing but this line, and nowhere to put a name. */
const SIMPLE = /^GET [^ ]*$/;

/** "other" when it is no HTTP request. */
export function readHttpHost(buf: Uint8Array, at: number, len: number): FirstBytesReading {
  const end = at + len;
  let start = at;
  // Empty lines before a request are ignored (section 2.2).
  while (start < end && (buf[start] === CR || buf[start] === LF)) start++;
  const kind = firstWord(buf, start, end);
  if (kind !== "http") return kind;
  let lf = buf.indexOf(LF, start);
  if (lf < 0 || lf >= end) return "more";
  const line = textOf(buf, start, lf);
  const request = REQUEST.exec(line);
  if (request === null) {
    if (SIMPLE.test(line)) return { by: "HTTP", name: null, port: null, encrypted: false, flaw: null };
    return /HTTP\//i.test(line) ? broken("a request line of another form") : "other";
  }
  // HTTP/2 in the clear begins with a request of its own, and has its names compressed.
  if (request[3] !== "1") return { by: "HTTP", name: null, port: null, encrypted: false, flaw: null };
  let host: string | null = null;
  for (;;) {
    const from = lf + 1;
    lf = buf.indexOf(LF, from);
    if (lf < 0 || lf >= end) return "more";
    const field = textOf(buf, from, lf);
    if (field === "") return named(request[1]!, request[2]!, host);
    const colon = field.indexOf(":");
    if (colon < 0 || !TOKEN.test(field.slice(0, colon))) return broken("a field of another form");
    if (field.includes("\r") || field.includes("\0")) return broken("a field with a control character");
    if (colon !== 4 || field.slice(0, 4).toLowerCase() !== "host") continue;
    if (host !== null) return broken("two Host fields");
    host = field.slice(5).replace(/^[ \t]+|[ \t]+$/g, "");
  }
}

/** Whether the text begins with a word and a blank, as requests do. */
function firstWord(buf: Uint8Array, start: number, end: number): "more" | "other" | "http" {
  for (let i = start; i < end; i++) {
    const byte = buf[i]!;
    // A tab in the blank's place is for the request line's own check.
    if (byte === SP || byte === 9) return i === start ? "other" : "http";
    if (i - start >= MOST_METHOD || !TOKEN.test(String.fromCharCode(byte))) return "other";
  }
  return "more";
}

function named(method: string, target: string, host: string | null): ShownName {
  const fromHost = host === null || host === "" ? null : splitAuthority(host);
  if (fromHost === "broken") return broken("a Host that is none");
  let authority: string | undefined = method.toUpperCase() === "CONNECT" ? target : undefined;
  const absolute = /^([a-z][a-z0-9+.-]*):\/\/([^/?#]*)/i.exec(target);
  if (authority === undefined) authority = absolute?.[2];
  if (authority === undefined)
    // What is neither a path nor "*" some servers read as a URL all the same.
    return target.startsWith("/") || target === "*"
      ? shown(fromHost?.name ?? null, null)
      : broken("a target that is none");
  const fromTarget = splitAuthority(authority);
  if (fromTarget === "broken") return broken("a target that is none");
  if (fromHost !== null && fromHost.name !== fromTarget.name) return broken("a target and a Host that differ");
  const port = fromTarget.port ?? (absolute?.[1]?.toLowerCase() === "https" ? 443 : 80);
  return shown(fromTarget.name, port);
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

function broken(flaw: string): ShownName {
  return flawed("HTTP", flaw);
}

/** A line without the CR before its LF, a character for each byte. */
function textOf(buf: Uint8Array, from: number, lf: number): string {
  const end = lf > from && buf[lf - 1] === CR ? lf - 1 : lf;
  let text = "";
  for (let i = from; i < end; i++) text += String.fromCharCode(buf[i]!);
  return text;
}
