/**
 * The few C library calls that Node does not offer, through koffi, an optional dependency whose npm packages contain it
 * prebuilt. Linux with 64-bit pointers only. A descriptor made here goes to `readable.ts`, which tells when it can be
 * read, and closes it. The calls below never block (MSG_DONTWAIT).
 *
 * With IP_RECVERR the kernel queues each ICMP error about a datagram that the socket has sent: the error, its sender,
 * and the beginning of the datagram (ip(7), "IP_RECVERR"). `readError` takes one error from that queue.
 */
import { createRequire } from "node:module";
import { endianness } from "node:os";
import { getSystemErrorName } from "node:util";

export const AF_INET = 2;
export const AF_INET6 = 10;
const SOCK_DGRAM_NONBLOCK_CLOEXEC = 2 | 0o4000 | 0o2000000;
const MSG_DONTWAIT = 0x40;
const MSG_ERRQUEUE = 0x2000;
const LAYOUTS: readonly string[] = ["x64", "arm64", "riscv64", "loong64"];

/** Socket options by family (linux/in.h, linux/in6.h). */
const OPTIONS = {
  4: { level: 0, hops: 2, mtuDiscover: 10, recvErr: 11, packetInfo: 8 },
  6: { level: 41, hops: 16, mtuDiscover: 23, recvErr: 25, packetInfo: 49 },
} as const;
const SOL_IPV6 = 41;
const IPV6_V6ONLY = 26;
const SOL_SOCKET = 1;
const SO_SNDBUF = 7;
const SOL_UDP = 17;
const UDP_GRO = 104;
const SO_OOBINLINE = 10;
/** The same number on every architecture. */
const SYS_PIDFD_OPEN = 434;
export type SocketOption = "hops" | "mtuDiscover" | "recvErr" | "packetInfo";
/** Values of `mtuDiscover`: with DF unset, fragment as needed; or with DF set, and learn the MTU from an EMSGSIZE. */
export const PMTUDISC_DONT = 0;
export const PMTUDISC_DO = 2;

/** One entry of a socket's error queue. */
export interface QueuedError {
  /** As `errno` names it: EHOSTUNREACH, ECONNREFUSED, EMSGSIZE… */
  code: string;
  /** The kernel itself has made the error; no packet reported it. */
  local: boolean;
  /** Type and code of the ICMP error, in the socket's family. */
  type: number;
  icmpCode: number;
  /** The sender of the ICMP error; null for the kernel itself. */
  from: string | null;
  mtu: number;
  /** The destination of the datagram that the error is about. */
  to: string;
  port: number;
  /** The beginning of that datagram, valid until the next call. */
  readonly data: Uint8Array;
  /** How many bytes of it there are. */
  length: number;
}

type CFunction = (...args: unknown[]) => number;

// One block outside V8's heap, which never moves, for all addresses that the kernel reads or writes.
const DATA = 0;
const DATA_SIZE = 2048;
const CONTROL = DATA + DATA_SIZE;
const CONTROL_SIZE = 512;
const NAME = CONTROL + CONTROL_SIZE;
const NAME_SIZE = 128;
const IOVEC = NAME + NAME_SIZE;
const MSGHDR = IOVEC + 16;
const TEXT = MSGHDR + 56;
const TEXT_SIZE = 64;
const BLOCK = TEXT + TEXT_SIZE;

export class Libc {
  readonly #socket: CFunction;
  readonly #bind: CFunction;
  readonly #connect: CFunction;
  readonly #getpeername: CFunction;
  readonly #sendConnected: CFunction;
  readonly #setsockopt: CFunction;
  readonly #sendto: CFunction;
  readonly #sendmmsg: CFunction;
  readonly #recvmsg: CFunction;
  readonly #recvmmsg: CFunction;
  readonly #close: CFunction;
  readonly #syscall: CFunction;
  readonly #pton: CFunction;
  readonly #ntop: CFunction;
  readonly #errno: () => number;
  readonly #addressOf: (bytes: Uint8Array) => bigint | number;
  readonly #block: Buffer = Buffer.allocUnsafeSlow(BLOCK);
  readonly #name: Buffer;
  readonly #header: Buffer;
  readonly #value: Buffer = Buffer.allocUnsafeSlow(4);
  readonly #queued: QueuedError;
  /** The address that `#name` contains, as text. */
  #named: string | null = null;

