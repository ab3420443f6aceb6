/**
 * A forward's UDP socket at all addresses of the host (0.0.0.0 or ::), which answers each client from the address that
 * the client has sent to (Linux, through koffi). Node neither tells that address nor can choose one: a host with
 * several addresses answers from the one its route prefers, and a client that has connected its socket drops that.
 *
 * With IP_PKTINFO the kernel tells with each datagram where it arrived (ip(7), ipv6(7)), and accepts the same data with
 * an answer. So the sender object that is handed on (`Client`) has both addresses as the kernel wrote them, and an
 * answer is sent to that object: nothing is looked up, and a link-local client keeps its interface. Clients that were
 * heard lately are found by the bytes of their address and control data, so that no object is made for each datagram.
 */
import { createRequire } from "node:module";
import { getSystemErrorName } from "node:util";
import type { Endpoint, HostListener, HostUdp, HostUdpEvents, UdpSender } from "../core/host-net.ts";
import { get32 } from "../wire/bytes.ts";
import { ipv4ToString } from "../wire/ipv4.ts";
import { ipv6ToString } from "../wire/ipv6.ts";
import { type Inbox, MESSAGES, READS, sharedInbox } from "./inbox.ts";
import { isFull, type Libc } from "./libc.ts";
import { type Readable, readableDescriptor } from "./readable.ts";

/** How many clients are remembered; a power of two. */
const REMEMBERED = 256;
const MSG_DONTWAIT = 0x40;
const LEVEL_IP = 0;
const LEVEL_IPV6 = 41;
const IP_PKTINFO = 8;
const IPV6_PKTINFO = 50;
const NAME_SIZE = 28;
const CONTROL_SIZE = 64;
const DATA_SIZE = 65_536;
const NOTHING: Buffer = Buffer.alloc(0);

/*
 * A block outside V8's heap, where nothing moves, for an answer: struct msghdr, struct iovec, a socket address, control data, data.
 */
const NAME_LENGTH = 8;
const CONTROL_LENGTH = 40;
const IOVEC = 56;
const DATA_LENGTH = IOVEC + 8;
const NAME = 72;
const CONTROL = 104;
const DATA = CONTROL + CONTROL_SIZE;

type CFunction = (...args: unknown[]) => number;

/** A client and the address of this host that it has sent to, both as the kernel wrote them. */
class Client implements UdpSender {
  readonly host: string;
  readonly port: number;
  readonly asked: string | undefined;
  /** The bytes by which the client's datagrams are recognised: its socket address and the control data behind it. */
  readonly #seen: Buffer;
  readonly #nameLength: number;
  /** The control data for an answer; empty if the client has sent to a group. */
  readonly #control: Buffer;

  constructor(
    host: string,
    port: number,
    asked: string | undefined,
    seen: Buffer,
    nameLength: number,
    control: Buffer,
  ) {
    this.host = host;
    this.port = port;
    this.asked = asked;
    this.#seen = seen;
    this.#nameLength = nameLength;
    this.#control = control;
  }

  static is(to: Endpoint): to is Client {
    return #seen in to;
  }

