/**
 * The C library calls by which another process shares memory and wake-ups with us, through koffi (see `libc.ts`):
 * messages with descriptors (SCM_RIGHTS), mappings of the other process's memory, eventfds. No call here blocks.
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
/** The flags MAP_PRIVATE, MAP_FIXED, MAP_ANONYMOUS and MAP_NORESERVE. */
const MAP_NOTHING_OVER = 0x2 | 0x10 | 0x20 | 0x4000;
const F_GETFL = 3;
const F_SETFL = 4;
const O_NONBLOCK = 0o4000;
const EAGAIN = "EAGAIN";

/** How many descriptors may come with one message: more than any front end sends. */
export const MOST_DESCRIPTORS = 16;
/** Results of `receive`: nothing has come, or the connection is broken. */
export const NOTHING_YET = -1;
export const BROKEN = -2;

const CONTROL_SIZE = 16 + 4 * MOST_DESCRIPTORS;
// One block outside V8's heap, which never moves, that the kernel reads and writes.
const DATA = 0;
const DATA_SIZE = 4096;
const CONTROL = DATA + DATA_SIZE;
const IOVEC = CONTROL + CONTROL_SIZE;
const MSGHDR = IOVEC + 16;
/** The header of a message that is sent in pieces. */
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
  readonly #copyFrom: CFunction;
  readonly #copyTo: CFunction;
  readonly #block: Buffer = Buffer.allocUnsafeSlow(BLOCK);
  readonly #header: Buffer;
  readonly #vectorHeader: Uint32Array;
  readonly #vectorAddress: number;
  readonly #one: Buffer = Buffer.allocUnsafeSlow(8);
  /** The bytes of the last `receive` begin here. */
  readonly data: Buffer;
  /** The descriptors that came with them. The caller closes them. */
  readonly descriptors: number[] = [];

  /** Throws if koffi is not installed or cannot be loaded. */
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
    this.#copyFrom = lib.func("void memcpy(void *, uintptr_t, size_t)");
    this.#copyTo = lib.func("void memcpy(uintptr_t, const void *, size_t)");
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
   * Reads up to `most` bytes (at most 4096) of a stream socket into `data`, and descriptors that came with them into
   * `descriptors`. Returns how many bytes: 0 when the other end has closed, `NOTHING_YET`, or `BROKEN`, also when not
   * all descriptors could be taken.
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

  /** The address of memory outside V8's heap. */
  addressOf(bytes: Uint8Array): number {
    return Number(this.#addressOf(bytes));
  }

  /**
   * Sends `count` pieces whose `struct iovec`s are at `vector`. Returns how many bytes the socket took; 0 where it
   * refuses.
   */
  sendVector(fd: number, vector: number, count: number): number {
    const words = this.#vectorHeader;
    words[4] = vector;
    words[5] = Math.floor(vector / 2 ** 32);
    words[6] = count;
    return Math.max(0, Number(this.#sendmsg(fd, this.#vectorAddress, MSG_DONTWAIT | MSG_NOSIGNAL)));
  }

  /** Whether the socket has taken all bytes. */
  send(fd: number, bytes: Uint8Array, len: number): boolean {
    return this.#send(fd, bytes, len, MSG_DONTWAIT | MSG_NOSIGNAL) === len;
  }

  /**
   * Maps `length` bytes of `fd`, shared, from `offset`, a multiple of the page size. Returns the address. Throws a Node
   * error.
   */
  map(fd: number, offset: number, length: number): number {
    const address = Number(this.#mmap(0, length, PROT_READ_WRITE, MAP_SHARED, fd, offset));
    // MAP_FAILED has all bits set.
    if (address > Number.MAX_SAFE_INTEGER) throw this.#failure("mmap");
    return address;
  }

  /** Replaces a mapping by empty memory of our own. False when there is not even room for that. */
  replace(address: number, length: number): boolean {
    return Number(this.#mmap(address, length, PROT_READ_WRITE, MAP_NOTHING_OVER, -1, 0)) === address;
  }

  /** Unmaps memory of which nobody has a view any more. */
  unmap(address: number, length: number): void {
    this.#munmap(address, length);
  }

  /** Copies `length` bytes of mapped memory to the beginning of `to`. */
  copyFrom(to: Uint8Array, address: number, length: number): void {
    this.#copyFrom(to, address, length);
  }

  /** Copies the first `length` bytes of `from` into mapped memory. */
  copyTo(address: number, from: Uint8Array, length: number): void {
    this.#copyTo(address, from, length);
  }

  /** A view of memory, valid for as long as the memory is mapped. */
  view(address: number, length: number): ArrayBuffer {
    return this.#view(address, length);
  }

  /** Makes reads and writes of the descriptor non-blocking, for all who have it. */
  neverWait(fd: number): void {
    this.#fcntl(fd, F_SETFL, this.#fcntl(fd, F_GETFL, 0) | O_NONBLOCK);
  }

  /** Adds one to a non-blocking eventfd. */
  signal(fd: number): void {
    this.#write(fd, this.#one, 8);
  }

  #code(): string {
    return getSystemErrorName(-this.#errno());
  }

  #failure(call: string): NodeJS.ErrnoException {
    const code = this.#code();
    return Object.assign(new Error(`${call} ${code}`), { code, syscall: call });
  }
}

let loaded: SharedLibc | null | undefined;

/** The C library; null where it cannot be had. It is looked for at the first call. */
export function sharedLibc(): SharedLibc | null {
  if (loaded === undefined) {
    loaded = null;
    if (hasKnownLayouts()) {
      try {
        loaded = new SharedLibc();
      } catch {
        // koffi is not installed, or not for this system.
      }
    }
  }
  return loaded;
}
