/**
 * A TCP connection that the C library reads and writes (Linux, `stream-libc.ts`), without a socket of Node's.
 *
 * Theory of operation. A `net.Socket` is two streams with their states, events and ticks. For a connection that carries
 * one request and its answer they cost more than the kernel does. Here such a connection is a descriptor in one of
 * libuv's handles, which tells when the descriptor can be read (as in `readable.ts`: with an empty buffer libuv reads
 * nothing and calls back). `send` and `recv` work on the descriptor.
 *
 * Nothing here can wait for room in the kernel, because a handle with an empty buffer does not tell of it. So when the
 * kernel does not take a write, or a read brings much, the handle becomes a socket of Node's after all (`NodeTcp`).
 * That has everything a long transfer needs, and keeps the connection until its end.
 *
 * Connections to the loopback are dialled here, since they are established when `connect` returns; others by `NodeTcp`.
 * Connections that a listener has accepted come here, too, before Node has made a socket of them (`takeClients`).
 *
 * Assumptions about Node, which documents none of them (and see `readable.ts`): a `net.Socket` that has been asked to
 * connect has its `_handle`, whose constructor makes others; `handle` is an option of `net.Socket`; and a listening
 * server's handle passes each connection's handle to its `onconnection`.
 * `test/platform/direct-tcp.test.ts` proves them for the Node it runs on. If the handle lacks a function, all
 * connections are `NodeTcp`'s.
 */
import net from "node:net";
import type { Endpoint, HostTcp, HostTcpEvents } from "../core/host-net.ts";
import type { Slab } from "../core/link.ts";
import { begun, KEEPALIVE_MS, type Lasting, over } from "./keepalive.ts";
import { isFull } from "./libc.ts";
import { readView, SHARED } from "./owned-socket.ts";
import type { StreamLibc } from "./stream-libc.ts";
import { NOBODY, NodeTcp, ONE_SEGMENT } from "./tcp.ts";

/** A read of this many bytes belongs to a long transfer. */
const MUCH = 65_536;
/** Node's constant TCPConstants.SOCKET. */
const KIND = 0;

/** The parts of Node's TCP handles that we expect. */
export interface TcpHandle {
  readonly fd?: unknown;
  onread: ((this: TcpHandle) => void) | null;
  /** The connection that has the handle, for `onread`. */
  direct?: DirectTcp | null;
  open(fd: number): number;
  useUserBuffer(buffer: Uint8Array): void;
  readStart(): number;
  readStop(): number;
  getsockname(into: { address?: string; port?: number }): number;
  getpeername(into: { address?: string; port?: number }): number;
  close(): void;
}

type TcpClass = new (kind: number) => TcpHandle;

/** Kept for ever, because handles know buffers by their addresses only. */
const NO_BUFFER: Buffer = Buffer.allocUnsafeSlow(0);

function onReadable(this: TcpHandle): void {
  this.direct?.readable();
}

function onNothing(): void {}

/**
 * Established connections whose `onConnect` is still due: it is called once the call that dialled them has returned.
 */
const standing: DirectTcp[] = [];

function tellStanding(): void {
  for (let i = 0; i < standing.length; i++) standing[i]!.connected();
  standing.length = 0;
}

export class DirectTcp implements HostTcp, Lasting {
  readonly #c: StreamLibc;
  readonly #fd: number;
  readonly #handle: TcpHandle;
  #events: HostTcpEvents;
  /** The socket of Node's that has taken over; null before. */
  #node: NodeTcp | null = null;
  #closed = false;
  #reading = false;
  #full = false;
  /** Whether we have sent FIN, and whether the far end has. */
  #ours = false;
  #theirs = false;
  #wrote = false;
  #nagle = true;

  /** An established connection: `handle` has its descriptor `fd`. */
  constructor(c: StreamLibc, handle: TcpHandle, fd: number, events: HostTcpEvents) {
    this.#c = c;
    this.#fd = fd;
    this.#handle = handle;
    this.#events = events;
    handle.direct = this;
    handle.onread = onReadable;
    handle.useUserBuffer(NO_BUFFER);
    begun(this);
  }

  /** Has `onConnect` called once the caller has returned. */
  announce(): void {
    if (standing.push(this) === 1) process.nextTick(tellStanding);
  }

