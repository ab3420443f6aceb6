/**
 * A read-only TFTP server (RFC 1350, options by RFC 2347 to 2349, windows by RFC 7440): what guests boot from.
 *
 * Theory of operation. A session is a client's port reading one file. Blocks from `base` on are not acknowledged; those
 * below `next` have been sent. `pump` sends up to `base + window` (a window of one is plain TFTP) as far as the file's
 * bytes are at hand, and asks for the next stretch where they are not; the file's answer pumps again. So files may be
 * slow, and nothing waits for them.
 *
 *     RRQ → opening → [OACK →] DATA … ← ACK     the last block is the first that is not full
 *
 * Only an acknowledgement that moves `base` makes anything be sent: one that comes twice does not, or each would double
 * the traffic for good (the Sorcerer's Apprentice, RFC 1123 section 4.2.3.1). What is lost comes again by the timer.
 * In a window a client says by such a repetition that the window's first block is missing; that is believed, but not
 * again within `REPEAT_MS`, which is longer than the repetitions it could itself cause take to come.
 *
 * All packets go out from port 69, as libslirp's do, so a client's port alone is its session's identifier. Packets
 * from a port that has none are answered with ERROR 5 and disturb nobody.
 */
import type { FileRefusal, FileSource, OpenFile } from "../core/files.ts";
import type { Limits } from "../core/limits.ts";
import { Quota } from "../core/quota.ts";
import type { Trace } from "../core/trace.ts";
import {
  netascii,
  TFTP_ACK,
  TFTP_BLOCK,
  TFTP_BLOCK_MIN,
  TFTP_ERR_ACCESS,
  TFTP_ERR_ILLEGAL,
  TFTP_ERR_NOT_FOUND,
  TFTP_ERR_UNDEFINED,
  TFTP_ERR_UNKNOWN_ID,
  TFTP_ERROR,
  TFTP_HEADER,
  TFTP_OACK,
  TFTP_RRQ,
  TFTP_WRQ,
  type TftpRequest,
  tftpError,
  tftpErrorText,
  tftpNumber,
  tftpOack,
  tftpOpcode,
  tftpRequest,
  tftpWriteData,
} from "../wire/tftp.ts";

/** The longest request, in bytes (RFC 2347 section 2). */
const MAX_REQUEST = 512;
/** How many files may be being opened, including those of sessions that have ended meanwhile. */
const MAX_OPENING = 64;
/** How many bytes of a file a session has in memory. */
const STRETCH = 131_072;
/** The largest block that fits an Ethernet frame over IPv4, in bytes. */
const MAX_BLOCK = 1468;
/** The packets of a window fit a TAP's queue many times over. */
const MAX_WINDOW = 16;
/** Retransmission in milliseconds: the first pause unless negotiated, and the longest; and how often. */
const FIRST_TIMEOUT_MS = 1_000;
const LONGEST_TIMEOUT_MS = 8_000;
const MAX_RETRIES = 5;
const REPEAT_MS = 200;

/** A file's transfer that is over. */
export interface TftpTransfer {
  /** As the client wrote it. */
  readonly file: string;
  /** Bytes that the client has acknowledged. */
  readonly bytes: number;
  /** Null when the client has the whole file. */
  readonly error: string | null;
}

/** What the server needs around it. `C` is a client machine to the caller; here it is only told apart from others. */
export interface TftpSurroundings<C> {
  readonly files: FileSource;
  readonly trace: Trace;
  /** A packet from port 69 to `port` of `client`; the bytes are valid during the call only. */
  send(client: C, port: number, bytes: Uint8Array, len: number): void;
  /** The cable that a client counts for. */
  cableOf(client: C): object | null;
  /** All packets outside `receive` and `poll` have been sent. */
  flush(): void;
  now(): number;
  /** `pollAt()` may have become earlier. */
  wake(): void;
  ended(client: C, transfer: TftpTransfer): void;
}

