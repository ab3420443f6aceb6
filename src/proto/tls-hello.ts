/**
 * The server name in a TLS ClientHello (RFC 8446 section 4.1.2, RFC 6066 section 3). The hello is a handshake message
 * that may be cut into records anywhere (RFC 8446 section 5.1), and those into segments. A form that servers could read
 * in more than one way is a flaw. Of Encrypted Client Hello, real or GREASE, only the extension can be seen.
 *
 * Servers accept more than clients ever send. Go's crypto/tls skips an alert record in front of the hello, and reads
 * records of many versions; Java's of any. OpenSSL skips alerts, too, and reads the hello of SSL 2. So bytes that begin
 * like a record of any of the five types are TLS here, and a flaw unless they are a plain hello.
 */
import { get16 } from "../wire/bytes.ts";
import { flawed, hostName, type ShownName } from "./shown-name.ts";

/** change_cipher_spec, alert, handshake, application_data, heartbeat: the types of records (RFC 8446 appendix B.1, RFC 6520). */
const FIRST_TYPE = 20;
const LAST_TYPE = 24;
const HANDSHAKE = 22;
/** A hello in SSL 2's form (RFC 5246 appendix E.2) has a two-byte length with the top bit set, and the message type 1. */
const SSL2_LENGTH = 0x80;
const SSL2_CLIENT_HELLO = 1;
/** Length, type, version, and the lengths of ciphers, session and challenge. */
const SSL2_HEADER = 11;
const CLIENT_HELLO = 1;
const RECORD_HEADER = 5;
const MESSAGE_HEADER = 4;
const MOST_RECORD = 16_384;
/** Bytes. Hellos with post-quantum keys have about two thousand. */
const MOST_HELLO = 16_384;
const VERSION_AND_RANDOM = 34;
const SERVER_NAME = 0;
/** early_data (RFC 8446 section 4.2.10). */
const EARLY_DATA = 42;
const HOST_NAME = 0;
/** encrypted_client_hello (draft-ietf-tls-esni section 5), and its predecessor of the drafts, encrypted_server_name. */
const ECH = 0xfe0d;
const ESNI = 0xffce;

/** A whole hello, or a flaw. */
export interface ShownHello extends ShownName {
  /** Bytes of the hello's records. */
  readonly size: number;
  /** Whether data may follow before the server has answered. */
  readonly early: boolean;
}

/** "other" when no server takes the bytes for TLS. */
export function readTlsHello(buf: Uint8Array, at: number, len: number): "more" | "other" | ShownHello {
  if (len === 0) return "more";
  const type = buf[at]!;
  if (type >= SSL2_LENGTH) return readSsl2(buf, at, len);
  if (type < FIRST_TYPE || type > LAST_TYPE) return "other";
  if (len === 1) return "more";
  if (type !== HANDSHAKE) return broken("another record before its hello");
  if (buf[at + 1] !== 3) return broken("a record of another version");
  const pieces: Uint8Array[] = [];
  let have = 0;
  let want = MESSAGE_HEADER;
  for (let record = at, end = at + len; ; ) {
    if (end - record < RECORD_HEADER) return "more";
    const size = get16(buf, record + 3);
    if (buf[record] !== HANDSHAKE || buf[record + 1] !== 3) return broken("another record within its hello");
    if (size === 0 || size > MOST_RECORD) return broken(`a record of ${size} bytes`);
    const from = record + RECORD_HEADER;
    const until = Math.min(from + size, end);
    pieces.push(buf.subarray(from, until));
    const before = have;
    have += until - from;
    if (want === MESSAGE_HEADER && have >= want) {
      const head = joined(pieces);
      if (head[0] !== CLIENT_HELLO) return broken("another message than a hello");
      want = MESSAGE_HEADER + (head[1]! << 16) + get16(head, 2);
      if (want > MOST_HELLO) return broken("too long a hello");
    }
    // Bytes behind the hello in its record would be the next message, which no client sends there.
    if (have >= MESSAGE_HEADER && before + size > want) return broken("more than a hello in its records");
    if (have < want && until < from + size) return "more";
    record = from + size;
    if (have === want) return readHello(joined(pieces).subarray(MESSAGE_HEADER), record - at);
  }
}

/**
 * A hello of SSL 2 has no place for a name, and a server that speaks TLS answers to it all the same. Other protocols may
 * begin alike: the lengths in it have to add up, as they have to for OpenSSL.
 */
function readSsl2(buf: Uint8Array, at: number, len: number): "more" | "other" | ShownHello {
  if (len < 3) return "more";
  if (buf[at + 2] !== SSL2_CLIENT_HELLO) return "other";
  if (len < SSL2_HEADER) return "more";
  const size = get16(buf, at) & 0x7fff;
  const parts = get16(buf, at + 5) + get16(buf, at + 7) + get16(buf, at + 9);
  return size === SSL2_HEADER - 2 + parts ? broken("a hello in the form of SSL 2") : "other";
}

/** Reads the body of a whole hello. */
function readHello(body: Uint8Array, records: number): ShownHello {
  let at = VERSION_AND_RANDOM;
  // The session ID and the compression methods have a length of one byte, cipher suites and extensions of two.
  for (const [size, what] of [
    [1, "session"],
    [2, "ciphers"],
    [1, "compression"],
  ] as const) {
    if (at + size > body.length) return broken(`no ${what}`);
    at += size + (size === 1 ? body[at]! : get16(body, at));
  }
  let name: string | null = null;
  let named = false;
  let encrypted = false;
  let early = false;
  if (at !== body.length) {
    if (at + 2 > body.length || at + 2 + get16(body, at) !== body.length) return broken("extensions of another length");
    for (at += 2; at < body.length; ) {
      if (at + 4 > body.length) return broken("a cut extension");
      const type = get16(body, at);
      const from = at + 4;
      at = from + get16(body, at + 2);
      if (at > body.length) return broken("a cut extension");
      if (type === ECH || type === ESNI) encrypted = true;
      if (type === EARLY_DATA) early = true;
      if (type !== SERVER_NAME) continue;
      if (named) return broken("two server names");
      named = true;
      name = readServerName(body.subarray(from, at));
      if (name === null) return broken("a server name that is none");
    }
  }
  return { by: "TLS", name, port: null, encrypted, flaw: null, size: records, early };
}

/**
 * The one host name in the extension's list. Other types of names have never existed, and a second name would be
 * ambiguous.
 */
function readServerName(extension: Uint8Array): string | null {
  const { length } = extension;
  if (length < 5 || get16(extension, 0) !== length - 2 || extension[2] !== HOST_NAME) return null;
  if (get16(extension, 3) !== length - 5) return null;
  return hostName(String.fromCharCode(...extension.subarray(5, Math.min(length, 5 + 255))));
}

function broken(flaw: string): ShownHello {
  return { ...flawed("TLS", flaw), size: 0, early: false };
}

function joined(pieces: readonly Uint8Array[]): Uint8Array {
  if (pieces.length === 1) return pieces[0]!;
  const whole = new Uint8Array(pieces.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const piece of pieces) {
    whole.set(piece, at);
    at += piece.length;
  }
  return whole;
}
