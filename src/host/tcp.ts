/**
 * TCP (and UNIX stream) connections of the host, on Node's sockets.
 *
 * Reading. All sockets read into one buffer: libuv reads and calls back in one go, and `onData`'s bytes are valid
 * during the call only. (On Windows a read is posted with its buffer beforehand, so each socket has its own.) An
 * accepted socket's connection is moved to a socket of ours that reads so (`accepted-handle`). A socket is read `READ`
 * bytes at a time. After a read that was full, and that did not make the flow pause, it is read `LARGE_READ` at a time:
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
 * Each flow costs this object and the write callback only: the listeners are shared. A socket whose connection has
 * ended in order dials the next one, which Node's documentation allows after 'close', because a new `net.Socket` is
 * expensive.
 *
 * Nagle's algorithm is switched off by the first write that it could delay, so connections that write once and little
 * skip it.
 */
import net from "node:net";
import { BUFFER_COST } from "../core/cost.ts";
import type { Endpoint, HostTcp, HostTcpEvents, UnixEndpoint } from "../core/host-net.ts";
import type { Elsewhere, Slab } from "../core/link.ts";
import { takeHandle } from "./accepted-handle.ts";
import { begun, KEEPALIVE_MS, type Lasting, over } from "./keepalive.ts";
import { isFull, libc } from "./libc.ts";
import { descriptorOf, readyDescriptor } from "./send-past.ts";
import { streamLibc } from "./stream-libc.ts";

const READ = 262_144;
const LARGE_READ = 1_048_576;
/** After a read of this many bytes, the next one lands in the flow's own memory. */
const LANDS = 65_536;
/** Private read buffers are smaller, since there may be thousands. */
const OWN_READ = 65_536;
const PRIVATE: boolean = process.platform === "win32";
/** Takes no memory while nothing is read into it. */
const LARGE: Uint8Array = new Uint8Array(PRIVATE ? 0 : LARGE_READ);
export const SHARED: Uint8Array = LARGE.subarray(0, READ);
/** Beginnings of the shared buffer: 512 bytes, and each twice as long as the one before. */
const LEAST_READ = 512;
const VIEWS: readonly Uint8Array[] = Array.from({ length: 12 }, (_, i) => LARGE.subarray(0, LEAST_READ << i));
/** How many sockets of a process may be read `LARGE_READ` at a time. */
const MOST_LARGE = 16;
let large = 0;
/** How many closed sockets a process keeps for the next dials; none where each has a read buffer of its own. */
const MOST_IDLE = PRIVATE ? 0 : 64;
/**
 * A first write of up to this many bytes fits one segment on any path (RFC 9293 section 3.7.1), so Nagle does not delay
 * it.
 */
export const ONE_SEGMENT = 536;

/** Takes the place of a connection's events once it is over. */
export const NOBODY: HostTcpEvents = { onConnect() {}, onData() {}, onEnd() {}, onDrain() {}, onClose() {} };

/** Node's socket options, including two that its types leave out. */
interface SocketOptions extends net.SocketConstructorOpts {
  onread?: net.OnReadOpts;
  handle?: object;
  /** With `handle`: read nothing before `resume()`. */
  pauseOnCreate?: boolean;
}

/** The part of a buffer that a flow wants: all of `most`, or a beginning of it. */
export function readView(wanted: number, most: Uint8Array): Uint8Array {
  if (wanted >= most.length) return most;
  let i = 0;
  while (LEAST_READ << (i + 1) <= wanted) i++;
  return VIEWS[i]!;
}

/** The range of a single write. */
const ONE_AT = new Int32Array(1);
const ONE_LEN = new Int32Array(1);

/** A socket that knows its connection, so that all sockets can share their listeners; null while it is idle. */
class OwnedSocket extends net.Socket {
  owner: NodeTcp | null = null;
}

function onConnect(this: OwnedSocket): void {
  this.owner?.connected();
}
function onEnd(this: OwnedSocket): void {
  this.owner?.ended();
}
function onError(this: OwnedSocket, error: NodeJS.ErrnoException): void {
  this.owner?.closed(error.code ?? "EIO");
}
function onClose(this: OwnedSocket): void {
  this.owner?.closed(null);
}

function onChunk(this: OwnedSocket, chunk: Uint8Array): void {
  this.owner?.received(chunk, chunk.length);
}

