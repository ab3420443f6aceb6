/**
 * Which process behind a TAP holds a socket, to be named in the report of a refusal. Linux tells by `/proc`: a
 * namespace's sockets with their inodes, and each process's descriptors.
 *
 * The answer is a best effort. Nothing is looked up per packet, only for refusals. One look reads a limited number of
 * processes and descriptors, and none begins after `MILLIS_A_SECOND` of a second have been spent on looks. The name is
 * the process's own claim, so it is shown and never judged by.
 */
import fs from "node:fs";
import path from "node:path";
import type { Endpoint } from "../core/address.ts";
import { addressFromText } from "../core/address.ts";

const MILLIS_A_SECOND = 250;
const MOST_PROCESSES = 4096;
const MOST_DESCRIPTORS = 4096;
/** The most bytes that are read of a table of sockets, or of a process's arguments. */
const MOST_BYTES = 1 << 20;
const MOST_ARGUMENTS = 256;
/** The kernel's limit for a process's name. */
const LONGEST_NAME = 15;
const INODE = 9;
const OWN = "/proc/self/ns/net";
const PART = Buffer.alloc(65_536);

export class ProcessNames {
  #second = 0;
  #spent = 0;

  /**
   * `NAME[PID]` in printable ASCII of the process that has a socket at `guest` in the network namespace `net:[…]`; the
   * PID is the host's. Null if no process is found, in our own namespace, and when too many have been looked for.
   */
  find(namespace: string, proto: "tcp" | "udp", guest: Endpoint): string | null {
    const now = performance.now();
    const second = Math.floor(now / 1000);
    if (second !== this.#second) this.#spent = 0;
    this.#second = second;
    if (this.#spent > MILLIS_A_SECOND) return null;
    try {
      return fs.readlinkSync(OWN) === namespace ? null : findProcess(namespace, proto, guest);
    } catch {
      // There is no `/proc`, or we may not read it.
      return null;
    } finally {
      this.#spent += performance.now() - now;
    }
  }
}

/** The latest processes come first, because a refused flow is rarely the oldest process's. */
function findProcess(namespace: string, proto: "tcp" | "udp", guest: Endpoint): string | null {
  const pids = fs.readdirSync("/proc").filter((name) => /^\d+$/.test(name));
  const latest = pids.map(Number).sort((a, b) => b - a);
  let socket: string | null = null;
  const left = { descriptors: MOST_DESCRIPTORS };
  for (const pid of latest.slice(0, MOST_PROCESSES)) {
    if (linkOf(`/proc/${pid}/ns/net`) !== namespace) continue;
    socket ??= socketAt(pid, proto, guest);
    if (socket === null) return null;
    if (holds(pid, socket, left)) return `${nameOf(pid)}[${pid}]`;
  }
  return null;
}

/** `socket:[INODE]`, as descriptors show it; null when there is no such socket. */
function socketAt(pid: number, proto: "tcp" | "udp", guest: Endpoint): string | null {
  const own = kernelText(guest.host);
  const port = guest.port.toString(16).toUpperCase().padStart(4, "0");
  for (const table of [proto, `${proto}6`]) {
    for (const line of start(`/proc/${pid}/net/${table}`, MOST_BYTES).split("\n").slice(1)) {
      const words = line.trim().split(/\s+/);
      const [address = "", at = ""] = (words[1] ?? "").split(":");
      if (at !== port || !(address.endsWith(own) || /^0+$/.test(address))) continue;
      const inode = words[INODE];
      if (inode !== undefined && inode !== "0") return `socket:[${inode}]`;
    }
  }
  return null;
}

/** An address as the kernel prints it: 32-bit words in the processor's order, which is little-endian where we run. */
function kernelText(host: string): string {
  const { family, ip, bytes } = addressFromText(host);
  const all = Buffer.from(bytes);
  if (family === 4) all.fill(0).writeInt32BE(ip);
  const used = family === 4 ? all.subarray(0, 4) : all;
  return Buffer.from(used).swap32().toString("hex").toUpperCase();
}

function holds(pid: number, socket: string, left: { descriptors: number }): boolean {
  let folder: fs.Dir;
  try {
    folder = fs.opendirSync(`/proc/${pid}/fd`);
  } catch {
    return false;
  }
  try {
    for (let entry = folder.readSync(); entry !== null; entry = folder.readSync()) {
      if (linkOf(`/proc/${pid}/fd/${entry.name}`) === socket) return true;
      if (--left.descriptors <= 0) return false;
    }
    return false;
  } catch {
    return false;
  } finally {
    folder.closeSync();
  }
}

/** The process's name. Node names its own main thread, so for Node the program's name is taken from the arguments. */
function nameOf(pid: number): string {
  const own = start(`/proc/${pid}/comm`, MOST_ARGUMENTS).trimEnd();
  const name =
    own === "MainThread" ? path.basename(start(`/proc/${pid}/cmdline`, MOST_ARGUMENTS).split("\0")[0]!) : own;
  return name.slice(0, LONGEST_NAME).replace(/[^!-~]/g, "?") || "?";
}

/** The target of a link; null where it cannot be read. */
export function linkOf(file: string): string | null {
  try {
    return fs.readlinkSync(file);
  } catch {
    return null;
  }
}

/** The first bytes of a file as text; "" where it cannot be read. */
function start(file: string, most: number): string {
  let fd: number;
  try {
    fd = fs.openSync(file, "r");
  } catch {
    return "";
  }
  try {
    let text = "";
    for (let n = 1; n > 0 && text.length < most; ) {
      n = fs.readSync(fd, PART, 0, Math.min(PART.length, most - text.length), null);
      text += PART.toString("latin1", 0, n);
    }
    return text;
  } catch {
    return "";
  } finally {
    fs.closeSync(fd);
  }
}
