/**
 * A UDP socket that is connected to one DNS server: the kernel drops datagrams from others, and reports a refusal at
 * once (ICMP). Its port is a random one that the kernel chooses.
 *
 * With the C library (`libc.ts`) an answer is read by one call, into the buffer that all sockets of the process share.
 * Node asks once more for each answer, and makes 64 KiB, an object and an event of it: that was half of the processor
 * time for a query.
 */
import { createSocket, type Socket } from "node:dgram";
import type { Endpoint } from "../core/address.ts";
import { MESSAGES, READS, sharedInbox } from "./inbox.ts";
import { isFull, type Libc, libc } from "./libc.ts";
import { type Readable, readableDescriptor, tellsReadable } from "./readable.ts";

/** The user of a socket. None of these is called from within a call of the socket's. */
export interface ServerEvents {
  /** The socket can send from now on. Not called if it could from the beginning. */
  connected(): void;
  /** A datagram of the server's; the bytes belong to the callee. */
  received(message: Uint8Array): void;
  /** Somebody else's datagram, which came between bind and connect. */
  strange(): void;
  /** The server refuses, or cannot be reached. */
  failed(): void;
}

export interface ServerSocket {
  /** Whether `send` may be called. */
  readonly ready: boolean;
  send(message: Uint8Array): void;
  close(): void;
}

export function serverSocket(to: Endpoint, events: ServerEvents): ServerSocket {
  // Only Node knows what the scope of a link-local address means.
  const c = to.host.includes("%") || !tellsReadable() ? null : libc();
  return c === null ? new NodeServerSocket(to, events) : new LibcServerSocket(c, to, events);
}

const NAME_SIZE = 28;
const FAMILY_END = 2;
const V4_END = 8;
/** IPv6 has a flow label between port and address. */
const V6_ADDRESS = 8;
const V6_END = 24;

class LibcServerSocket implements ServerSocket {
  readonly ready = true;
  readonly #libc: Libc;
  readonly #events: ServerEvents;
  readonly #socket: Readable | null;
  readonly #v6: boolean;
  /** The server's socket address as the kernel has it. */
  readonly #server: Buffer = Buffer.alloc(NAME_SIZE);
  #closed = false;

  constructor(c: Libc, to: Endpoint, events: ServerEvents) {
    this.#libc = c;
    this.#events = events;
    this.#v6 = to.host.includes(":");
    this.#socket = this.#open(to);
    if (this.#socket === null) this.#fail();
  }

  #open(to: Endpoint): Readable | null {
    const c = this.#libc;
    let fd: number;
    try {
      fd = c.socket(this.#v6 ? 6 : 4, 0);
    } catch {
      return null;
    }
    if (c.connect(fd, to.host, to.port, this.#server) === null) return readableDescriptor(fd, () => this.#read());
    c.close(fd);
    return null;
  }

  send(message: Uint8Array): void {
    if (this.#closed || this.#socket === null) return;
    const code = this.#libc.sendConnected(this.#socket.fd, message);
    // A query for which there is no room is lost, as it may be on its way.
    if (code !== null && !isFull(code)) this.#fail();
  }

  close(): void {
    this.#closed = true;
    this.#socket?.close();
  }

  #read(): void {
    const inbox = sharedInbox(this.#libc);
    const { fd } = this.#socket!;
    for (let reads = 0; reads < READS && !this.#closed; reads++) {
      const count = inbox.receive(fd);
      if (count < 0) {
        if (!isFull(this.#libc.code())) this.#events.failed();
        return;
      }
      for (let i = 0; i < count && !this.#closed; i++) {
        if (!this.#isServer(inbox.table, inbox.nameAt(i))) {
          this.#events.strange();
          continue;
        }
        const message = new Uint8Array(inbox.length(i));
        message.set(inbox.bytes.subarray(inbox.at(i), inbox.at(i) + message.length));
        this.#events.received(message);
      }
      if (count < MESSAGES) return;
    }
  }

  #isServer(table: Buffer, at: number): boolean {
    const server = this.#server;
    const end = this.#v6 ? V6_END : V4_END;
    for (let k = FAMILY_END; k < end; k++)
      if (table[at + k] !== server[k] && (!this.#v6 || k < 4 || k >= V6_ADDRESS)) return false;
    return true;
  }

  #fail(): void {
    process.nextTick(() => this.#closed || this.#events.failed());
  }
}

class NodeServerSocket implements ServerSocket {
  readonly #socket: Socket;
  readonly #onSent: (error: Error | null) => void;
  /** The server's address as the kernel writes it; null until the socket is connected. */
  #server: string | null = null;
  #closed = false;

  constructor(to: Endpoint, events: ServerEvents) {
    const family = to.host.includes(":") ? 6 : 4;
    // Addresses are literals, so nothing is looked up and nothing waits in the thread pool.
    const lookup = (host: string, _options: unknown, done: (error: null, address: string, family: number) => void) =>
      done(null, host, family);
    this.#socket = createSocket({ type: family === 6 ? "udp6" : "udp4", lookup: lookup as never });
    this.#onSent = (error) => {
      if (error !== null) events.failed();
    };
    this.#socket.on("error", () => events.failed());
    this.#socket.on("message", (bytes, from) => {
      if (from.port !== to.port || from.address !== this.#server) return events.strange();
      events.received(new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.length));
    });
    this.#socket.connect(to.port, to.host, ((error?: Error) => {
      if (this.#closed) return;
      if (error !== undefined && error !== null) return events.failed();
      this.#server = this.#socket.remoteAddress().address;
      events.connected();
    }) as () => void);
  }

  get ready(): boolean {
    return this.#server !== null;
  }

  send(message: Uint8Array): void {
    this.#socket.send(message, this.#onSent);
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#socket.close();
  }
}