class Session<C> {
  readonly client: C;
  readonly port: number;
  /** The client's cable when the session began: the session counts for it. */
  readonly cable: object | null;
  /** The request as it came, to recognise it when it comes again. */
  readonly raw: Uint8Array;
  readonly request: TftpRequest;
  file: OpenFile | null = null;
  blockSize: number = TFTP_BLOCK;
  window = 1;
  /** The OACK that has been sent and not acknowledged; null for none. */
  oack: Uint8Array | null = null;
  base = 1;
  next = 1;
  /** The number of the last block, which is not full, once it is known. */
  last: number = Number.POSITIVE_INFINITY;
  /**
   * Where blocks begin, by their number modulo its length: twice the file's offset, plus one when a netascii pair is
   * cut in two. Covers `base` to `next`.
   */
  starts: Float64Array = new Float64Array(2);
  /** `held` bytes of the file from `heldAt` on. */
  stretch: Uint8Array | null = null;
  heldAt = 0;
  held = 0;
  reading = false;
  firstTimeout: number = FIRST_TIMEOUT_MS;
  timeout: number = FIRST_TIMEOUT_MS;
  retries = 0;
  deadline: number = Number.POSITIVE_INFINITY;
  repeatedAt: number = Number.NEGATIVE_INFINITY;
  over = false;

  constructor(client: C, port: number, cable: object | null, raw: Uint8Array, request: TftpRequest) {
    this.client = client;
    this.port = port;
    this.cable = cable;
    this.raw = raw;
    this.request = request;
  }

  start(block: number): number {
    return this.starts[block % this.starts.length]!;
  }

  setStart(block: number, position: number): void {
    this.starts[block % this.starts.length] = position;
  }

  /** How many bytes of the file are below block `base`. */
  get acknowledged(): number {
    return this.base > this.last ? this.file!.size : Math.floor(this.start(this.base) / 2);
  }
}

export class TftpServer<C> {
  readonly #env: TftpSurroundings<C>;
  readonly #quota: Quota;
  /** In the order of their last progress, the session that has been stuck longest first. */
  readonly #sessions: Set<Session<C>> = new Set();
  readonly #out: Uint8Array = new Uint8Array(TFTP_HEADER + MAX_BLOCK);
  #opening = 0;

  constructor(limits: Limits, env: TftpSurroundings<C>) {
    this.#quota = new Quota(limits.tftpSessions, limits.tftpSessionsPerGuest);
    this.#env = env;
  }

  get size(): number {
    return this.#sessions.size;
  }

  /** A packet of `len` bytes from `port` of `client`. `maxBlock` bytes in a block still fit one frame to it. */
  receive(client: C, port: number, buf: Uint8Array, at: number, len: number, maxBlock: number, now: number): void {
    const opcode = tftpOpcode(buf, at, len);
    const session = this.#find(client, port);
    if (opcode === TFTP_RRQ || opcode === TFTP_WRQ)
      this.#request(opcode, client, port, session, buf, at, len, maxBlock, now);
    else if (session !== null && opcode === TFTP_ACK) this.#acknowledged(session, tftpNumber(buf, at), now);
    else if (session !== null && opcode === TFTP_ERROR)
      this.#end(session, `the client says error ${tftpNumber(buf, at)}: ${tftpErrorText(buf, at, len)}`);
    else if (session !== null || opcode === TFTP_ERROR || opcode === 0)
      // An error is never answered by an error (RFC 1350 section 7).
      this.#env.trace.drop("tftp-malformed");
    else if (opcode <= TFTP_OACK) this.#refuse(client, port, TFTP_ERR_UNKNOWN_ID, "no such transfer");
    else this.#refuse(client, port, TFTP_ERR_ILLEGAL, "no such operation");
  }