  connected(): void {
    if (!this.#closed) this.#events.onConnect();
  }

  /** As `NodeTcp.streams`. */
  get streams(): boolean {
    return this.#node?.streams ?? false;
  }

  get backlog(): number {
    return this.#node === null ? 0 : this.#node.backlog;
  }

  get local(): Endpoint | null {
    if (this.#node !== null) return this.#node.local;
    const name: { address?: string; port?: number } = {};
    if (this.#closed || this.#handle.getsockname(name) !== 0) return null;
    return { host: name.address!, port: name.port! };
  }

  get takesElsewhere(): boolean {
    return this.#node === null ? !this.#closed && !this.#ours : this.#node.takesElsewhere;
  }

  write(slab: Slab, at: number, len: number): void {
    if (this.#node !== null) return this.#node.write(slab, at, len);
    if (this.#closed || this.#ours || len === 0) return;
    // Payload in a guest's memory belongs to a long transfer.
    if ((slab.elsewhere ?? null) !== null) return this.#become().write(slab, at, len);
    if (this.#nagle && (this.#wrote || len > ONE_SEGMENT)) {
      this.#nagle = false;
      this.#c.noDelay(this.#fd);
    }
    this.#wrote = true;
    const { bytes } = slab;
    const taken = this.#c.send(this.#fd, Buffer.from(bytes.buffer as ArrayBuffer, bytes.byteOffset + at, len));
    if (taken === len) return;
    if (taken >= 0) return this.#become().write(slab, at + taken, len - taken);
    const code = this.#c.code();
    if (isFull(code)) return this.#become().write(slab, at, len);
    this.#failLater(code);
  }

  writeMany(slab: Slab, at: Int32Array, len: Int32Array, count: number): void {
    if (this.#node === null && (this.#closed || this.#ours)) return;
    (this.#node ?? this.#become()).writeMany(slab, at, len, count);
  }

  end(): void {
    if (this.#node !== null) return this.#node.end();
    if (this.#closed || this.#ours) return;
    this.#ours = true;
    this.#c.shutdown(this.#fd);
    if (this.#theirs) process.nextTick(() => this.#finish(null));
  }

  pause(): void {
    if (this.#node !== null) return this.#node.pause();
    this.#full = false;
    if (!this.#reading) return;
    this.#reading = false;
    this.#handle.readStop();
  }

  resume(): void {
    if (this.#node !== null) return this.#node.resume();
    if (this.#closed || this.#reading || this.#theirs) return;
    this.#reading = true;
    this.#handle.readStart();
  }

  reset(): void {
    if (this.#node !== null) return this.#node.reset();
    if (this.#closed) return;
    this.#c.breakOnClose(this.#fd);
    this.#over();
  }

  keepAlive(): void {
    this.#c.keepAlive(this.#fd, KEEPALIVE_MS / 1000);
  }

  /** Called when the descriptor can be read. */
  readable(): void {
    if (this.#closed || !this.#reading) return;
    const wanted = this.#events.readMost?.(this.#full);
    const into = wanted === undefined ? SHARED : readView(wanted, SHARED);
    const got = this.#c.receive(this.#fd, into);
    if (got > 0) {
      this.#full = got === into.length;
      this.#events.onData(into, 0, got);
      if (got >= MUCH && !this.#closed && this.#node === null) this.#become();
      return;
    }
    if (got < 0) {
      const code = this.#c.code();
      if (code !== "EAGAIN" && code !== "EINTR") this.#finish(code);
      return;
    }
    this.pause();
    this.#theirs = true;
    this.#events.onEnd();
    if (this.#ours && this.#node === null) this.#finish(null);
  }

  /** Hands the connection to a socket of Node's. */
  #become(): NodeTcp {
    over(this);
    const handle = this.#handle;
    handle.direct = null;
    const reading = this.#reading;
    if (reading) handle.readStop();
    const node = NodeTcp.over(this.#events, handle, this.#theirs);
    this.#node = node;
    this.#events = NOBODY;
    if (this.#ours) node.end();
    // If the far end has sent FIN already, the socket has to read it anew; `NodeTcp` does not report it again.
    if (reading || this.#theirs) node.resume();
    return node;
  }

  #failLater(code: string): void {
    process.nextTick(() => this.#finish(code));
  }

  /** `code` is null when both directions have ended in order. */
  #finish(code: string | null): void {
    if (this.#closed) return;
    const events = this.#events;
    this.#over();
    events.onClose(code);
  }

  #over(): void {
    this.#closed = true;
    this.#reading = false;
    this.#events = NOBODY;
    over(this);
    const handle = this.#handle;
    handle.direct = null;
    handle.onread = onNothing;
    handle.close();
  }
}

/** A connection that was refused, or could not be dialled: `onClose` follows with `code`. */
export class FailedTcp implements HostTcp {
  readonly backlog = 0;
  readonly local = null;
  #over = false;

  constructor(code: string, events: HostTcpEvents) {
    process.nextTick(() => {
      if (!this.#over) events.onClose(code);
    });
  }

  write(): void {}
  end(): void {}
  pause(): void {}
  resume(): void {}

  reset(): void {
    this.#over = true;
  }
}

/** Whether connections to `host` are established, or refused, when `connect` returns. */
export function isLoopback(host: string): boolean {
  return host.startsWith("127.") || host === "::1";
}

/** Dials a destination on this machine. Null where that needs a socket of Node's. */
export function dialDirectly(c: StreamLibc, to: Endpoint, events: HostTcpEvents): HostTcp | null {
  const Handle = tcpClass();
  if (Handle === null) return null;
  const fd = c.dial(to.host, to.port);
  if (fd < 0) return c.dialError === "ECONNREFUSED" ? new FailedTcp("ECONNREFUSED", events) : null;
  const handle = new Handle(KIND);
  if (handle.open(fd) !== 0) {
    handle.close();
    c.close(fd);
    return null;
  }
  const tcp = new DirectTcp(c, handle, fd, events);
  tcp.announce();
  return tcp;
}

/** A connection that a server has accepted, before anybody has taken it. */
export interface Client {
  readonly remote: Endpoint;
  take(events: HostTcpEvents): HostTcp;
  /** Breaks the connection with a RST. */
  refuse(): void;
}

/** The part of a server's handle that we expect. */
interface ServerHandle {
  onconnection?: ((status: number, client?: object) => void) | null;
}

/**
 * Has the connections that a listening server accepts come to `onClient`, without a socket of Node's. Connections that
 * are not as expected, and all of them if this Node does not let us, come as the server's events as before.
 */
export function takeClients(c: StreamLibc, server: net.Server, onClient: (client: Client) => void): void {
  const handle = (server as unknown as { _handle?: ServerHandle | null })._handle;
  const inner = handle?.onconnection;
  if (!handle || typeof inner !== "function") return;
  handle.onconnection = function (status, client) {
    if (status !== 0 || client === undefined || !isTcp(client) || typeof client.fd !== "number" || client.fd < 0)
      return inner.call(this, status, client);
    const { fd } = client;
    const name: { address?: string; port?: number } = {};
    // A client that has gone already has no address.
    if (client.getpeername(name) !== 0) return client.close();
    onClient({
      remote: { host: name.address!, port: name.port! },
      take: (events) => new DirectTcp(c, client, fd, events),
      refuse() {
        c.breakOnClose(fd);
        client.close();
      },
    });
  };
}

/** Undefined until `tcpClass` has looked. */
let found: TcpClass | null | undefined;

/** The class of Node's TCP handles; null if it is not as we expect. */
export function tcpClass(): TcpClass | null {
  found ??= findTcpClass();
  return found;
}

function findTcpClass(): TcpClass | null {
  const socket = new net.Socket();
  socket.on("error", () => {});
  // The socket is destroyed before it connects, because Node connects in the next tick.
  socket.connect({ host: "127.0.0.1", port: 1, autoSelectFamily: false });
  const handle = (socket as unknown as { _handle?: object | null })._handle;
  socket.destroy();
  return handle && isTcp(handle) ? ((handle as object).constructor as TcpClass) : null;
}

const FUNCTIONS = ["open", "useUserBuffer", "readStart", "readStop", "getsockname", "getpeername", "close"] as const;

function isTcp(handle: object): handle is TcpHandle {
  return FUNCTIONS.every((name) => typeof (handle as Record<string, unknown>)[name] === "function");
}
