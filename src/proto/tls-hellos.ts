/**
 * All hellos of a TLS connection. A server that wants another key asks for a second one (HelloRetryRequest, RFC 8446 section
 * 4.1.4), which has to have the first one's name. OpenSSL, and what is built on it, takes another all the same, and serves that.
 *
 * We do not see what the server has said. So what follows a hello is looked at, record by record, until something comes that
 * no second hello can follow: another message of the handshake, or data. change_cipher_spec and alerts stand in front of a
 * second hello as they like; data does if the first hello has offered some (early_data), since a server that asks for
 * another hello passes over it. A connection with such an offer is looked at for as long as it lives.
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
/** A guest that sends byte by byte would have all that is held read anew for each. */
const MOST_LOOKS = 256;

export class TlsHellos extends MessageFeed {
  readonly #look: (shown: ShownName) => boolean;
  #state: "hello" | "behind" | "passed" = "hello";
  /** Bytes of a record that pass. */
  #left = 0;
  #early = false;
  /** How often the hello was not whole yet. */
  #looks = 0;

  /** `look` is shown each hello and says whether it may go on. */
  constructor(look: (shown: ShownName) => boolean) {
    super();
    this.#look = look;
  }

  /** Whether no further hello can come: the rest of the connection passes. */
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
