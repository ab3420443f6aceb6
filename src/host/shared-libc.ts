/**
 * The C library calls by which another process shares memory and wake-ups with us, through koffi (see `libc.ts`):
 * messages with descriptors (SCM_RIGHTS), mappings of their memory, eventfds. No call here waits.
 */
import { createRequire } from "node:module";
import { getSystemErrorName } from "node:util";
import { hasKnownLayouts } from "./libc.ts";

const MSG_DONTWAIT = 0x40;
const MSG_NOSIGNAL = 0x4000;
const MSG_CTRUNC = 0x8;
const MSG_CMSG_CLOEXEC = 0x40000000;
const SOL_SOCKET = 1;
const SCM_RIGHTS = 1;
const PROT_READ_WRITE = 3;
const MAP_SHARED = 1;
/** MAP_PRIVATE, MAP_FIXED, MAP_ANONYMOUS and MAP_NORESERVE. */
const MAP_NOTHING_OVER = 0x2 | 0x10 | 0x20 | 0x4000;
const F_GETFL = 3;
const F_SETFL = 4;
const O_NONBLOCK = 0o4000;
const EAGAIN = "EAGAIN";

/** Descriptors that may come with one message: more than any front end sends. */
export const MOST_DESCRIPTORS = 16;
/** `receive`: nothing has come, or the connection is broken. */
export const NOTHING_YET = -1;
export const BROKEN = -2;

const CONTROL_SIZE = 16 + 4 * MOST_DESCRIPTORS;
// One block outside V8's heap for what the kernel reads and writes: it never moves.
const DATA = 0;
const DATA_SIZE = 4096;
const CONTROL = DATA + DATA_SIZE;
const IOVEC = CONTROL + CONTROL_SIZE;
const MSGHDR = IOVEC + 16;
/** The header of what is sent in pieces. */
const VECTOR = MSGHDR + 56;
const BLOCK = VECTOR + 56;

type CFunction = (...args: unknown[]) => number;

export class SharedLibc {
  readonly #recvmsg: CFunction;
  readonly #send: CFunction;
  readonly #mmap: CFunction;
  readonly #munmap: CFunction;
  readonly #fcntl: CFunction;
  readonly #write: CFunction;
  readonly #sendmsg: CFunction;
  readonly #addressOf: (bytes: Uint8Array) => bigint | number;
  readonly #errno: () => number;
  readonly #view: (address: number, length: number) => ArrayBuffer;
  readonly #block: Buffer = Buffer.allocUnsafeSlow(BLOCK);
  readonly #header: Buffer;
  readonly #vectorHeader: Uint32Array;
  readonly #vectorAddress: number;
  readonly #one: Buffer = Buffer.allocUnsafeSlow(8);
  /** The bytes that the last `receive` has read begin here. */
  readonly data: Buffer;
  /** The descriptors that came with it. They are the caller's to close. */
  readonly descriptors: number[] = [];

  /** Throws where koffi is not installed or cannot be loaded. */
  constructor() {
    const koffi = createRequire(import.meta.url)("koffi");
    const lib = koffi.load(null);
    this.#recvmsg = lib.func("int64_t recvmsg(int, void *, int)");
    this.#send = lib.func("int64_t send(int, const void *, size_t, int)");
    this.#mmap = lib.func("uintptr_t mmap(uintptr_t, size_t, int, int, int, int64_t)");
    this.#munmap = lib.func("int munmap(uintptr_t, size_t)");
    this.#fcntl = lib.func("int fcntl(int, int, int)");
    this.#write = lib.func("int64_t write(int, const void *, size_t)");
    this.#sendmsg = lib.func("int64_t sendmsg(int, uintptr_t, int)");
    this.#addressOf = koffi.address;
    this.#errno = koffi.errno;
    this.#view = koffi.view;
    const block = this.#block;
    const base = BigInt(koffi.address(block));
    block.fill(0);
    block.writeBigUInt64LE(base + BigInt(DATA), IOVEC);
    block.writeBigUInt64LE(base + BigInt(IOVEC), MSGHDR + 16);
    block.writeBigUInt64LE(1n, MSGHDR + 24);
    block.writeBigUInt64LE(base + BigInt(CONTROL), MSGHDR + 32);
    this.#header = block.subarray(MSGHDR, MSGHDR + 56);
    this.#vectorHeader = new Uint32Array(block.buffer, block.byteOffset + VECTOR, 14);
    this.#vectorAddress = Number(base) + VECTOR;
    this.data = block.subarray(DATA, DATA + DATA_SIZE);
    this.#one.writeBigUInt64LE(1n);
  }

