/**
 * TCP (and UNIX stream) connections of the host, on Node's sockets.
 *
 * Reading. All sockets read into one buffer (`owned-socket`), and `onData`'s bytes are valid during the call only. An
 * accepted socket's connection is moved to a socket of ours that reads so (`accepted-handle`). A socket is read `READ`
 * bytes at a time. After a read that was full, and that did not make the flow pause, it is read `MOST_READ` at a time:
 * each read of a stream at full speed wakes its sender and lets it fill the kernel's buffer again, which costs more
 * than the bytes. A flow may so get that much more than it has room for, so only a few sockets are read that way at a
 * time. A flow may want less (`readMost`): then it gets a beginning of the shared buffer.
 *
 * A read that brought much is followed by one that lands: libuv reads the first few bytes, which tells that there are
 * some, and a call of our own reads the others to where the flow keeps them (`HostTcpEvents.landing`), so that they are
 * not copied from the shared buffer to there. This needs the C library.
 *
 * Writing. The kernel is asked past Node (`send-past`), and takes all bytes nearly always. What it does not take, or
 * all bytes where there is no C library, Node gets as a view of the caller's slab. If they wait in Node
 * (`writableLength`), the slab is pinned until that write's callback. Until then there is a backlog, and further bytes
 * are copied, so a socket pins at most one slab.
 *
 * Payload in a guest's memory (`Slab.elsewhere`) is handed to the kernel from there, by a call of our own on the
 * socket's descriptor, unless Node has bytes in hand that have to go first. Bytes that the kernel does not take are
 * written like any others.
 *
 * Ending. Node asks for the shutdown when all bytes are out. While the shutdown is under way, for a turn, libuv refuses
 * to reset, so a reset then follows it. Before that, a reset drops the bytes that wait.
 *
 * Breaking. When bytes and a RST arrive together, libuv reads the bytes and takes the hang-up behind them for an
 * orderly end, without reading the pending error. A connection that was reset has no peer any more, which tells the two
 * apart as long as we have not ended our direction (a connection that both sides have ended has no peer either).
 *
 * Each flow costs this object and the write callback only.
 *
 * Nagle's algorithm is switched off by the first write that it could delay, so connections that write once and little
 * skip it.
 */
import type net from "node:net";
import { BUFFER_COST } from "../core/cost.ts";
import { type Endpoint, type HostTcp, type HostTcpEvents, MOST_READ, type UnixEndpoint } from "../core/host-net.ts";
import type { Elsewhere, Slab } from "../core/link.ts";
import { takeHandle } from "./accepted-handle.ts";
import type { Dialled, Dialling } from "./dialling.ts";
import { begun, KEEPALIVE_MS, type Lasting, over } from "./keepalive.ts";
import { isFull } from "./libc.ts";
import {
  abort,
  idleSocket,
  inLine,
  keepIdle,
  LARGE,
  LEAST,
  OwnedSocket,
  owned,
  READ,
  readingSocket,
  readView,
  SHARED,
  type SocketOwner,
} from "./owned-socket.ts";
import { descriptorOf, readyDescriptor } from "./send-past.ts";
import { streamLibc } from "./stream-libc.ts";

/** After a read of this many bytes, the next one lands in the flow's own memory. */
const LANDS = 65_536;
/** How many sockets of a process may be read `MOST_READ` at a time. */
const MOST_LARGE = 16;
let large = 0;
/**
 * A first write of up to this many bytes fits one segment on any path (RFC 9293 section 3.7.1), so Nagle does not delay
 * it.
 */
export const ONE_SEGMENT = 536;

/** Takes the place of a connection's events once it is over. */
export const NOBODY: HostTcpEvents = { onConnect() {}, onData() {}, onEnd() {}, onDrain() {}, onClose() {} };

/** The range of a single write. */
const ONE_AT = new Int32Array(1);
const ONE_LEN = new Int32Array(1);

function viewOf({ bytes }: Slab, at: number, len: number): Buffer {
  return Buffer.from(bytes.buffer as ArrayBuffer, bytes.byteOffset + at, len);
}

