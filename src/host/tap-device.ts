/**
 * A TAP device (tun(4), linux/if_tun.h): made here, adopted from another program, or made in another network namespace
 * by way of a process there. Through koffi, on Linux; `libc.ts` says where koffi is available.
 *
 * Each read and write is one frame, behind a `struct virtio_net_hdr` if the device has IFF_VNET_HDR. The namespace is
 * the one in which `/dev/net/tun` is opened, not the one in which the device is made. So a shell in the namespace opens
 * it, and we take its descriptor (pidfd_getfd(2)) and make the device: no code of ours has to run inside.
 */
import fs from "node:fs";
import { createRequire } from "node:module";
import { getSystemErrorName } from "node:util";
import { VIRTIO_NET_HEADER } from "../wire/virtio-net.ts";
import { hasKnownLayouts } from "./libc.ts";
import { reasonOf, wordsOf } from "./reason.ts";
import { sharedLibc } from "./shared-libc.ts";

const TUNSETIFF = 0x400454ca;
const TUNSETOFFLOAD = 0x400454d0;
const TUNGETIFF = 0x800454d2;
const TUNSETVNETHDRSZ = 0x400454d8;
/** Returns a descriptor of the device's network namespace, to processes that may administer that. */
const TUNGETDEVNETNS = 0x54e3;
const IFF_TAP = 2;
const IFF_NO_PI = 0x1000;
const IFF_VNET_HDR = 0x4000;
const PACKET_INFO = 4;
/** TUN_F_CSUM, TSO4, TSO6: the unfinished frames that we accept. Not TSO_ECN, which `wire/virtio-net` refuses. */
const OFFLOADS = 1 | 2 | 4;
/** The numbers are the same on all Linux architectures made since 2019. */
const SYS_PIDFD_OPEN = 434;
const SYS_PIDFD_GETFD = 438;
const IFNAMSIZ = 16;
/** The errno of a device that is down, and of one that is gone (EBADFD, which Node does not name). */
const EIO = 5;
const EBADF = 9;
const ENODEV = 19;
const EBADFD = 77;

/** Results of `read` and `write`: no frame, or no room, just now. */
export const TAP_AGAIN = -1;
/** The device is down: it takes no frames, and may come up again. */
export const TAP_DOWN = -2;
/** The device is gone. */
export const TAP_GONE = -3;

/** What an errno means when the kernel does not make a device. */
const REFUSED: Readonly<Record<string, string>> = {
  EBUSY: "that name is taken",
  EINVAL: "that is another device's name, or one that no device may have",
  EPERM: "no right to make network devices there",
};

type CFunction = (...args: unknown[]) => number;

export class Taps {
  readonly #ioctl: CFunction;
  readonly #ioctlValue: CFunction;
  readonly #read: CFunction;
  readonly #write: CFunction;
  readonly #syscall: CFunction;
  readonly #errno: () => number;
  readonly #address: (bytes: Uint8Array) => bigint | number;

  /** Throws if koffi is not installed or cannot be loaded. */
  constructor() {
    const koffi = createRequire(import.meta.url)("koffi");
    const lib = koffi.load(null);
    this.#ioctl = lib.func("int ioctl(int, unsigned long, void *)");
    this.#ioctlValue = lib.func("int ioctl(int, unsigned long, long)");
    this.#read = lib.func("int64_t read(int, uintptr_t, size_t)");
    this.#write = lib.func("int64_t write(int, uintptr_t, size_t)");
    this.#syscall = lib.func("long syscall(long, long, long, long)");
    this.#errno = koffi.errno;
    this.#address = koffi.address;
  }