  /**
   * Reads up to `most` bytes (4096 at the most) of a stream socket into `data`, and what descriptors came with them into
   * `descriptors`. How many bytes; 0 when the other end is gone, `NOTHING_YET`, or `BROKEN`, also when not all descriptors
   * could be taken.
   */
  receive(fd: number, most: number): number {
    const block = this.#block;
    this.descriptors.length = 0;
    block.writeBigUInt64LE(BigInt(Math.min(most, DATA_SIZE)), IOVEC + 8);
    block.writeBigUInt64LE(BigInt(CONTROL_SIZE), MSGHDR + 40);
    const n = this.#recvmsg(fd, this.#header, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    if (n < 0) return this.#code() === EAGAIN ? NOTHING_YET : BROKEN;
    const end = CONTROL + Number(block.readBigUInt64LE(MSGHDR + 40));
    for (let at = CONTROL; at + 16 <= end; ) {
      const size = Number(block.readBigUInt64LE(at));
      if (size < 16) break;
      if (block.readInt32LE(at + 8) === SOL_SOCKET && block.readInt32LE(at + 12) === SCM_RIGHTS) {
        for (let each = at + 16; each + 4 <= Math.min(at + size, end); each += 4)
          this.descriptors.push(block.readInt32LE(each));
      }
      at += (size + 7) & ~7;
    }
    return block.readInt32LE(MSGHDR + 48) & MSG_CTRUNC ? BROKEN : n;
  }

  /** Where memory outside V8's heap is. */
  addressOf(bytes: Uint8Array): number {
    return Number(this.#addressOf(bytes));
  }

  /** How many bytes a stream socket has taken of `count` pieces whose `struct iovec`s are at `vector`; 0 where it refuses. */
  sendVector(fd: number, vector: number, count: number): number {
    const words = this.#vectorHeader;
    words[4] = vector;
    words[5] = Math.floor(vector / 2 ** 32);
    words[6] = count;
    return Math.max(0, Number(this.#sendmsg(fd, this.#vectorAddress, MSG_DONTWAIT | MSG_NOSIGNAL)));
  }

  /** Whether the socket has taken all of it. */
  send(fd: number, bytes: Uint8Array, len: number): boolean {
    return this.#send(fd, bytes, len, MSG_DONTWAIT | MSG_NOSIGNAL) === len;
  }

  /** Maps `length` bytes of `fd` from `offset`, a multiple of the page size, shared. Its address. Throws a Node error. */
  map(fd: number, offset: number, length: number): number {
    const address = Number(this.#mmap(0, length, PROT_READ_WRITE, MAP_SHARED, fd, offset));
    // MAP_FAILED is all ones.
    if (address > Number.MAX_SAFE_INTEGER) throw this.#failure("mmap");
    return address;
  }

  /** Puts empty memory of our own in a mapping's place, which is let go of. False when there is no room even for that. */
  replace(address: number, length: number): boolean {
    return Number(this.#mmap(address, length, PROT_READ_WRITE, MAP_NOTHING_OVER, -1, 0)) === address;
  }

  /** Nobody may have a view of it any more. */
  unmap(address: number, length: number): void {
    this.#munmap(address, length);
  }

  /** A window on memory. It stays valid as long as what is mapped there. */
  view(address: number, length: number): ArrayBuffer {
    return this.#view(address, length);
  }

  /** Reads and writes of it, by whomever, no longer wait. */
  neverWait(fd: number): void {
    this.#fcntl(fd, F_SETFL, this.#fcntl(fd, F_GETFL, 0) | O_NONBLOCK);
  }

  /** Adds one to an eventfd that never waits. */
  signal(fd: number): void {
    this.#write(fd, this.#one, 8);
  }

  #code(): string {
    return getSystemErrorName(-this.#errno());
  }

  #failure(call: string): NodeJS.ErrnoException {
    const code = this.#code();
    return Object.assign(new Error(`${call} ${code}`), { code });
  }
}

let loaded: SharedLibc | null | undefined;

/** The library; null where it cannot be had. Looked for at the first call. */
export function sharedLibc(): SharedLibc | null {
  if (loaded === undefined) {
    loaded = null;
    if (hasKnownLayouts()) {
      try {
        loaded = new SharedLibc();
      } catch {
        // Not installed, or not for this system.
      }
    }
  }
  return loaded;
}
