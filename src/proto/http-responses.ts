/**
 * Follows the server's side of an HTTP/1.x connection to know one thing: whether every request has its whole response,
 * so that a message of ours may follow (RFC 9112 section 6.3).
 *
 * Only heads are read, line by line, and of each line only as much as tells a length; bodies are counted. In cases that
 * cannot be told for certain (a response that ends with the connection, another protocol, a response that nobody asked
 * for, a form that clients may read in different ways) the rest of the connection is "unsure". Lines that come in
 * pieces are kept, `MOST_LINE` bytes at most.
 */
import { latin1 } from "./http-line.ts";

const CR = 13;
const LF = 10;
/** Bytes of a line that are kept: enough for the status and for each field that counts. */
const MOST_LINE = 256;
/** How many requests may wait for their responses. */
const MOST_ASKED = 64;
const STATUS = /^HTTP\/1\.[01] (\d{3})(?: |$)/;
const LENGTH = /^content-length:[\t ]*(\d{1,15})[\t ]*$/i;
const CHUNKED = /^transfer-encoding:[\t ]*chunked[\t ]*$/i;
const SIZE = /^([0-9a-f]{1,12})(?:[\t ]*;|[\t ]*$)/i;

type State = "status" | "fields" | "body" | "size" | "chunk" | "chunk-end" | "trailer" | "unsure";

export class HttpResponses {
  #state: State = "status";
  /** For each request that waits, whether its response never has a body (HEAD); the oldest first. */
  readonly #asked: boolean[] = [];
  /** The beginning of a line that is not complete, and whether its last byte is a CR. */
  #line = "";
  #endsInCr = false;
  #status = 0;
  #length: number | null = null;
  #chunked = false;
  /** Bytes left of the body or chunk. */
  #left = 0;

  /** Whether every request has its response. */
  get idle(): boolean {
    return this.#state === "status" && this.#line === "" && this.#asked.length === 0;
  }

  /** A request goes to the server. */
  request(method: string): void {
    // After CONNECT and HTTP/2's preface another protocol follows, and some servers ignore a method's case.
    const odd = method === "CONNECT" || method === "PRI" || method !== method.toUpperCase();
    if (this.#state === "unsure") return;
    if (odd || this.#asked.length >= MOST_ASKED) this.#unsure();
    else this.#asked.push(method === "HEAD");
  }

  /** How many of the server's next bytes are only counted, or not even that, so that `skip` may be told of them. */
  get unread(): number {
    if (this.#state === "unsure") return Number.POSITIVE_INFINITY;
    return this.#state === "body" || this.#state === "chunk" ? this.#left : 0;
  }

  /** The same as `feed`, of bytes that are unread. */
  skip(len: number): void {
    if (this.#state === "unsure" || len === 0) return;
    this.#left -= len;
    if (this.#left === 0) this.#state = this.#state === "body" ? "status" : "chunk-end";
  }

  /** Bytes from the server. */
  feed(buf: Uint8Array, at: number, len: number): void {
    const end = at + len;
    let next = at;
    while (next < end && this.#state !== "unsure") {
      if (this.#state === "body" || this.#state === "chunk") {
        const part = Math.min(this.#left, end - next);
        this.skip(part);
        next += part;
      } else next = this.#read(buf, next, end);
    }
  }

  /** Reads a line, or its beginning. */
  #read(buf: Uint8Array, at: number, end: number): number {
    const found = buf.indexOf(LF, at);
    const lf = found < 0 || found >= end ? -1 : found;
    const piece = latin1(buf, at, Math.min(lf < 0 ? end : lf, at + MOST_LINE));
    const line = (this.#line + piece).slice(0, MOST_LINE);
    if (lf < 0) {
      this.#line = line;
      this.#endsInCr = buf[end - 1] === CR;
      return end;
    }
    const bare = lf === at ? this.#line === "" || !this.#endsInCr : buf[lf - 1] !== CR;
    this.#line = "";
    if (bare) this.#unsure();
    else this.#take(line.endsWith("\r") ? line.slice(0, -1) : line);
    return lf + 1;
  }

  #take(line: string): void {
    switch (this.#state) {
      case "status": {
        const status = STATUS.exec(line);
        if (status === null || this.#asked.length === 0) return this.#unsure();
        this.#status = Number(status[1]);
        this.#length = null;
        this.#chunked = false;
        this.#state = "fields";
        return;
      }
      case "fields":
        return line === "" ? this.#headEnds() : this.#field(line);
      case "size": {
        const size = SIZE.exec(line);
        if (size === null) return this.#unsure();
        this.#left = Number.parseInt(size[1]!, 16);
        this.#state = this.#left === 0 ? "trailer" : "chunk";
        return;
      }
      case "chunk-end":
        if (line !== "") return this.#unsure();
        this.#state = "size";
        return;
      case "trailer":
        if (line === "") this.#state = "status";
        return;
      default:
        return this.#unsure();
    }
  }

  #field(line: string): void {
    const said = line.length < MOST_LINE ? LENGTH.exec(line) : null;
    if (said !== null && this.#length === null) this.#length = Number(said[1]);
    else if (line.length < MOST_LINE && CHUNKED.test(line) && !this.#chunked) this.#chunked = true;
    // The length or coding is given twice, differently or in a long line; or the line is folded.
    else if (/^(?:content-length|transfer-encoding|[\t ])/i.test(line)) this.#unsure();
  }

  #headEnds(): void {
    // An interim response: the final one follows (RFC 9110 section 15.2).
    if (this.#status >= 100 && this.#status < 200) {
      if (this.#status === 101) return this.#unsure();
      this.#state = "status";
      return;
    }
    const bare = this.#asked.shift() === true || this.#status === 204 || this.#status === 304;
    if (bare) this.#state = "status";
    else if (this.#chunked) this.#state = this.#length === null ? "size" : "unsure";
    else if (this.#length === null) this.#unsure();
    else {
      this.#left = this.#length;
      this.#state = this.#left === 0 ? "status" : "body";
    }
  }

  #unsure(): void {
    this.#state = "unsure";
    this.#line = "";
    this.#asked.length = 0;
  }
}