export class NodeTcp implements HostTcp, Lasting, SocketOwner, Dialled {
  readonly #socket: OwnedSocket;
  readonly #unix: boolean;
  #events: HostTcpEvents;
  #dialling: Dialling | null = null;
  #closed = false;
  /** Writes begun, writes done, and the first of those that had to wait since the backlog was last empty. */
  #asked = 0;
  #done = 0;
  #firstWaiting = 0;
  #waiting = false;
  #nagle = true;
  #wrote = false;
  /** The backlog at the last `onDrain`. */
  #told = 0;
  #pinned: Slab | null = null;
  #streams = false;
  #paused = true;
  /** Bytes that were read before the connection became ours, and have not been handed on yet. */
  #head: Buffer | null = null;
  /** Whether the last read was full. */
  #full = false;
  /** Whether the next read is to land in the flow's memory. */
  #lands = false;
  #endTold = false;
  readonly #onWritten: (error?: Error | null) => void = (error) => {
    this.#done++;
    // An error closes the socket, and `close` reports it.
    if (this.#waiting && !this.#closed && (error === null || error === undefined)) this.#written();
  };

  /**
   * `accepted` is a connection; null makes a socket to `dial`. A connection is moved to a socket of ours, if Node lets
   * us and it is not one already. Bytes that have been read on it are handed on first.
   */
  constructor(events: HostTcpEvents, accepted: net.Socket | null, unix: boolean) {
    this.#events = events;
    this.#unix = unix;
    let socket: OwnedSocket;
    if (accepted === null) {
      socket = unix ? readingSocket(null) : idleSocket();
    } else if (accepted instanceof OwnedSocket) {
      socket = accepted;
    } else {
      accepted.pause();
      if (accepted.readableLength > 0) this.#head = accepted.read() as Buffer;
      const handle = takeHandle(accepted);
      if (handle !== null) socket = readingSocket(handle);
      else {
        socket = owned(accepted);
      }
    }
    this.#socket = socket;
    socket.owner = this;
    if (accepted !== null && !unix) {
      inLine(socket);
      begun(this);
    }
  }

  /**
   * Takes over a TCP connection from `DirectTcp`. `ended`: the far end's FIN has been reported, and is not reported
   * again.
   */
  static over(events: HostTcpEvents, handle: object, ended: boolean): NodeTcp {
    const tcp = new NodeTcp(events, readingSocket(handle), false);
    tcp.#endTold = ended;
    return tcp;
  }

  /** Begins to connect, watched by `dialling`. `from` is the local address; null leaves it to the host. */
  dial(to: Endpoint | UnixEndpoint, from: string | null, dialling: Dialling): void {
    const socket = this.#socket;
    this.#dialling = dialling;
    dialling.add(this);
    if ("path" in to) socket.connect({ path: to.path });
    else if (from === null) socket.connect({ host: to.host, port: to.port, autoSelectFamily: false });
    else socket.connect({ host: to.host, port: to.port, autoSelectFamily: false, localAddress: from });
    // A reused socket counts as destroyed until it connects, and from Node 26 on `pause` does nothing before.
    socket.pause();
  }

  /** The last read was full, the socket has not been paused since, and few sockets are read so. */
  get streams(): boolean {
    return this.#streams;
  }

