/** What a front end needs of the C library, and a back end does not. Tests only; they wait where the library lets them. */
import { createRequire } from "node:module";

type CFunction = (...args: unknown[]) => number;

const koffi = createRequire(import.meta.url)("koffi");
const lib = koffi.load(null);
const memfdCreate: CFunction = lib.func("int memfd_create(const char *, uint32_t)");
const eventfdMake: CFunction = lib.func("int eventfd(uint32_t, int)");
const socketMake: CFunction = lib.func("int socket(int, int, int)");
const connectTo: CFunction = lib.func("int connect(int, const void *, uint32_t)");
const sendmsg: CFunction = lib.func("int64_t sendmsg(int, const void *, int)");
const recv: CFunction = lib.func("int64_t recv(int, void *, size_t, int)");
const mmap: CFunction = lib.func("uintptr_t mmap(uintptr_t, size_t, int, int, int, int64_t)");
const munmap: CFunction = lib.func("int munmap(uintptr_t, size_t)");
const close: CFunction = lib.func("int close(int)");
const shutdown: CFunction = lib.func("int shutdown(int, int)");
const read: CFunction = lib.func("int64_t read(int, void *, size_t)");
const write: CFunction = lib.func("int64_t write(int, const void *, size_t)");

const AF_UNIX = 1;
const SOCK_STREAM_CLOEXEC = 1 | 0o2000000;
const EFD_NONBLOCK_CLOEXEC = 0o4000 | 0o2000000;
const MSG_DONTWAIT = 0x40;
const MSG_NOSIGNAL = 0x4000;

function must(what: string, n: number): number {
  if (n < 0) throw new Error(`${what} failed: errno ${koffi.errno()}`);
  return n;
}

/** A file in memory, as QEMU's memfd back-end makes one. */
export const memfd = (): number => must("memfd_create", memfdCreate("guest", 1));
export const eventfd = (): number => must("eventfd", eventfdMake(0, EFD_NONBLOCK_CLOEXEC));
/** The other end of a socket reads its end. */
export const endSending = (fd: number): void => void shutdown(fd, 1);
export const closeFd = (fd: number): void => void close(fd);

/** How often an eventfd has been signalled since it was last asked. */
export function signals(fd: number): number {
  const buffer = Buffer.alloc(8);
  return Number(read(fd, buffer, 8)) === 8 ? Number(buffer.readBigUInt64LE()) : 0;
}

export function signal(fd: number): void {
  const one = Buffer.alloc(8);
  one.writeBigUInt64LE(1n);
  write(fd, one, 8);
}

/** A connected UNIX socket that libuv knows nothing of. */
export function connectUnix(path: string): number {
  const fd = must("socket", socketMake(AF_UNIX, SOCK_STREAM_CLOEXEC, 0));
  const name = Buffer.alloc(110);
  name.writeUInt16LE(AF_UNIX);
  name.write(path, 2);
  must("connect", connectTo(fd, name, 110));
  return fd;
}

/** Sends bytes with descriptors (SCM_RIGHTS). False when the other end is gone. */
export function sendWith(fd: number, bytes: Uint8Array, descriptors: readonly number[]): boolean {
  const data = Buffer.allocUnsafeSlow(bytes.length);
  data.set(bytes);
  const controlSize = descriptors.length === 0 ? 0 : 16 + ((4 * descriptors.length + 7) & ~7);
  const control = Buffer.allocUnsafeSlow(Math.max(controlSize, 1)).fill(0);
  if (controlSize > 0) {
    control.writeBigUInt64LE(BigInt(16 + 4 * descriptors.length));
    control.writeInt32LE(1, 8);
    control.writeInt32LE(1, 12);
    for (const [i, each] of descriptors.entries()) control.writeInt32LE(each, 16 + 4 * i);
  }
  const iovec = Buffer.allocUnsafeSlow(16);
  iovec.writeBigUInt64LE(BigInt(koffi.address(data)));
  iovec.writeBigUInt64LE(BigInt(bytes.length), 8);
  const header = Buffer.allocUnsafeSlow(56).fill(0);
  header.writeBigUInt64LE(BigInt(koffi.address(iovec)), 16);
  header.writeBigUInt64LE(1n, 24);
  if (controlSize > 0) header.writeBigUInt64LE(BigInt(koffi.address(control)), 32);
  header.writeBigUInt64LE(BigInt(controlSize), 40);
  return Number(sendmsg(fd, header, MSG_NOSIGNAL)) === bytes.length;
}

/** What has come, up to `most` bytes: null for nothing yet, empty when the other end is gone. */
export function receive(fd: number, most: number): Buffer | null {
  const buffer = Buffer.alloc(most);
  const n = Number(recv(fd, buffer, most, MSG_DONTWAIT));
  if (n < 0) return koffi.errno() === koffi.os.errno.ECONNRESET ? Buffer.alloc(0) : null;
  return buffer.subarray(0, n);
}

/** Maps a file's memory, shared; the address, and a window on it. */
export function mapShared(fd: number, length: number): { address: number; bytes: Uint8Array; unmap(): void } {
  const address = Number(mmap(0, length, 3, 1, fd, 0));
  if (address > Number.MAX_SAFE_INTEGER) throw new Error("mmap failed");
  return {
    address,
    bytes: new Uint8Array(koffi.view(address, length)),
    unmap: () => void munmap(address, length),
  };
}