  /** The address of memory outside V8's heap. */
  addressOf(bytes: Uint8Array): number {
    return Number(this.#address(bytes));
  }

  /**
   * Makes a device of this name, or opens a persistent one, in our network namespace. Throws an `Error` of one line.
   */
  make(name: string): TapDevice {
    const fd = openTun();
    try {
      return this.made(fd, name);
    } catch (error) {
      fs.closeSync(fd);
      throw error;
    }
  }

  /** As `make`, in the namespace in which the process `pid` has opened `/dev/net/tun` as its descriptor `theirs`. */
  take(pid: number, theirs: number, name: string): TapDevice {
    const process = this.#syscall(SYS_PIDFD_OPEN, pid, 0, 0);
    if (process < 0) throw this.#failure(`cannot reach process ${pid}`);
    const fd = this.#syscall(SYS_PIDFD_GETFD, process, theirs, 0);
    const failure = fd < 0 ? this.#failure("cannot take a descriptor from the namespace (pidfd_getfd)") : null;
    fs.closeSync(process);
    if (failure !== null) throw failure;
    try {
      return this.made(fd, name);
    } catch (error) {
      fs.closeSync(fd);
      throw error;
    }
  }

  /** Makes a device from an open `/dev/net/tun`. */
  made(fd: number, name: string): TapDevice {
    const request = Buffer.alloc(40);
    request.write(name.slice(0, IFNAMSIZ - 1), 0, "latin1");
    request.writeUInt16LE(IFF_TAP | IFF_NO_PI | IFF_VNET_HDR, IFNAMSIZ);
    if (this.#ioctl(fd, TUNSETIFF, request) < 0) {
      const code = this.#code();
      throw new Error(`cannot make TAP ${name}: ${REFUSED[code] ?? wordsOf(code)}`);
    }
    return this.adopt(fd);
  }

  /**
   * Takes over a device that somebody else has opened; its reads no longer block. Throws an `Error` of one line if `fd`
   * is no TAP.
   */
  adopt(fd: number): TapDevice {
    const device = this.recognize(fd);
    if (device === null) throw new Error(`descriptor ${fd} is no TAP`);
    return device;
  }

  /** As `adopt`; null if `fd` is no TAP. */
  recognize(fd: number): TapDevice | null {
    const request = Buffer.alloc(40);
    const flags = this.#ioctl(fd, TUNGETIFF, request) < 0 ? 0 : request.readUInt16LE(IFNAMSIZ);
    if ((flags & IFF_TAP) === 0) return null;
    sharedLibc()?.neverWait(fd);
    const unfinished = (flags & IFF_VNET_HDR) !== 0;
    if (unfinished) {
      const size = Buffer.alloc(4);
      size.writeInt32LE(VIRTIO_NET_HEADER);
      this.#ioctl(fd, TUNSETVNETHDRSZ, size);
      this.offload(fd, OFFLOADS);
    }
    const name = request.toString("latin1", 0, request.indexOf(0));
    const info = (flags & IFF_NO_PI) === 0 ? PACKET_INFO : 0;
    return new TapDevice(this, fd, name, { info, unfinished, namespace: this.#namespaceOf(fd) });
  }

  #namespaceOf(fd: number): string | null {
    const found = this.#ioctlValue(fd, TUNGETDEVNETNS, 0);
    if (found < 0) return null;
    const { ino } = fs.fstatSync(found);
    fs.closeSync(found);
    return `net:[${ino}]`;
  }

  /** Sets which unfinished frames may be read from a device (TUN_F_…). */
  offload(fd: number, kinds: number): void {
    this.#ioctlValue(fd, TUNSETOFFLOAD, kinds);
  }

  /** Reads a frame to an address. Returns its bytes, or one of the negative results above. Never blocks. */
  read(fd: number, address: number, len: number): number {
    const n = this.#read(fd, address, len);
    return n < 0 ? this.#trouble() : n;
  }

  write(fd: number, address: number, len: number): number {
    const n = this.#write(fd, address, len);
    return n < 0 ? this.#trouble() : n;
  }

  #trouble(): number {
    const code = this.#errno();
    if (code === EIO) return TAP_DOWN;
    return code === EBADFD || code === ENODEV || code === EBADF ? TAP_GONE : TAP_AGAIN;
  }

  #code(): string {
    return getSystemErrorName(-this.#errno());
  }

  #failure(what: string): Error {
    return new Error(`${what}: ${wordsOf(this.#code())}`);
  }
}

export class TapDevice {
  readonly taps: Taps;
  readonly fd: number;
  readonly name: string;
  /** Bytes in front of the virtio header, which we ignore. */
  readonly info: number;
  /** Whether frames have a `struct virtio_net_hdr`. */
  readonly unfinished: boolean;
  /** The device's network namespace, as `/proc/PID/ns/net` shows it; null where the kernel does not tell. */
  readonly namespace: string | null;

  constructor(
    taps: Taps,
    fd: number,
    name: string,
    is: { readonly info: number; readonly unfinished: boolean; readonly namespace: string | null },
  ) {
    this.taps = taps;
    this.fd = fd;
    this.name = name;
    this.info = is.info;
    this.unfinished = is.unfinished;
    this.namespace = is.namespace;
  }
}

export function openTun(): number {
  try {
    return fs.openSync("/dev/net/tun", "r+");
  } catch (error) {
    throw new Error(`/dev/net/tun cannot be opened: ${reasonOf(error)}`);
  }
}

let loaded: Taps | null | undefined;

/** Null where the C library cannot be had. */
export function taps(): Taps | null {
  if (loaded === undefined) {
    loaded = null;
    if (hasKnownLayouts()) {
      try {
        loaded = new Taps();
      } catch {
        // koffi is not installed, or not for this system.
      }
    }
  }
  return loaded;
}

/** As `taps`, but throws an `Error` of one line. */
export function needTaps(platform: NodeJS.Platform = process.platform): Taps {
  if (platform !== "linux") throw new Error(`a TAP needs Linux; this is ${platform}`);
  const found = taps();
  if (found === null)
    throw new Error(
      "a TAP needs the optional npm package koffi, which is not installed here, on a 64-bit little-endian processor",
    );
  return found;
}