function listen(socket: OwnedSocket): OwnedSocket {
  socket.on("connect", onConnect);
  socket.on("end", onEnd);
  socket.on("error", onError);
  socket.on("close", onClose);
  return socket;
}

/**
 * A socket that reads as ours do: into a buffer, and not before `resume()`. `handle`: an existing connection's, or
 * null.
 */
function readingSocket(handle: object | null): OwnedSocket {
  let socket: OwnedSocket | null = null;
  const options: SocketOptions = {
    allowHalfOpen: true,
    onread: {
      // Node asks for the buffer when there is a connection, and after each read.
      buffer: PRIVATE ? new Uint8Array(OWN_READ) : () => socket?.owner?.readBuffer() ?? SHARED,
      callback: (n, bytes) => {
        socket!.owner?.received(bytes, n);
        return true;
      },
    },
  };
  if (handle !== null) {
    options.handle = handle;
    options.pauseOnCreate = true;
  }
  socket = listen(new OwnedSocket(options));
  return socket;
}

/**
 * Urgent bytes stay in their place among the others (RFC 6093 section 3) where the C library can be had; otherwise they
 * are lost. Sockets that a server accepts inherit this from the server.
 */
export function inLine(socket: net.Socket | net.Server): void {
  const fd = (socket as unknown as { _handle?: { fd?: number } | null })._handle?.fd;
  if (typeof fd === "number" && fd >= 0) libc()?.urgentInLine(fd);
}

function viewOf({ bytes }: Slab, at: number, len: number): Buffer {
  return Buffer.from(bytes.buffer as ArrayBuffer, bytes.byteOffset + at, len);
}

/** Sockets that have been closed in order and may connect again. */
const idle: OwnedSocket[] = [];

/** Keeps a closed socket, unless something of its connection is left in it. */
function keep(socket: net.Socket): void {
  if (!(socket instanceof OwnedSocket) || idle.length >= MOST_IDLE) return;
  if (!socket.readableEnded || !socket.writableFinished) return;
  socket.owner = null;
  idle.push(socket);
}

/** Breaks a connection with a RST, where its kind has one. */
export function abort(socket: net.Socket, unix: boolean): void {
  // A UNIX socket has no RST, and a socket that is not connected would wait until it is.
  if (unix || socket.connecting) socket.destroy();
  else socket.resetAndDestroy();
}

/** Sockets whose connect has not been answered, in order of age. One timer serves all of them. */
export class Dialling {
  readonly #millis: number;
  readonly starved: (code: string) => void;
  readonly #since: Map<NodeTcp, number> = new Map();
  #timer: NodeJS.Timeout | null = null;

  /** `millis`: how long a connect may take. `starved` is called when one failed for want of descriptors. */
  constructor(millis: number, starved: (code: string) => void) {
    this.#millis = millis;
    this.starved = starved;
  }

  add(socket: NodeTcp): void {
    this.#since.set(socket, performance.now());
    this.#timer ??= setTimeout(() => this.#sweep(), this.#millis).unref();
  }

  remove(socket: NodeTcp): void {
    this.#since.delete(socket);
  }

  #sweep(): void {
    this.#timer = null;
    const now = performance.now();
    for (const [socket, since] of this.#since) {
      const left = since + this.#millis - now;
      if (left > 0) {
        // An unanswered connect may be a twentieth late: so one timer serves a burst of them.
        this.#timer = setTimeout(() => this.#sweep(), Math.max(left, this.#millis / 20)).unref();
        return;
      }
      socket.timedOut();
    }
  }
}

export class NodeTcp implements HostTcp, Lasting {
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
      socket = (unix ? undefined : idle.pop()) ?? readingSocket(null);
    } else if (accepted instanceof OwnedSocket) {
      socket = accepted;
    } else {
      accepted.pause();
      if (accepted.readableLength > 0) this.#head = accepted.read() as Buffer;
      const handle = takeHandle(accepted);
      if (handle !== null) socket = readingSocket(handle);
      else {
        socket = listen(accepted as OwnedSocket);
        socket.allowHalfOpen = true;
        socket.on("data", onChunk);
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
    if (this.#lands) return VIEWS[0]!;
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
    const landing = events.landing!(bytes, 0, len, this.#streams ? LARGE_READ : READ);
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
    if (code === null && !this.#unix) keep(this.#socket);
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