  pollAt(): number {
    let first = Number.POSITIVE_INFINITY;
    for (const { deadline } of this.#sessions) if (deadline < first) first = deadline;
    return first;
  }

  /** Sends packets again whose answer is overdue. */
  poll(now: number): void {
    for (const session of this.#sessions) {
      if (session.deadline > now) continue;
      if (session.retries++ === MAX_RETRIES) {
        this.#fail(session, TFTP_ERR_UNDEFINED, "no acknowledgement came");
        continue;
      }
      session.timeout = Math.min(session.timeout * 2, Math.max(session.firstTimeout, LONGEST_TIMEOUT_MS));
      this.#resend(session, now);
      session.deadline = now + session.timeout;
    }
  }

  close(): void {
    for (const session of this.#sessions) this.#end(session, "the network was closed");
  }

  #find(client: C, port: number): Session<C> | null {
    for (const session of this.#sessions) if (session.port === port && session.client === client) return session;
    return null;
  }

  #request(
    opcode: number,
    client: C,
    port: number,
    before: Session<C> | null,
    buf: Uint8Array,
    at: number,
    len: number,
    maxBlock: number,
    now: number,
  ): void {
    const request = len > MAX_REQUEST ? null : tftpRequest(buf, at, len);
    if (request === null) return this.#env.trace.drop("tftp-malformed");
    const raw = buf.slice(at, at + len);
    if (before !== null) {
      if (before.base === 1 && sameBytes(before.raw, raw)) return this.#resend(before, now);
      // A client that starts again from the same port has given up its first transfer.
      this.#end(before, "the client asked for another file");
    }
    if (opcode === TFTP_WRQ) return this.#refuse(client, port, TFTP_ERR_ACCESS, "this server only reads");
    const { mode } = request;
    if (mode !== "octet" && mode !== "netascii")
      return this.#refuse(client, port, TFTP_ERR_ILLEGAL, "the mode must be octet or netascii");
    const path = safePath(request.name);
    if (path === null) return this.#refuse(client, port, TFTP_ERR_ACCESS, "access violation");
    if (this.#opening >= MAX_OPENING) return this.#env.trace.drop("tftp-busy");
    const cable = this.#env.cableOf(client);
    this.#makeRoom(cable);
    const session = new Session(client, port, cable, raw, request);
    this.#quota.take(cable);
    session.deadline = now + session.timeout;
    this.#sessions.add(session);
    this.#opening++;
    this.#env.files.open(path, (result) => this.#opened(session, result, maxBlock));
    this.#env.wake();
  }

  /** Ends the session that has been stuck longest; the guest's own when it has too many. */
  #makeRoom(cable: object | null): void {
    if (this.#quota.allows(cable)) return;
    const own = this.#quota.fullFor(cable);
    for (const session of this.#sessions) {
      if (own && session.cable !== cable) continue;
      this.#env.trace.drop("tftp-busy");
      return this.#end(session, "newer ones took its place");
    }
  }

  #opened(session: Session<C>, result: OpenFile | FileRefusal, maxBlock: number): void {
    this.#opening--;
    if (typeof result === "string") {
      if (session.over) return;
      if (result === "missing") this.#fail(session, TFTP_ERR_NOT_FOUND, "file not found");
      else this.#fail(session, TFTP_ERR_ACCESS, "access violation");
    } else if (session.over) return result.close();
    else {
      session.file = result;
      session.oack = this.#negotiate(session, result, maxBlock);
      session.starts = new Float64Array(session.window + 1);
      this.#progress(session, this.#env.now());
      if (session.oack !== null) this.#sendOack(session, session.oack);
      else this.#pump(session);
    }
    this.#env.flush();
    this.#env.wake();
  }

  /** Takes the options we know in the order they came (RFC 2347): what is not understood is not acknowledged. */
  #negotiate(session: Session<C>, file: OpenFile, maxBlock: number): Uint8Array | null {
    const granted: [string, number][] = [];
    for (const [option, text] of session.request.options) {
      const asked = /^\d{1,10}$/.test(text) ? Number(text) : -1;
      if (option === "blksize" && asked >= TFTP_BLOCK_MIN) {
        session.blockSize = Math.min(asked, maxBlock, MAX_BLOCK);
        granted.push([option, session.blockSize]);
      } else if (option === "timeout" && asked >= 1 && asked <= 255) {
        session.firstTimeout = asked * 1000;
        granted.push([option, asked]);
      } else if (option === "windowsize" && asked >= 1 && asked <= 65_535) {
        session.window = Math.min(asked, MAX_WINDOW);
        granted.push([option, session.window]);
      } else if (option === "tsize" && asked >= 0 && session.request.mode === "octet") {
        // The length of a file in netascii is known only when the file has been read.
        granted.push([option, file.size]);
      }
    }
    return granted.length === 0 ? null : tftpOack(granted);
  }

