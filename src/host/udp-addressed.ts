/**
 * A forward's UDP socket at all addresses of the host (0.0.0.0 or ::), which answers each client from the address that
 * the client has asked (Linux, through koffi). Node neither tells that address nor can choose one: a host with several
 * answers from whichever the route prefers, and a client that has connected its socket drops that.
 *
 * With IP_PKTINFO the kernel tells with each datagram where it arrived (ip(7), ipv6(7)), and takes the same words with an
 * answer. A client is remembered by its address and port together with both, as the kernel wrote them, so that a
 * link-local client keeps its interface. The clients heard last are remembered, `CLIENTS` of them; whoever is forgotten
 * is answered from the address that the route prefers.
 */
import { createRequire } from "node:module";
import { getSystemErrorName } from "node:util";
import type { Endpoint, HostListener, HostUdp, HostUdpEvents } from "../core/host-net.ts";
import { get32 } from "../wire/bytes.ts";
import { ipv4ToString } from "../wire/ipv4.ts";
import { ipv6ToString } from "../wire/ipv6.ts";
import { isFull, type Libc } from "./libc.ts";
import { type Readable, readableDescriptor } from "./readable.ts";

const CLIENTS = 16_384;
/** Datagrams taken in one turn: others have theirs, too. */
const AT_ONCE = 64;
const MSG_DONTWAIT = 0x40;
const LEVEL_IP = 0;
const LEVEL_IPV6 = 41;
const IP_PKTINFO = 8;
const IPV6_PKTINFO = 50;

// One block outside V8's heap, where nothing moves: struct msghdr, struct iovec, a socket address, control data, data.
const IOVEC = 56;
const NAME = 72;
const NAME_SIZE = 28;
const CONTROL = 104;
const CONTROL_SIZE = 64;
const DATA = CONTROL + CONTROL_SIZE;
const DATA_SIZE = 65_536;

type CFunction = (...args: unknown[]) => number;

/** A client as the kernel names it: its address, and what makes answers leave from where it was heard. */
interface Client {
  readonly name: Buffer;
  /** Empty where it spoke to a group. */
  readonly control: Buffer;
}

/** `recvmsg` and `sendmsg` with their one block. */
class Messages {
  readonly block: Buffer = Buffer.allocUnsafeSlow(DATA + DATA_SIZE).fill(0);
  readonly #recvmsg: CFunction;
  readonly #sendmsg: CFunction;
  readonly #getsockname: CFunction;
  readonly #errno: () => number;
  readonly #base: bigint;

  /** Throws where koffi cannot be loaded. */
  constructor() {
    const koffi = createRequire(import.meta.url)("koffi");
    const lib = koffi.load(null);
    this.#recvmsg = lib.func("int64_t recvmsg(int, void *, int)");
    this.#sendmsg = lib.func("int64_t sendmsg(int, const void *, int)");
    this.#getsockname = lib.func("int getsockname(int, void *, void *)");
    this.#errno = koffi.errno;
    this.#base = BigInt(koffi.address(this.block));
  }

  /** Bytes of the next datagram, which stand at `DATA`; -1 when there is none. */
  receive(fd: number): number {
    this.#header(NAME_SIZE, DATA_SIZE, CONTROL_SIZE);
    return Number(this.#recvmsg(fd, this.block, MSG_DONTWAIT));
  }

  /** Null when the kernel took it. */
  send(fd: number, bytes: Uint8Array, at: number, len: number, name: Uint8Array, control: Uint8Array): string | null {
    this.block.set(bytes.subarray(at, at + len), DATA);
    this.block.set(name, NAME);
    this.block.set(control, CONTROL);
    this.#header(name.length, len, control.length);
    return Number(this.#sendmsg(fd, this.block, MSG_DONTWAIT)) < 0 ? getSystemErrorName(-this.#errno()) : null;
  }

  /** The port that the kernel has chosen. */
  port(fd: number): number {
    this.block.writeUInt32LE(NAME_SIZE, CONTROL);
    this.#getsockname(fd, this.block.subarray(NAME), this.block.subarray(CONTROL));
    return this.block.readUInt16BE(NAME + 2);
  }

  #header(name: number, data: number, control: number): void {
    const { block } = this;
    const base = this.#base;
    block.writeBigUInt64LE(base + BigInt(NAME), 0);
    block.writeUInt32LE(name, 8);
    block.writeBigUInt64LE(base + BigInt(IOVEC), 16);
    block.writeBigUInt64LE(1n, 24);
    block.writeBigUInt64LE(control === 0 ? 0n : base + BigInt(CONTROL), 32);
    block.writeBigUInt64LE(BigInt(control), 40);
    block.writeBigUInt64LE(base + BigInt(DATA), IOVEC);
    block.writeBigUInt64LE(BigInt(data), IOVEC + 8);
  }
}

let messages: Messages | null = null;

/** Whether an address stands for all of the host's. */
export function isEveryAddress(host: string): boolean {
  return host === "0.0.0.0" || host === "::";
}

export class AddressedUdp implements HostUdp, HostListener {
  readonly address: Endpoint;
  readonly #libc: Libc;
  readonly #family: 4 | 6;
  readonly #events: HostUdpEvents;
  readonly #messages: Messages;
  readonly #socket: Readable;
  /** By address and port, whoever was heard last at the end. */
  readonly #clients: Map<string, Client> = new Map();
  #from: Endpoint = { host: "", port: -1 };
  #ttl = -1;
  #closed = false;