  /** Throws if koffi is not installed or cannot be loaded. */
  constructor() {
    const koffi = createRequire(import.meta.url)("koffi");
    const lib = koffi.load(null);
    this.#socket = lib.func("int socket(int, int, int)");
    this.#bind = lib.func("int bind(int, const void *, uint32_t)");
    this.#connect = lib.func("int connect(int, const void *, uint32_t)");
    this.#getpeername = lib.func("int getpeername(int, void *, void *)");
    this.#sendConnected = lib.func("int64_t send(int, const void *, size_t, int)");
    this.#setsockopt = lib.func("int setsockopt(int, int, int, const void *, uint32_t)");
    this.#sendto = lib.func("int64_t sendto(int, const void *, size_t, int, const void *, uint32_t)");
    this.#sendmmsg = lib.func("int sendmmsg(int, uintptr_t, uint32_t, int)");
    this.#recvmsg = lib.func("int64_t recvmsg(int, void *, int)");
    this.#recvmmsg = lib.func("int recvmmsg(int, uintptr_t, uint32_t, int, void *)");
    this.#close = lib.func("int close(int)");
    this.#syscall = lib.func("int64_t syscall(int64_t, int64_t, int64_t)");
    this.#pton = lib.func("int inet_pton(int, const char *, void *)");
    this.#ntop = lib.func("void *inet_ntop(int, const void *, void *, uint32_t)");
    this.#errno = koffi.errno;
    this.#addressOf = koffi.address;
    const block = this.#block;
    const base = BigInt(this.addressOf(block));
    block.fill(0);
    block.writeBigUInt64LE(base + BigInt(DATA), IOVEC);
    block.writeBigUInt64LE(BigInt(DATA_SIZE), IOVEC + 8);
    block.writeBigUInt64LE(base + BigInt(NAME), MSGHDR);
    block.writeBigUInt64LE(base + BigInt(IOVEC), MSGHDR + 16);
    block.writeBigUInt64LE(1n, MSGHDR + 24);
    block.writeBigUInt64LE(base + BigInt(CONTROL), MSGHDR + 32);
    this.#name = block.subarray(NAME, NAME + NAME_SIZE);
    this.#header = block.subarray(MSGHDR, MSGHDR + 56);
    const data = block.subarray(DATA, DATA + DATA_SIZE);
    this.#queued = {
      code: "",
      local: false,
      type: -1,
      icmpCode: -1,
      from: null,
      mtu: 0,
      to: "",
      port: 0,
      data,
      length: 0,
    };
  }

  /** A datagram socket that does not block. Throws a Node error (EACCES, EMFILE). */
  socket(family: 4 | 6, protocol: number): number {
    const fd = this.#socket(family === 6 ? AF_INET6 : AF_INET, SOCK_DGRAM_NONBLOCK_CLOEXEC, protocol);
    if (fd < 0) throw this.#failure("socket");
    return fd;
  }

  /** Closes a descriptor that nobody has adopted. */
  close(fd: number): void {
    this.#close(fd);
  }

  /** Throws a Node error (EADDRINUSE). */
  bind(fd: number, address: string, port: number): void {
    if (this.#bind(fd, this.#name, this.#address(address, port)) < 0)
      throw Object.assign(this.#failure("bind"), { address, port });
  }

  /**
   * Connects a datagram socket, which is bound to a port that the kernel chooses if it is not bound yet. Writes the far
   * end's socket address, as the kernel has it, at the beginning of `name`. Null, or the error code.
   */
  connect(fd: number, address: string, port: number, name: Buffer): string | null {
    if (this.#connect(fd, this.#name, this.#address(address, port)) < 0) return this.code();
    this.#value.writeUInt32LE(name.length);
    return this.#getpeername(fd, name, this.#value) < 0 ? this.code() : null;
  }

  set(fd: number, family: 4 | 6, option: SocketOption, value: number): void {
    this.#option(fd, OPTIONS[family].level, OPTIONS[family][option], value);
  }

  /** Has the kernel pass datagrams that arrived as one packet as one message (Linux 5.0; earlier ones ignore this). */
  readRuns(fd: number): void {
    this.#option(fd, SOL_UDP, UDP_GRO, 1);
  }

  /** Keeps an IPv6 socket from taking IPv4's port, too. */
  v6Only(fd: number): void {
    this.#option(fd, SOL_IPV6, IPV6_V6ONLY, 1);
  }

  /** Sets the send buffer, in bytes. The kernel doubles the number, and gives no more than `net.core.wmem_max`. */
  sendRoom(fd: number, bytes: number): void {
    this.#option(fd, SOL_SOCKET, SO_SNDBUF, bytes);
  }

  /** A descriptor that becomes readable when the process ends; negative where the kernel has none (before 5.3). */
  openProcess(pid: number): number {
    return Number(this.#syscall(SYS_PIDFD_OPEN, pid, 0));
  }

  /** Has a TCP socket deliver urgent bytes in their place among the others. */
  urgentInLine(fd: number): void {
    this.#option(fd, SOL_SOCKET, SO_OOBINLINE, 1);
  }

  #option(fd: number, level: number, name: number, value: number): void {
    this.#value.writeInt32LE(value);
    this.#setsockopt(fd, level, name, this.#value, 4);
  }

  /** Sends a packet. Null when the kernel took it, otherwise its error code ("EAGAIN" when it has no room). */
  send(fd: number, packet: Uint8Array, len: number, to: string, port: number): string | null {
    const size = this.#address(to, port);
    return this.#sendto(fd, packet, len, MSG_DONTWAIT, this.#name, size) < 0 ? this.code() : null;
  }

  /** As `send`, on a connected socket. */
  sendConnected(fd: number, packet: Uint8Array): string | null {
    return this.#sendConnected(fd, packet, packet.length, MSG_DONTWAIT) < 0 ? this.code() : null;
  }

  /**
   * Hands `count` messages to the kernel; `table` is the address of their `struct mmsghdr`. Returns how many it took,
   * in order: 0 when it had no room for the first one, -1 when it refused that.
   */
  sendMany(fd: number, table: number, count: number): number {
    const taken = this.#sendmmsg(fd, table, count, MSG_DONTWAIT);
    return taken < 0 && isFull(this.code()) ? 0 : taken;
  }

  /**
   * Reads up to `count` messages; `table` is the address of their `struct mmsghdr`. Returns how many; -1 for none or an
   * error.
   */
  receiveMany(fd: number, table: number, count: number): number {
    return this.#recvmmsg(fd, table, count, MSG_DONTWAIT, null);
  }

  /** The address of memory outside V8's heap. */
  addressOf(bytes: Uint8Array): number {
    return Number(this.#addressOf(bytes));
  }

  /** Writes a socket address at `at`, into 28 bytes. Returns how many of them are used. */
  nameTo(bytes: Buffer, at: number, to: string, port: number): number {
    const size = this.#address(to, port);
    this.#name.copy(bytes, at, 0, 28);
    return size;
  }

  /** Takes one entry from the error queue; null when it is empty. Returns the same object each time. */
  readError(fd: number, family: 4 | 6): QueuedError | null {
    const block = this.#block;
    block.writeUInt32LE(NAME_SIZE, MSGHDR + 8);
    block.writeBigUInt64LE(BigInt(CONTROL_SIZE), MSGHDR + 40);
    this.#named = null;
    const n = this.#recvmsg(fd, this.#header, MSG_ERRQUEUE | MSG_DONTWAIT);
    if (n < 0) return null;
    const e = this.#queued;
    e.length = n;
    e.to = this.#text(family, NAME) ?? "";
    e.port = block.readUInt16BE(NAME + 2);
    e.code = "EIO";
    const end = CONTROL + Number(block.readBigUInt64LE(MSGHDR + 40));
    const { level, recvErr } = OPTIONS[family];
    for (let at = CONTROL; at + 16 <= end; ) {
      const size = Number(block.readBigUInt64LE(at));
      if (size < 16) break;
      if (block.readInt32LE(at + 8) === level && block.readInt32LE(at + 12) === recvErr)
        this.#extended(family, at + 16);
      at += (size + 7) & ~7;
    }
    return e;
  }

  /** Reads struct sock_extended_err (linux/errqueue.h) and the offender's address behind it. */
  #extended(family: 4 | 6, at: number): void {
    const block = this.#block;
    const e = this.#queued;
    const origin = block[at + 4]!;
    e.code = getSystemErrorName(-block.readUInt32LE(at));
    e.local = origin !== 2 && origin !== 3;
    e.type = e.local ? -1 : block[at + 5]!;
    e.icmpCode = e.local ? -1 : block[at + 6]!;
    e.mtu = e.code === "EMSGSIZE" ? block.readUInt32LE(at + 8) : 0;
    e.from = e.local ? null : this.#text(family, at + 16);
  }

  /** The text of a socket address in the block; null when it contains no address. */
  #text(family: 4 | 6, at: number): string | null {
    const block = this.#block;
    const af = block.readUInt16LE(at);
    if (af !== (family === 6 ? AF_INET6 : AF_INET)) return null;
    const text = block.subarray(TEXT, TEXT + TEXT_SIZE);
    this.#ntop(af, block.subarray(at + (family === 6 ? 8 : 4)), text, TEXT_SIZE);
    return text.toString("latin1", 0, text.indexOf(0));
  }

  /** Writes a socket address into `#name`. Returns its size. */
  #address(text: string, port: number): number {
    const name = this.#name;
    const v6 = text.includes(":");
    // The kernel writes into `#name`, too, but only when an error is read.
    if (text !== this.#named) {
      name.fill(0, 0, 28);
      name.writeUInt16LE(v6 ? AF_INET6 : AF_INET, 0);
      this.#pton(v6 ? AF_INET6 : AF_INET, text, name.subarray(v6 ? 8 : 4));
      this.#named = text;
    }
    name.writeUInt16BE(port, 2);
    return v6 ? 28 : 16;
  }

  /** The error code of the last call. */
  code(): string {
    return getSystemErrorName(-this.#errno());
  }

  #failure(call: string): NodeJS.ErrnoException {
    const code = this.code();
    return Object.assign(new Error(`${call} ${code}`), { code, syscall: call });
  }
}

/** Whether a send was refused only because there was no room. */
export function isFull(code: string): boolean {
  return code === "EAGAIN" || code === "ENOBUFS";
}

/** Whether C structures have the layout here that `Libc` and its like assume. */
export function hasKnownLayouts(): boolean {
  return process.platform === "linux" && endianness() === "LE" && LAYOUTS.includes(process.arch);
}

let loaded: Libc | null | undefined;

/** The C library; null where it cannot be had. It is looked for at the first call. */
export function libc(): Libc | null {
  if (loaded === undefined) {
    loaded = null;
    if (hasKnownLayouts()) {
      try {
        loaded = new Libc();
      } catch {
        // koffi is not installed, or not for this system.
      }
    }
  }
  return loaded;
}
