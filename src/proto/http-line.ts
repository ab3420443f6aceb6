/**
 * Whether a connection's first bytes are an HTTP/1.x request line (RFC 9112 section 3) for any common server.
 *
 * Theory of operation. Servers differ in what they tolerate. Python's http.server splits the line at any blank of
 * Latin-1 and skips blanks in front. Java's takes any text before the first blank for a method. nginx, Go and Apache
 * take methods of any length. Perl's and Ruby's serve a line without a version. They have one thing in common: none
 * reads a request before its line has ended. So this reader says "other" as soon as no continuation of the bytes could
 * be a request for one of them, "more" while one could, and then reads the whole line. A line that some server may take
 * for a request is either "http", to be read strictly (`http-request`), or a flaw.
 *
 * Java's com.sun.net.httpserver takes any bytes for a method and a version, line feeds among them. Protocols in which
 * the client speaks first begin like that, and may never end a line, so bytes that are "other" here are watched
 * (`strange-line`).
 */
const TAB = 9;
const LF = 10;
const CR = 13;
const SP = 32;
const DELETE = 127;
/** The beginning of the PROXY protocol's version 2. */
const PROXY2 = [13, 10, 13, 10, 0, 13, 10, 81, 85, 73, 84, 10];
const TOKEN = /^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/;
const LETTERS = /^[A-Za-z]+$/;
/** Characters that no URI has (RFC 3986), and that Java's reader accepts. */
const NO_URI = /["<>\\^`{|}]/;

export type HttpLine = "more" | "other" | "http" | { readonly flaw: string };

/** Looks at `len` bytes at `at`. Time is linear in `len`. */
export function readHttpLine(buf: Uint8Array, at: number, len: number): HttpLine {
  const end = at + len;
  const proxy = readProxy2(buf, at, len);
  if (proxy !== "other") return proxy;
  let start = at;
  while (start < end && (buf[start] === LF || isBlank(buf[start]!))) start++;
  let wordEnd = start;
  for (; wordEnd < end && buf[wordEnd] !== LF && !isBlank(buf[wordEnd]!); wordEnd++)
    if (buf[wordEnd]! < SP || buf[wordEnd]! >= DELETE) return "other";
  const lf = buf.indexOf(LF, wordEnd);
  const whole = lf >= 0 && lf < end;
  const word = latin1(buf, start, wordEnd);
  const rest = latin1(buf, wordEnd, whole ? lf : end);
  // What was "other" in its first pieces is "other" whole: how a guest cuts its bytes changes nothing.
  if (!couldBeRequest(word, rest)) return "other";
  return whole ? readLine(word, rest) : "more";
}

function couldBeRequest(word: string, rest: string): boolean {
  const control = [...rest].some((char) => isControl(char.charCodeAt(0)));
  // Git's own protocol has a path and a NUL behind its first word, which has other signs than letters. Servers that read
  // on over a NUL take it for a method only if it has none, in whatever case.
  if (TOKEN.test(word)) return !control || LETTERS.test(word);
  return !control && !NO_URI.test(words(rest)[0] ?? "");
}

function readLine(word: string, rest: string): HttpLine {
  if (/http\//i.test(word + rest)) return TOKEN.test(word) ? "http" : { flaw: "a request line of another form" };
  if (word === "PROXY") return { flaw: "a PROXY protocol header" };
  const target = words(rest)[0] ?? "";
  const simple = /^(?:get|connect)$/i.test(word)
    ? target !== "" || isConnectToNothing(word, rest)
    : TOKEN.test(word) && /^(?:\/|\*|[a-z][a-z0-9+.-]*:\/\/)/i.test(target);
  return simple ? { flaw: "a request without a version" } : "other";
}

/** Node's parser takes a CONNECT without a target. STOMP's first line is the word alone, and that Node refuses. */
function isConnectToNothing(word: string, rest: string): boolean {
  return /^connect$/i.test(word) && rest.startsWith(" ");
}

function readProxy2(buf: Uint8Array, at: number, len: number): HttpLine {
  const most = Math.min(len, PROXY2.length);
  for (let i = 0; i < most; i++) if (buf[at + i] !== PROXY2[i]) return "other";
  return most < PROXY2.length ? "more" : { flaw: "a PROXY protocol header" };
}

/** Whether Python's `split` takes a byte for a blank within a line; no server takes more bytes for one. */
function isBlank(byte: number): boolean {
  return (byte >= TAB && byte <= CR && byte !== LF) || (byte >= 28 && byte <= SP) || byte === 0x85 || byte === 0xa0;
}

function isControl(byte: number): boolean {
  return (byte < SP || byte === DELETE) && !isBlank(byte);
}

/** The words of a line, split as Python splits them. */
function words(text: string): string[] {
  const spaced = Array.from(text, (char) => (isBlank(char.charCodeAt(0)) ? " " : char)).join("");
  return spaced.split(" ").filter((word) => word !== "");
}

/** One character for each byte. */
export function latin1(buf: Uint8Array, from: number, end: number): string {
  let text = "";
  for (let i = from; i < end; i++) text += String.fromCharCode(buf[i]!);
  return text;
}
