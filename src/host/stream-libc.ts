/** The C library calls of a TCP connection, through koffi (see `libc.ts`). None of them blocks. */
import { createRequire } from "node:module";
import { getSystemErrorName } from "node:util";
import type { Landing } from "../core/host-net.ts";
import { AF_INET, AF_INET6, type Libc, libc } from "./libc.ts";

const SOCK_STREAM_NONBLOCK_CLOEXEC = 1 | 0o4000 | 0o2000000;
const MSG_DONTWAIT_NOSIGNAL = 0x40 | 0x4000;
const IPPROTO_TCP = 6;
const TCP_NODELAY = 1;
const TCP_KEEPIDLE = 4;
const SOL_SOCKET = 1;
const SO_KEEPALIVE = 9;
const SO_LINGER = 13;
const SHUT_WR = 1;
const NAME_SIZE = 28;
/** Node has no name for this errno (asm-generic/errno.h; the same on all architectures of `libc.ts`). */
const EINPROGRESS = 115;

/** How many pieces of memory one read may fill. */
const MOST_PIECES = 128;
const IOVEC = 16;
/** The size of struct msghdr, and the words in it of the pieces' address and number. */
const MSGHDR = 56;
const PIECES = 4;
const COUNT = 6;

type CFunction = (...args: unknown[]) => number;

export class StreamLibc {
  readonly #libc: Libc;
  readonly #socket: CFunction;
  readonly #connect: CFunction;
  readonly #send: CFunction;
  readonly #recv: CFunction;
  readonly #recvmsg: CFunction;
  readonly #shutdown: CFunction;
  readonly #setsockopt: CFunction;
  readonly #errno: () => number;
  readonly #addressOf: (bytes: Uint8Array) => bigint | number;
  /** A struct msghdr and its pieces, outside V8's heap. */
  readonly #vector: Uint32Array;
  readonly #vectorAddress: number;
  /** The memory that a read has filled last, and its address. Chunks are mostly parts of one memory. */
  #memory: ArrayBufferLike | null = null;
  #memoryAddress = 0;
  readonly #name: Buffer = Buffer.allocUnsafeSlow(NAME_SIZE);
  readonly #one: Buffer = Buffer.alloc(4);
  /** A struct linger: on, with zero seconds. */
  readonly #noLinger: Buffer = Buffer.alloc(8);
  #dialErrno = 0;

  /** Throws if koffi cannot be loaded. */
  constructor(names: Libc) {
    const koffi = createRequire(import.meta.url)("koffi");
    const lib = koffi.load(null);
    this.#libc = names;
    this.#socket = lib.func("int socket(int, int, int)");
    this.#connect = lib.func("int connect(int, const void *, uint32_t)");
    this.#send = lib.func("int64_t send(int, const void *, size_t, int)");
    this.#recv = lib.func("int64_t recv(int, void *, size_t, int)");
    this.#recvmsg = lib.func("int64_t recvmsg(int, uintptr_t, int)");
    this.#shutdown = lib.func("int shutdown(int, int)");
    this.#setsockopt = lib.func("int setsockopt(int, int, int, const void *, uint32_t)");
    this.#errno = koffi.errno;
    this.#addressOf = koffi.address;
    const table = Buffer.allocUnsafeSlow(MSGHDR + MOST_PIECES * IOVEC).fill(0);
    this.#vector = new Uint32Array(table.buffer, table.byteOffset, table.length / 4);
    this.#vectorAddress = Number(this.#addressOf(table));
    this.#vector[PIECES] = this.#vectorAddress + MSGHDR;
    this.#vector[PIECES + 1] = Math.floor((this.#vectorAddress + MSGHDR) / 2 ** 32);
    this.#one.writeInt32LE(1);
    this.#noLinger.writeInt32LE(1);
  }