  /** The buffer for the next read: as much as the flow wants and as fits the socket. */
  readBuffer(): Uint8Array {
    if (this.#lands) return LEAST;
    const most = this.#streams ? LARGE : SHARED;
    return readView(this.#events.readMost?.(this.#full) ?? most.length, most);
  }

  /** Each write that waits costs an object and a buffer, however few bytes it has. */
  get backlog(): number {
    if (this.#closed) return 0;
    const bytes = this.#socket.writableLength;
    return this.#waiting ? bytes + BUFFER_COST * (this.#asked - this.#done) : bytes;
  }

  get local(): Endpoint | null {
    if (this.#closed) return null;
    const { localAddress, localPort } = this.#socket;
    return localAddress === undefined || localPort === undefined ? null : { host: localAddress, port: localPort };
  }

  get takesElsewhere(): boolean {
    return this.#descriptor() >= 0;
  }

  write(slab: Slab, at: number, len: number): void {
    const socket = this.#socket;
    if (this.#closed || socket.writableEnded || len === 0) return;
    const { elsewhere } = slab;
    if (elsewhere !== undefined && elsewhere !== null) {
      ONE_AT[0] = at;
      ONE_LEN[0] = len;
      const taken = this.#sendFrom(elsewhere, ONE_AT, ONE_LEN, 1);
      if (taken === len) return;
      at += taken;
      len -= taken;
      elsewhere.fill(at, len);
    } else {
      const taken = this.#sendPast(slab, at, len);
      if (taken === len) return;
      at += taken;
      len -= taken;
    }
    const copied = this.#copies(slab);
    this.#hand(slab, at, len, copied);
    this.#handed(slab, copied);
  }

  writeMany(slab: Slab, at: Int32Array, len: Int32Array, count: number): void {
    const socket = this.#socket;
    if (this.#closed || socket.writableEnded) return;
    const { elsewhere } = slab;
    let taken = 0;
    if (elsewhere !== undefined && elsewhere !== null) taken = this.#sendFrom(elsewhere, at, len, count);
    else {
      for (let i = 0, whole = true; i < count && whole; i++) {
        const sent = this.#sendPast(slab, at[i]!, len[i]!);
        whole = sent === len[i]!;
        taken += sent;
      }
    }
    let first = 0;
    while (first < count && taken >= len[first]!) taken -= len[first++]!;
    if (first === count) return;
    const copied = this.#copies(slab);
    socket.cork();
    for (let i = first; i < count; i++) {
      const from = at[i]! + taken;
      const size = len[i]! - taken;
      taken = 0;
      elsewhere?.fill(from, size);
      this.#hand(slab, from, size, copied);
    }
    socket.uncork();
    this.#handed(slab, copied);
  }

  /**
   * The socket's descriptor if it takes bytes now without Node: it is open, and no earlier bytes wait. Otherwise -1.
   */
  #descriptor(): number {
    return this.#closed ? -1 : readyDescriptor(this.#socket);
  }

  /** Has the kernel take bytes past Node. Returns how many it took; all of them if the connection is broken. */
  #sendPast(slab: Slab, at: number, len: number): number {
    const c = streamLibc();
    const fd = c === null ? -1 : this.#descriptor();
    if (fd < 0) return 0;
    if (this.#wrote || len > ONE_SEGMENT) this.#prompt();
    this.#wrote = true;
    const taken = c!.send(fd, viewOf(slab, at, len));
    if (taken >= 0) return taken;
    const code = c!.code();
    if (isFull(code)) return 0;
    // The call has taken the error out of the socket, so Node would not find it any more.
    this.#socket.destroy(Object.assign(new Error(`send ${code}`), { code }));
    return len;
  }

  /** Has the kernel take these ranges from where they stand. Returns how many bytes it took. */
  #sendFrom(elsewhere: Elsewhere, at: Int32Array, len: Int32Array, count: number): number {
    const fd = this.#descriptor();
    if (fd < 0) return 0;
    this.#prompt();
    return elsewhere.send(fd, at, len, count);
  }

  /** Whether the bytes have to be copied, since the slab is overwritten before the kernel takes them. */
  #copies(slab: Slab): boolean {
    return this.#waiting || slab.scarce || this.#socket.connecting;
  }

  #hand(slab: Slab, at: number, len: number, copied: boolean): void {
    const view = viewOf(slab, at, len);
    this.#asked++;
    if (this.#wrote || len > ONE_SEGMENT) this.#prompt();
    this.#wrote = true;
    this.#socket.write(copied ? Buffer.from(view) : view, this.#onWritten);
  }

  /** Called after a write: if the kernel has not taken all bytes, notes which write to wait for, and pins the slab. */
  #handed(slab: Slab, copied: boolean): void {
    if (this.#waiting || this.#socket.writableLength === 0) return;
    this.#waiting = true;
    this.#firstWaiting = this.#asked;
    if (copied) return;
    slab.pin();
    this.#pinned = slab;
  }

  end(): void {
    if (!this.#closed && !this.#socket.writableEnded) this.#socket.end();
  }

  pause(): void {
    this.#stream(false);
    this.#paused = true;
    this.#full = false;
    if (!this.#closed) this.#socket.pause();
  }

  resume(): void {
    if (this.#closed) return;
    this.#paused = false;
    if (this.#head === null) this.#socket.resume();
    else process.nextTick(() => this.#beginWithHead());
  }

  #beginWithHead(): void {
    const head = this.#head;
    if (head === null || this.#paused || this.#closed) return;
    this.#head = null;
    this.#events.onData(head, 0, head.length);
    if (!this.#paused && !this.#closed) this.#socket.resume();
  }

  reset(): void {
    if (this.#closed) return;
    this.#over();
    const socket = this.#socket;
    const ending = socket.writableEnded && !socket.writableFinished && socket.writableLength === 0;
    if (ending && !socket.connecting) socket.once("finish", () => abort(socket, this.#unix));
    else abort(socket, this.#unix);
  }

  /** The far end has accepted the connection. */
  connected(): void {
    if (this.#closed) return;
    this.#dialled();
    if (!this.#unix) {
      inLine(this.#socket);
      begun(this);
    }
    this.#events.onConnect();
  }

  received(bytes: Uint8Array, len: number): void {
    this.#full = len >= bytes.length;
    if (this.#lands && this.#full && this.#land(bytes, len)) return;
    this.#lands = len >= LANDS && this.#events.landing !== undefined && streamLibc() !== null;
    this.#stream(len >= READ);
    this.#events.onData(bytes, 0, len);
  }

  /** Reads the bytes behind the first `len` into the flow's memory. False where the flow has none for them. */
  #land(bytes: Uint8Array, len: number): boolean {
    const events = this.#events;
    const c = streamLibc()!;
    const fd = descriptorOf(this.#socket);
    if (fd < 0) return false;
    const landing = events.landing?.(bytes, 0, len, this.#streams ? MOST_READ : READ) ?? null;
    if (landing === null) return false;
    const got = c.receiveInto(fd, landing);
    const code = got < 0 ? c.code() : null;
    const all = len + Math.max(got, 0);
    this.#full = got === landing.len;
    this.#lands = all >= LANDS;
    this.#stream(all >= READ);
    events.landed!(Math.max(got, 0));
    // This call has taken the error, so libuv would see an orderly end.
    if (code !== null && code !== "EAGAIN" && code !== "EINTR" && !this.#closed) {
      this.#socket.destroy();
      this.closed(code);
    }
    return true;
  }

  ended(): void {
    const socket = this.#socket;
    if (!this.#closed && !this.#unix && !socket.writableEnded && socket.remoteAddress === undefined) {
      socket.destroy();
      this.closed("ECONNRESET");
    } else if (!this.#endTold) this.#events.onEnd();
  }

  keepAlive(): void {
    this.#socket.setKeepAlive(true, KEEPALIVE_MS);
  }

  timedOut(): void {
    const events = this.#events;
    this.#over();
    this.#socket.destroy();
    events.onClose("ETIMEDOUT");
  }

  closed(code: string | null): void {
    if (this.#closed) return;
    if (code === "EMFILE" || code === "ENFILE") this.#dialling?.starved(code);
    const events = this.#events;
    this.#over();
    if (code === null && !this.#unix) keepIdle(this.#socket);
    events.onClose(code);
  }

  #stream(full: boolean): void {
    if (full === this.#streams || (full && (large >= MOST_LARGE || this.#closed))) return;
    this.#streams = full;
    large += full ? 1 : -1;
  }

  #prompt(): void {
    if (this.#nagle) this.#socket.setNoDelay(true);
    this.#nagle = false;
  }

  #dialled(): void {
    this.#dialling?.remove(this);
    this.#dialling = null;
  }

  #written(): void {
    // Callbacks of writes that the kernel took at once may come when a later write waits already.
    if (this.#done < this.#firstWaiting) return;
    if (this.#done === this.#firstWaiting) {
      this.#unpin();
      this.#told = -1;
    }
    const left = this.#socket.writableLength;
    if (left === 0) this.#waiting = false;
    else if (left === this.#told) return; // Writes that went out together are called back one by one.
    this.#told = left;
    this.#events.onDrain();
  }

  #unpin(): void {
    const slab = this.#pinned;
    this.#pinned = null;
    slab?.unpin();
  }

  /** No callback follows. Once the socket closes, the bytes of a write that is under way are not read any more. */
  #over(): void {
    this.#closed = true;
    over(this);
    this.#head = null;
    this.#events = NOBODY;
    this.#stream(false);
    this.#dialled();
    this.#unpin();
  }
}