  /** Whether datagram `i` of the inbox is from this client, to the same address. */
  sent(inbox: Inbox, i: number): boolean {
    const seen = this.#seen;
    const nameLength = inbox.nameLength(i);
    const controlLength = inbox.controlLength(i);
    if (this.#nameLength !== nameLength || seen.length !== nameLength + controlLength) return false;
    const { table } = inbox;
    const name = inbox.nameAt(i);
    const control = inbox.controlAt(i) - nameLength;
    for (let k = 0; k < nameLength; k++) if (seen[k] !== table[name + k]) return false;
    for (let k = nameLength; k < seen.length; k++) if (seen[k] !== table[control + k]) return false;
    return true;
  }

  /** Writes the client's address and the control data for an answer into a block. */
  address(block: Buffer): void {
    this.#seen.copy(block, NAME, 0, this.#nameLength);
    block.writeUInt32LE(this.#nameLength, NAME_LENGTH);
    this.#control.copy(block, CONTROL);
    block.writeUInt32LE(this.#control.length, CONTROL_LENGTH);
  }
}

/** Calls `sendmsg` with its block. */
class Answers {
  readonly sent: Buffer;
  readonly #sendmsg: CFunction;
  readonly #getsockname: CFunction;
  readonly #errno: () => number;

  /** Throws if koffi cannot be loaded. */
  constructor() {
    const koffi = createRequire(import.meta.url)("koffi");
    const lib = koffi.load(null);
    this.#sendmsg = lib.func("int64_t sendmsg(int, const void *, int)");
    this.#getsockname = lib.func("int getsockname(int, void *, void *)");
    this.#errno = koffi.errno;
    const bytes = Buffer.allocUnsafeSlow(DATA + DATA_SIZE).fill(0);
    const base = BigInt(koffi.address(bytes));
    bytes.writeBigUInt64LE(base + BigInt(NAME), 0);
    bytes.writeBigUInt64LE(base + BigInt(IOVEC), 16);
    bytes.writeBigUInt64LE(1n, 24);
    bytes.writeBigUInt64LE(base + BigInt(CONTROL), 32);
    bytes.writeBigUInt64LE(base + BigInt(DATA), IOVEC);
    this.sent = bytes;
  }

  /**
   * Sends `len` bytes of `sent`, to the address and with the control data in the block. Null when the kernel took them.
   */
  send(fd: number, len: number): string | null {
    this.sent.writeUInt32LE(len, DATA_LENGTH);
    return Number(this.#sendmsg(fd, this.sent, MSG_DONTWAIT)) < 0 ? getSystemErrorName(-this.#errno()) : null;
  }

  /** The port that the kernel has chosen. */
  port(fd: number): number {
    const block = this.sent;
    block.writeUInt32LE(NAME_SIZE, CONTROL);
    this.#getsockname(fd, block.subarray(NAME), block.subarray(CONTROL));
    return block.readUInt16BE(NAME + 2);
  }
}

let answers: Answers | null = null;

/** Whether an address means all addresses of the host. */
export function isEveryAddress(host: string): boolean {
  return host === "0.0.0.0" || host === "::";
}

export class AddressedUdp implements HostUdp, HostListener {
  readonly address: Endpoint;
  readonly #libc: Libc;
  readonly #family: 4 | 6;
  readonly #events: HostUdpEvents;
  readonly #answers: Answers;
  readonly #inbox: Inbox;
  readonly #socket: Readable;
  /** Each client's place follows from its address and port; a client heard later takes the place of an earlier one. */
  readonly #clients: (Client | null)[] = new Array<Client | null>(REMEMBERED).fill(null);
  #ttl = -1;
  #closed = false;

  /** Throws the system's error (EADDRINUSE, EACCES). */
  constructor(libc: Libc, at: Endpoint, events: HostUdpEvents) {
    answers ??= new Answers();
    this.#answers = answers;
    this.#inbox = sharedInbox(libc);
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
    this.address = { host: at.host, port: answers.port(fd) };
    this.#socket = readableDescriptor(fd, () => this.#read());
  }

  /** If `to` came from `onDatagram`, the datagram leaves from the address that this client has sent to. */
  send(bytes: Uint8Array, at: number, len: number, to: Endpoint, ttl: number): void {
    if (this.#closed || to.port === 0) return;
    const { fd } = this.#socket;
    if (len > DATA_SIZE) return this.#events.onUdpLost?.(1);
    if (ttl !== this.#ttl) this.#libc.set(fd, this.#family, "hops", (this.#ttl = ttl));
    const block = this.#answers.sent;
    block.set(at === 0 && len === bytes.length ? bytes : bytes.subarray(at, at + len), DATA);
    if (Client.is(to)) to.address(block);
    else {
      block.writeUInt32LE(this.#libc.nameTo(block, NAME, to.host, to.port), NAME_LENGTH);
      block.writeUInt32LE(0, CONTROL_LENGTH);
    }
    let code = this.#answers.send(fd, len);
    // The host may have lost that address since.
    if (code === "EINVAL" || code === "EADDRNOTAVAIL") {
      block.writeUInt32LE(0, CONTROL_LENGTH);
      code = this.#answers.send(fd, len);
    }
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
    this.#clients.fill(null);
    this.#socket.close();
  }

  #read(): void {
    const inbox = this.#inbox;
    for (let reads = 0; reads < READS && !this.#closed; reads++) {
      const count = inbox.receive(this.#socket.fd, true);
      for (let i = 0; i < count && !this.#closed; i++)
        this.#events.onDatagram(inbox.bytes, inbox.at(i), inbox.length(i), this.#sender(inbox, i));
      if (count < MESSAGES) return;
    }
  }

  #sender(inbox: Inbox, i: number): Client {
    const { table } = inbox;
    const name = inbox.nameAt(i);
    // The place comes from the low bits of the port and of the address, wherever the family has them.
    const place =
      (table[name + 3]! ^ table[name + (this.#family === 6 ? 23 : 7)]! ^ table[name + 2]!) & (REMEMBERED - 1);
    const known = this.#clients[place]!;
    if (known?.sent(inbox, i)) return known;
    const client = this.#met(inbox, i);
    this.#clients[place] = client;
    return client;
  }

  #met(inbox: Inbox, i: number): Client {
    const { table } = inbox;
    const name = inbox.nameAt(i);
    const port = table.readUInt16BE(name + 2);
    const host = this.#family === 6 ? ipv6ToString(table, name + 8) : ipv4ToString(get32(table, name + 4));
    const nameLength = inbox.nameLength(i);
    const controlAt = inbox.controlAt(i);
    const controlEnd = controlAt + inbox.controlLength(i);
    const seen = Buffer.concat([table.subarray(name, name + nameLength), table.subarray(controlAt, controlEnd)]);
    const control = this.#answerFrom(table, controlAt, controlEnd);
    return new Client(host, port, this.#askedBy(control), seen, nameLength, control);
  }

  /**
   * Control data for an answer that leaves from the address where a datagram with the control data in `block` has
   * arrived.
   */
  #answerFrom(block: Buffer, begin: number, end: number): Buffer {
    const [level, type, size] = this.#family === 6 ? [LEVEL_IPV6, IPV6_PKTINFO, 20] : [LEVEL_IP, IP_PKTINFO, 12];
    for (let at = begin; at + 16 + size <= end; ) {
      const len = Number(block.readBigUInt64LE(at));
      if (len < 16) break;
      if (block.readInt32LE(at + 8) === level && block.readInt32LE(at + 12) === type) {
        const words = Buffer.from(block.subarray(at, at + ((16 + size + 7) & ~7)));
        if (this.#family === 4) {
          // struct in_pktinfo: interface, address to answer from, address that was sent to. The route chooses the
          // interface.
          words.writeUInt32LE(0, 16);
          return words;
        }
        // struct in6_pktinfo: address, interface. A group cannot be a source; only a link-local address needs the
        // interface.
        if (words[16] === 0xff) return NOTHING;
        if (words[16] !== 0xfe || (words[17]! & 0xc0) !== 0x80) words.writeUInt32LE(0, 32);
        return words;
      }
      at += (len + 7) & ~7;
    }
    return NOTHING;
  }

  /** The address that answers with this control data leave from. */
  #askedBy(control: Buffer): string | undefined {
    if (control.length === 0) return undefined;
    return this.#family === 6 ? ipv6ToString(control, 16) : ipv4ToString(get32(control, 20));
  }
}
