/**
 * All requests of an HTTP/1.x connection, each of which may be for another name. They follow one another, with or
 * without waiting for responses (RFC 9112 section 9.3). A request's head goes on when it is whole and has been allowed;
 * its body goes on as it comes, counted by its length or its chunks (section 6).
 *
 * A request for another protocol (CONNECT, Upgrade) may be declined, and then the next request follows. We do not see
 * the response. So the bytes behind such a request are read like a connection's first bytes: reading ends only at bytes
 * that no server takes for HTTP or TLS.
 *
 * The cost: each head is copied and searched once; a body is a comparison and a subtraction for each write.
 */

import { readFirstBytes } from "./first-bytes.ts";
import { latin1 } from "./http-line.ts";
import { type HttpRequest, readHttpHead } from "./http-request.ts";
import { MessageFeed } from "./message-feed.ts";
import { flawed, type ShownName } from "./shown-name.ts";
import { StrangeLine } from "./strange-line.ts";
import { TlsHellos } from "./tls-hellos.ts";

const CR = 13;
const LF = 10;
/**
 * The most bytes of a chunk's size and the end of its line; nobody uses chunk extensions. Java's com.sun.net.httpserver
 * keeps the size in 32 signed bits, so with more digits it would see the end of the chunks at another place than we.
 */
const MOST_SIZE_LINE = 10;
const SIZE_LINE = /^[0-7]?[0-9a-f]{1,7}$/i;
/** Fields that count only in front of the body (RFC 9110 section 6.5.1). */
const NO_TRAILER = /^(?:host|content-length|transfer-encoding|upgrade|connection)$/i;
const FIELD = /^([!#$%&'*+.^_`|~0-9A-Za-z-]+):[\t\x20-\x7e\x80-\xff]*$/;

type State =
  | "head"
  | "body"
  | "size"
  | "chunk"
  | "chunk-end"
  | "trailer"
  | "other-protocol"
  | "strange"
  | "tls"
  | "passed";

export class HttpRequests extends MessageFeed {
  readonly #look: (shown: ShownName | HttpRequest) => boolean;
  #state: State = "head";
  /** The protocol that may follow the body. */
  #behind: "head" | "other-protocol" = "head";
  /** Readers for the bytes that may follow an Upgrade or CONNECT, made when those come. */
  #hellos: TlsHellos | null = null;
  #line: StrangeLine | null = null;
  /** Bytes left of the body, or of the chunk. */
  #left = 0;
  /** How many waiting bytes have been searched for the end of a head. */
  #searched = 0;

  /** `look` is shown each request, and returns whether it may go on. */
  constructor(look: (shown: ShownName | HttpRequest) => boolean) {
    super();
    this.#look = look;
  }

  /** Whether the rest of the connection is not HTTP, and passes. */
  get over(): boolean {
    return this.#state === "passed";
  }

  protected step(buf: Uint8Array, at: number, end: number): number {
    const taken = this.#read(buf, at, end);
    if (taken > 0) this.#searched = 0;
    return taken;
  }

  #read(buf: Uint8Array, at: number, end: number): number {
    switch (this.#state) {
      case "passed":
        return end - at;
      case "body":
      case "chunk": {
        const part = Math.min(this.#left, end - at);
        this.#left -= part;
        if (this.#left === 0) this.#state = this.#state === "body" ? this.#behind : "chunk-end";
        return part;
      }
      case "chunk-end":
        if (buf[at] !== CR || (end - at > 1 && buf[at + 1] !== LF)) return this.#broken("a chunk that does not end");
        if (end - at < 2) return 0;
        this.#state = "size";
        return 2;
      case "size":
        return this.#size(buf, at, end);
      case "trailer":
        return this.#trailer(buf, at, end);
      case "other-protocol":
        return this.#otherProtocol(buf, at, end);
      case "strange":
        return this.#strange(buf, at, end);
      case "tls":
        return this.#tls(buf, at, end);
      default:
        return this.#head(buf, at, end);
    }
  }

  #head(buf: Uint8Array, at: number, end: number): number {
    // Empty lines between requests.
    if (buf[at] === CR && (end - at < 2 || buf[at + 1] === LF)) return end - at < 2 ? 0 : 2;
    if (!this.#hasEnd(buf, at, end)) return this.#searched < 0 ? -1 : 0;
    const head = readHttpHead(buf, at, end - at);
    if (head === "more") return 0;
    if (!this.#look(head) || head.flaw !== null) return -1;
    this.#left = head.length ?? 0;
    this.#behind = head.leaves ? "other-protocol" : "head";
    this.#state = head.length === null ? "size" : head.length > 0 ? "body" : this.#behind;
    return head.size;
  }

  /** Whether an empty line ends the head. Each byte is searched once, in however many pieces it comes. */
  #hasEnd(buf: Uint8Array, at: number, end: number): boolean {
    for (let from = at + this.#searched; ; ) {
      const lf = buf.indexOf(LF, from);
      if (lf < 0 || lf >= end) break;
      if (lf === at || buf[lf - 1] !== CR) {
        this.#searched = this.#broken("a line that ends without CR");
        return false;
      }
      if (lf - at >= 3 && buf[lf - 2] === LF) return true;
      from = lf + 1;
    }
    this.#searched = end - at;
    return false;
  }

  #size(buf: Uint8Array, at: number, end: number): number {
    const lf = buf.subarray(at, Math.min(end, at + MOST_SIZE_LINE)).indexOf(LF);
    if (lf < 0) return end - at < MOST_SIZE_LINE ? 0 : this.#broken("a chunk's size that is none");
    const text = latin1(buf, at, at + lf - 1);
    if (lf < 2 || buf[at + lf - 1] !== CR || !SIZE_LINE.test(text)) return this.#broken("a chunk's size that is none");
    this.#left = Number.parseInt(text, 16);
    this.#state = this.#left === 0 ? "trailer" : "chunk";
    return lf + 1;
  }

  /** A line of the trailer, behind the last chunk. */
  #trailer(buf: Uint8Array, at: number, end: number): number {
    const lf = buf.indexOf(LF, at + this.#searched);
    if (lf < 0 || lf >= end) {
      this.#searched = end - at;
      return 0;
    }
    const line = latin1(buf, at, lf);
    if (line === "\r") this.#state = this.#behind;
    else {
      const field = line.endsWith("\r") ? FIELD.exec(line.slice(0, -1)) : null;
      if (field === null || NO_TRAILER.test(field[1]!)) return this.#broken("a trailer that is none");
    }
    return lf + 1 - at;
  }

  /** Bytes behind a request for another protocol. */
  #otherProtocol(buf: Uint8Array, at: number, end: number): number {
    const shown = readFirstBytes(buf, at, end - at);
    if (shown === "more") return 0;
    if (shown === "other") {
      this.#state = "strange";
      return this.#strange(buf, at, end);
    }
    if (shown.by === "TLS") {
      this.#state = "tls";
      return this.#tls(buf, at, end);
    }
    this.#state = "head";
    return this.#head(buf, at, end);
  }

  #strange(buf: Uint8Array, at: number, end: number): number {
    this.#line ??= new StrangeLine(this.#look);
    const taken = this.#line.feed(buf, at, end - at);
    if (this.#line.over) this.#state = "passed";
    return taken;
  }

  #tls(buf: Uint8Array, at: number, end: number): number {
    this.#hellos ??= new TlsHellos(this.#look);
    const taken = this.#hellos.feed(buf, at, end - at);
    if (this.#hellos.over) this.#state = "passed";
    return taken;
  }

  #broken(flaw: string): number {
    this.#look(flawed("HTTP", flaw));
    return -1;
  }
}