  #acknowledged(session: Session<C>, block: number, now: number): void {
    if (session.file === null) return;
    if (session.oack !== null) {
      if (block !== 0) return;
      session.oack = null;
    } else {
      const ahead = (block - (session.base - 1)) & 0xffff;
      const sent = session.next - session.base;
      if (ahead > sent) return;
      if (ahead === 0) {
        if (session.window > 1 && now - session.repeatedAt >= REPEAT_MS) this.#resend(session, now);
        return;
      }
      session.base += ahead;
      // After a gap the window starts again (RFC 7440 section 4).
      session.next = session.base;
    }
    this.#progress(session, now);
    if (session.base > session.last) this.#end(session, null);
    else this.#pump(session);
  }

  #progress(session: Session<C>, now: number): void {
    this.#sessions.delete(session);
    this.#sessions.add(session);
    session.retries = 0;
    session.timeout = session.firstTimeout;
    session.deadline = now + session.timeout;
    this.#env.wake();
  }

  #resend(session: Session<C>, now: number): void {
    if (session.file === null) return;
    if (session.oack !== null) return this.#sendOack(session, session.oack);
    session.next = session.base;
    session.repeatedAt = now;
    this.#pump(session);
  }

  #sendOack(session: Session<C>, oack: Uint8Array): void {
    this.#env.send(session.client, session.port, oack, oack.length);
  }

  /** Sends blocks as far as the window and the loaded part of the file allow. */
  #pump(session: Session<C>): void {
    const { file, blockSize } = session;
    if (file === null) return;
    while (session.next < session.base + session.window && session.next <= session.last) {
      const position = session.start(session.next);
      const offset = Math.floor(position / 2);
      const need = Math.min(blockSize, file.size - offset);
      if (offset < session.heldAt || offset + need > session.heldAt + session.held) {
        if (!session.reading) this.#read(session, file, offset);
        return;
      }
      const len = this.#encode(session, position, offset);
      tftpWriteData(this.#out, 0, session.next);
      if (len < blockSize) session.last = session.next;
      session.next++;
      this.#env.send(session.client, session.port, this.#out, TFTP_HEADER + len);
    }
  }

  /** Puts the next block's bytes into `#out` and notes where the block behind it begins. Returns how many they are. */
  #encode(session: Session<C>, position: number, offset: number): number {
    const { blockSize, request } = session;
    const from = offset - session.heldAt;
    const end = session.held;
    if (request.mode === "octet") {
      const len = Math.min(blockSize, end - from);
      if (len > 0) this.#out.set(session.stretch!.subarray(from, from + len), TFTP_HEADER);
      session.setStart(session.next + 1, position + 2 * len);
      return len;
    }
    const bytes = session.stretch ?? this.#out;
    const done = netascii(bytes, from, end, position % 2 === 1, this.#out, TFTP_HEADER, TFTP_HEADER + blockSize);
    session.setStart(session.next + 1, 2 * (session.heldAt + done.at) + Number(done.half));
    return done.to - TFTP_HEADER;
  }

  #read(session: Session<C>, file: OpenFile, offset: number): void {
    session.reading = true;
    session.stretch ??= new Uint8Array(Math.min(STRETCH, file.size));
    session.held = 0;
    file.read(offset, session.stretch, (bytes) => {
      session.reading = false;
      if (session.over) return;
      // Bytes by which the file has grown since it was opened are not sent; a file that has shrunk is an error.
      const expected = Math.min(session.stretch!.length, file.size - offset);
      if (bytes >= expected) {
        session.heldAt = offset;
        session.held = expected;
        this.#pump(session);
      } else this.#fail(session, TFTP_ERR_UNDEFINED, "the file could not be read");
      this.#env.flush();
    });
  }

  #fail(session: Session<C>, code: number, message: string): void {
    this.#refuse(session.client, session.port, code, message);
    this.#end(session, message);
  }

  #refuse(client: C, port: number, code: number, message: string): void {
    const packet = tftpError(code, message);
    this.#env.send(client, port, packet, packet.length);
  }

  #end(session: Session<C>, error: string | null): void {
    const bytes = session.file === null ? 0 : session.acknowledged;
    session.over = true;
    session.file?.close();
    if (this.#sessions.delete(session)) this.#quota.give(session.cable);
    this.#env.ended(session.client, { file: session.request.name, bytes, error });
  }
}

/**
 * A file's name below the root, or null for what must not be looked for at all. A leading slash means the root, as
 * with libslirp. Windows' boot loaders write backslashes, so those separate too. Nothing is unescaped.
 */
function safePath(name: string): string | null {
  const parts = name.split(/[/\\]/);
  const last = parts.at(-1);
  // biome-ignore lint/suspicious/noControlCharactersInRegex: those are what no name may have.
  if (parts.includes("..") || last === "" || last === "." || /[\0-\x1f\x7f]/.test(name)) return null;
  return parts.filter((part) => part !== "" && part !== ".").join("/");
}

function sameBytes(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((byte, i) => byte === b[i]);
}