  /**
   * A socket with an established connection, urgent bytes in line. -1 if the connection failed, or is not established
   * at once: `dialError` tells which.
   */
  dial(host: string, port: number): number {
    const fd = this.#socket(host.includes(":") ? AF_INET6 : AF_INET, SOCK_STREAM_NONBLOCK_CLOEXEC, 0);
    if (fd < 0) {
      this.#dialErrno = this.#errno();
      return -1;
    }
    this.#libc.urgentInLine(fd);
    const name = this.#name;
    const size = this.#libc.nameTo(name, 0, host, port);
    let failed = this.#connect(fd, name, size) < 0;
    // Over the loopback the handshake takes place within the first call; the second call tells its result.
    if (failed && this.#errno() === EINPROGRESS) failed = this.#connect(fd, name, size) < 0;
    if (!failed) return fd;
    this.#dialErrno = this.#errno();
    this.#libc.close(fd);
    return -1;
  }

  /** The error code of the last `dial`. It is not one of Node's codes if the far end has not answered yet. */
  get dialError(): string {
    return getSystemErrorName(-this.#dialErrno);
  }

  /** How many bytes the kernel has taken; -1 for an error (see `code`). */
  send(fd: number, bytes: Uint8Array): number {
    return this.#send(fd, bytes, bytes.length, MSG_DONTWAIT_NOSIGNAL);
  }

  /** How many bytes are in `into` now; 0 at the far end's FIN, -1 for an error (see `code`). */
  receive(fd: number, into: Uint8Array): number {
    return this.#recv(fd, into, into.length, MSG_DONTWAIT_NOSIGNAL);
  }

  /** The same, into a flow's own memory. */
  receiveInto(fd: number, { chunks, first, at, len }: Landing): number {
    const words = this.#vector;
    const most = Math.min(chunks.length - first, MOST_PIECES);
    let count = 0;
    let left = len;
    let skip = at;
    for (let i = 0; i < most && left > 0; i++) {
      const chunk = chunks[first + i]!;
      const piece = Math.min(chunk.length - skip, left);
      const address = this.#addressIn(chunk) + skip;
      const word = (MSGHDR + i * IOVEC) / 4;
      words[word] = address;
      words[word + 1] = Math.floor(address / 2 ** 32);
      words[word + 2] = piece;
      left -= piece;
      skip = 0;
      count++;
    }
    words[COUNT] = count;
    return Number(this.#recvmsg(fd, this.#vectorAddress, MSG_DONTWAIT_NOSIGNAL));
  }

  #addressIn(chunk: Uint8Array): number {
    const { buffer } = chunk;
    if (buffer !== this.#memory) {
      this.#memory = buffer;
      this.#memoryAddress = Number(this.#addressOf(new Uint8Array(buffer)));
    }
    return this.#memoryAddress + chunk.byteOffset;
  }

  /** Sends FIN. */
  shutdown(fd: number): void {
    this.#shutdown(fd, SHUT_WR);
  }

  /** Makes the next `close` send a RST. */
  breakOnClose(fd: number): void {
    this.#setsockopt(fd, SOL_SOCKET, SO_LINGER, this.#noLinger, 8);
  }

  /** Switches Nagle's algorithm off. */
  noDelay(fd: number): void {
    this.#setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, this.#one, 4);
  }

  /** Has the kernel probe a far end that has been silent for this many seconds. */
  keepAlive(fd: number, seconds: number): void {
    this.#setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, this.#one, 4);
    const idle = Buffer.alloc(4);
    idle.writeInt32LE(seconds);
    this.#setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, idle, 4);
  }

  /** Closes a descriptor that no handle has adopted. */
  close(fd: number): void {
    this.#libc.close(fd);
  }

  /** The error code of the last call. */
  code(): string {
    return getSystemErrorName(-this.#errno());
  }
}

let loaded: StreamLibc | null | undefined;

/** Null where the C library cannot be had. */
export function streamLibc(): StreamLibc | null {
  if (loaded === undefined) {
    const names = libc();
    loaded = names === null ? null : new StreamLibc(names);
  }
  return loaded;
}