  /** Throws the system's error (EADDRINUSE, EACCES). */
  constructor(libc: Libc, at: Endpoint, events: HostUdpEvents) {
    messages ??= new Messages();
    this.#messages = messages;
    this.#libc = libc;
    this.#events = events;
    this.#family = at.host.includes(":") ? 6 : 4;
    const fd = libc.socket(this.#family, 0);
    try {
      if (this.#family === 6) libc.v6Only(fd);
      libc.set(fd, this.#family, "packetInfo", 1);
      libc.bind(fd, at.host, at.port);
    } catch (error) {
      libc.close(fd);
      throw error;
    }
    this.address = { host: at.host, port: messages.port(fd) };
    this.#socket = readableDescriptor(fd, () => this.#read());
  }

  send(bytes: Uint8Array, at: number, len: number, to: Endpoint, ttl: number): void {
    if (this.#closed || to.port === 0) return;
    const { fd } = this.#socket;
    if (len > DATA_SIZE) return this.#events.onUdpLost?.(1);
    if (ttl !== this.#ttl) this.#libc.set(fd, this.#family, "hops", (this.#ttl = ttl));
    const { name, control } = this.#clients.get(keyOf(to)) ?? { name: this.#nameOf(to), control: NOTHING };
    let code = this.#messages.send(fd, bytes, at, len, name, control);
    // The address may have gone since.
    if (control.length > 0 && (code === "EINVAL" || code === "EADDRNOTAVAIL"))
      code = this.#messages.send(fd, bytes, at, len, name, NOTHING);
    if (code === null) return;
    if (isFull(code)) return this.#events.onUdpLost?.(1);
    const error = { code, from: null, type: -1, icmpCode: -1, mtu: 0 };
    process.nextTick(() => {
      if (!this.#closed) this.#events.onUdpError(error, to);
    });
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#clients.clear();
    this.#socket.close();
  }

  #read(): void {
    for (let n = 0; n < AT_ONCE && !this.#closed; n++) {
      const len = this.#messages.receive(this.#socket.fd);
      if (len < 0) return;
      const { block } = this.#messages;
      const from = this.#sender(block);
      this.#remember(from, block);
      // A copy: an answer given during the call is written over it.
      this.#events.onDatagram(Buffer.from(block.subarray(DATA, DATA + len)), 0, len, from);
    }
  }

  #sender(block: Buffer): Endpoint {
    const port = block.readUInt16BE(NAME + 2);
    const host = this.#family === 6 ? ipv6ToString(block, NAME + 8) : ipv4ToString(get32(block, NAME + 4));
    if (port !== this.#from.port || host !== this.#from.host) this.#from = { host, port };
    return this.#from;
  }

  #remember(from: Endpoint, block: Buffer): void {
    const control = this.#answerFrom(block);
    const key = keyOf(from);
    const known = this.#clients.get(key);
    if (known !== undefined) {
      if (known.control.equals(control)) return;
      this.#clients.delete(key);
    } else if (this.#clients.size >= CLIENTS) {
      for (const oldest of this.#clients.keys()) {
        this.#clients.delete(oldest);
        break;
      }
    }
    const size = this.#family === 6 ? 28 : 16;
    this.#clients.set(key, { name: Buffer.from(block.subarray(NAME, NAME + size)), control });
  }

  /** Control data by which an answer leaves from where the datagram in the block has arrived. */
  #answerFrom(block: Buffer): Buffer {
    const end = CONTROL + Math.min(Number(block.readBigUInt64LE(40)), CONTROL_SIZE);
    const [level, type, size] = this.#family === 6 ? [LEVEL_IPV6, IPV6_PKTINFO, 20] : [LEVEL_IP, IP_PKTINFO, 12];
    for (let at = CONTROL; at + 16 + size <= end; ) {
      const len = Number(block.readBigUInt64LE(at));
      if (len < 16) break;
      if (block.readInt32LE(at + 8) === level && block.readInt32LE(at + 12) === type) {
        const words = Buffer.from(block.subarray(at, at + ((16 + size + 7) & ~7)));
        if (this.#family === 4) {
          // struct in_pktinfo: interface, address to answer from, address asked. The route chooses the interface.
          words.writeUInt32LE(0, 16);
          return words;
        }
        // struct in6_pktinfo: address, interface. A group cannot answer; only a link-local address wants the interface.
        if (words[16] === 0xff) return NOTHING;
        if (words[16] !== 0xfe || (words[17]! & 0xc0) !== 0x80) words.writeUInt32LE(0, 32);
        return words;
      }
      at += (len + 7) & ~7;
    }
    return NOTHING;
  }

  #nameOf(to: Endpoint): Buffer {
    const name = Buffer.alloc(NAME_SIZE);
    return name.subarray(0, this.#libc.nameTo(name, 0, to.host, to.port));
  }
}

const NOTHING: Buffer = Buffer.alloc(0);

function keyOf({ host, port }: Endpoint): string {
  return `${host} ${port}`;
}
