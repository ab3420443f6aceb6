/**
 * The first line of bytes that are neither TLS nor HTTP for most servers. Java's com.sun.net.httpserver takes any text
 * before the first blank for a method, with line feeds and bytes of any kind, and any text behind the target for a
 * version; it serves the request. Other protocols in which the client speaks first begin like that, too. So such bytes
 * pass, but only once it is clear that their line is no request line: the byte that would end one is held back, and
 * without it that server has no request.
 *
 * A request line, for that server: a word, a blank, a target with a path, a blank, anything, CR LF. Watching ends at
 * the first byte that rules such a line out. Until then each byte costs a comparison.
 */
import { flawed, type ShownName } from "./shown-name.ts";

const LF = 10;
const CR = 13;
const SP = 32;
const SLASH = 47;
const COLON = 58;
/** Characters that no URI has that Java reads: control characters, blanks, and these. */
const NO_URI = new Set([...'"<>\\^`{|}'].map((char) => char.charCodeAt(0)));

type Part = "method" | "target" | "scheme" | "path" | "rest" | "passed";

export class StrangeLine {
  readonly #look: (shown: ShownName) => boolean;
  #part: Part = "method";
  /** Whether the previous byte was a CR. */
  #cr = false;
  #begun = false;
  #colon = false;

  /** `look` is called if the line was a request's. */
  constructor(look: (shown: ShownName) => boolean) {
    this.#look = look;
  }

  /** Whether the rest of the connection passes unread. */
  get over(): boolean {
    return this.#part === "passed";
  }

  /** How many of these bytes may go to the server: all; -1 when the connection has been refused. */
  feed(buf: Uint8Array, at: number, len: number): number {
    for (let i = at, end = at + len; i < end && this.#part !== "passed"; i++) {
      const byte = buf[i]!;
      if (this.#cr && byte === LF && this.#begun) {
        if (this.#part === "rest") {
          this.#look(flawed("HTTP", "a request line of another form"));
          return -1;
        }
        this.#part = "passed";
      } else this.#next(byte);
      this.#cr = byte === CR;
    }
    return len;
  }

  #next(byte: number): void {
    // Empty lines in front are skipped.
    this.#begun ||= byte !== CR && byte !== LF;
    switch (this.#part) {
      case "method":
        if (byte === SP && this.#begun) this.#part = "target";
        return;
      case "target":
        // A path, or a scheme with its path.
        if (byte === SLASH) this.#part = "path";
        else this.#part = isLetter(byte) ? "scheme" : "passed";
        return;
      case "scheme":
        if (byte === SLASH && this.#colon) this.#part = "path";
        else if (this.#colon || !(isLetter(byte) || isSchemeSign(byte) || byte === COLON)) this.#part = "passed";
        this.#colon = byte === COLON;
        return;
      case "path":
        if (byte === SP) this.#part = "rest";
        else if (byte !== CR && !isOfUri(byte)) this.#part = "passed";
        return;
    }
  }
}

function isLetter(byte: number): boolean {
  return (byte >= 65 && byte <= 90) || (byte >= 97 && byte <= 122);
}

/** Whether a byte is a digit, "+", "-" or ".". */
function isSchemeSign(byte: number): boolean {
  return (byte >= 48 && byte <= 57) || byte === 43 || byte === 45 || byte === 46;
}

function isOfUri(byte: number): boolean {
  return byte > SP && byte !== 127 && !(byte >= 128 && byte <= 160) && !NO_URI.has(byte);
}
