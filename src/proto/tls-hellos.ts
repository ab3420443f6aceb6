/**
 * All hellos of a TLS connection. A server that wants another key asks for a second hello (HelloRetryRequest, RFC 8446
 * section 4.1.4), which has to have the first one's name. OpenSSL, and what is built on it, accepts another name, and
 * serves that.
 *
 * We do not read the server's side. So the records behind a hello are read until one comes that no second hello can
 * follow: another handshake message, or data. change_cipher_spec and alerts may stand in front of a second hello. So
 * may data if the first hello offered some (early_data), because a server that asks for another hello skips them. A
 * connection with such an offer is read for as long as it lives.
 */
import { get16 } from "../wire/bytes.ts";
import { MessageFeed } from "./message-feed.ts";
import { flawed, type ShownName } from "./shown-name.ts";
import { readTlsHello } from "./tls-hello.ts";

const RECORD_HEADER = 5;
const FIRST_TYPE = 20;
const LAST_TYPE = 24;
const HANDSHAKE = 22;
const DATA = 23;
const CLIENT_HELLO = 1;
/** How often held bytes are read anew: a guest that sends single bytes would otherwise have them all read for each. */
const MOST_LOOKS = 256;

export class TlsHellos extends MessageFeed {
  readonly #look: (shown: ShownName) => boolean;
  #state: "hello" | "behind" | "passed" = "hello";
  /** Bytes left of a record that passes. */
  #left = 0;
  #early = false;
  /** How often the hello has been read while it was incomplete. */
  #looks = 0;

  /** `look` is shown each hello, and returns whether it may go on. */
  constructor(look: (shown: ShownName) => boolean) {
    super();
    this.#look = look;
  }

  /** Whether no further hello can come: the rest of the connection passes unread. */
  get over(): boolean {
    return this.#state === "passed";
  }

  protected step(buf: Uint8Array, at: number, end: number): number {
    if (this.#state === "passed") return end - at;
    if (this.#left > 0) {
      const part = Math.min(this.#left, end - at);
      this.#left -= part;
      return part;
    }
    return this.#state === "hello" ? this.#hello(buf, at, end) : this.#behind(buf, at, end);
  }

  #hello(buf: Uint8Array, at: number, end: number): number {
    const hello = readTlsHello(buf, at, end - at);
    if (hello === "more") return ++this.#looks < MOST_LOOKS ? 0 : this.#broken("a hello in too many pieces");
    if (hello === "other") return this.#broken("another protocol than its hello's");
    if (!this.#look(hello) || hello.flaw !== null) return -1;
    this.#looks = 0;
    this.#early ||= hello.early;
    this.#state = "behind";
    return hello.size;
  }

  /** A record behind a hello. */
  #behind(buf: Uint8Array, at: number, end: number): number {
    const type = buf[at]!;
    if (type < FIRST_TYPE || type > LAST_TYPE || (type === DATA && !this.#early)) return this.#pass(at, end);
    if (end - at <= RECORD_HEADER) return 0;
    if (buf[at + 1] !== 3) return this.#broken("a record of another version");
    const size = get16(buf, at + 3);
    if (size === 0) return this.#broken("a record of 0 bytes");
    if (type !== HANDSHAKE) {
      this.#left = RECORD_HEADER + size;
      return this.step(buf, at, end);
    }
    if (buf[at + RECORD_HEADER] !== CLIENT_HELLO) return this.#pass(at, end);
    this.#state = "hello";
    return this.#hello(buf, at, end);
  }

  #pass(at: number, end: number): number {
    this.#state = "passed";
    return end - at;
  }

  #broken(flaw: string): number {
    this.#look(flawed("TLS", flaw));
    return -1;
  }
}
