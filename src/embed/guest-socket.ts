/**
 * A TCP connection with a guest as a `node:stream` Duplex that behaves like a `net.Socket`, so libraries that take a
 * socket (`http`, `tls`, undici, ssh2) take it unmodified. It has no descriptor: its far end is a flow of the
 * network's own NAT, reached through a `Plug`.
 */
import { isIP } from "node:net";
import { constants } from "node:os";
import { Duplex } from "node:stream";
import { type Endpoint, endpointText } from "../core/address.ts";
import type { HostTcp, HostTcpEvents } from "../core/host-net.ts";
import { Plug, type PlugUser } from "./plug.ts";

const HIGH_WATER_MARK = 65_536;

/** Calls a write's callback when the flow has taken all of it. */
type Written = (error?: Error | null) => void;

export interface GuestSocketOptions {
  /** The guest's end. */
  readonly remote: Endpoint;
  /** Our end, as the guest sees it; null until the NAT has chosen it. */
  readonly local: Endpoint | null;
  /** As in `net.Socket`: with false (the default), our side ends when the guest's does. */
  readonly allowHalfOpen?: boolean | undefined;
}

/**
 * A TCP connection with a guest, used like a `net.Socket`. It emits 'connect', 'ready', 'timeout' and a stream's
 * events. An 'error' has a `code` as in Node, such as ECONNREFUSED (nobody listens), ETIMEDOUT (no answer), ECONNRESET,
 * EACCES (a rule refuses it), EPIPE (a write after the guest's end) or ENOBUFS (too many connections).
 */
export class GuestSocket extends Duplex {
  /** The guest's IP address, and below its port. */
  readonly remoteAddress: string;
  readonly remotePort: number;
  readonly remoteFamily: "IPv4" | "IPv6";
  /** Our IP address as the guest sees it, and below our port. Undefined until the NAT has chosen them. */
  localAddress: string | undefined;
  localPort: number | undefined;
  localFamily: "IPv4" | "IPv6" | undefined;
  /** True until 'connect'. */
  connecting = true;
  /** How many bytes have come from the guest. */
  bytesRead = 0;
  /** Milliseconds without a byte after which 'timeout' is emitted; undefined when off. */
  timeout: number | undefined;
  #plug: Plug | null = null;
  #sent = 0;
  #timer: NodeJS.Timeout | null = null;
  /** The chunks that wait until the connection is established, or until the flow has room. */
  #waiting: { readonly chunks: readonly Uint8Array[]; index: number; at: number; readonly written: Written } | null =
    null;
  #final: Written | null = null;
  #reset = false;
  readonly #user: PlugUser;

  constructor(options: GuestSocketOptions) {
    const { remote, local, allowHalfOpen = false } = options;
    super({
      allowHalfOpen,
      emitClose: false,
      readableHighWaterMark: HIGH_WATER_MARK,
      writableHighWaterMark: HIGH_WATER_MARK,
    });
    this.remoteAddress = remote.host;
    this.remotePort = remote.port;
    this.remoteFamily = family(remote.host);
    if (local !== null) this.#setLocal(local);
    const socket = this;
    this.#user = {
      get unread() {
        return socket.readableLength;
      },
      onOpen: () => this.#opened(),
      onBytes: (bytes) => {
        this.bytesRead += bytes.length;
        this.#active();
        this.push(bytes);
      },
      onEnd: () => {
        this.push(null);
        // A stream notices its end only when it is read. Like net.Socket, tell users that do not read as well.
        if (this.readableLength === 0) this.read(0);
      },
      onRoom: () => this.#push(),
      onLost: (code) => {
        // The network is closing. An established connection is then closed without an error.
        if (code === "ENETDOWN" && !this.connecting) this.destroy();
        else this.destroy(this.#error(code, this.connecting ? "connect" : "read"));
      },
    };
    if (!allowHalfOpen) this.on("end", writesFailAfterEnd);
  }

  /** Makes this socket the host's end of a flow. Called by the maker of sockets, not by their user. */
  plugIn(events: HostTcpEvents): HostTcp & { answer(): void } {
    const plug = new Plug(events, this.#user);
    this.#plug = plug;
    return plug;
  }

  /** Sets our end as the guest sees it, once the NAT has chosen it. Called by the maker of sockets. */
  shownAs(local: Endpoint): void {
    this.#setLocal(local);
  }

  /** How many bytes were written, including those that still wait. */
  get bytesWritten(): number {
    return this.#sent + this.writableLength;
  }

  /** True until 'connect'. */
  get pending(): boolean {
    return this.connecting;
  }

  get readyState(): "opening" | "open" | "readOnly" | "writeOnly" | "closed" {
    if (this.connecting) return "opening";
    if (this.readable && this.writable) return "open";
    if (this.readable) return "readOnly";
    return this.writable ? "writeOnly" : "closed";
  }

  /** Our end, as the guest sees it; an empty object until the NAT has chosen it. */
  address(): { address: string; family: string; port: number } | Record<string, never> {
    const { localAddress, localFamily, localPort } = this;
    if (localAddress === undefined || localFamily === undefined || localPort === undefined) return {};
    return { address: localAddress, family: localFamily, port: localPort };
  }

  /**
   * Emits 'timeout' after `millis` milliseconds without a byte in either direction; 0 turns it off. The connection
   * goes on.
   */
  setTimeout(millis: number, callback?: () => void): this {
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
    this.timeout = millis > 0 ? millis : undefined;
    if (millis > 0 && !this.destroyed) {
      this.#timer = setTimeout(() => this.emit("timeout"), millis).unref();
      if (callback !== undefined) this.once("timeout", callback);
    } else if (callback !== undefined) this.removeListener("timeout", callback);
    return this;
  }

  /** Does nothing: small segments are never held back here. */
  setNoDelay(_noDelay?: boolean): this {
    return this;
  }

  /** Does nothing: the network itself probes guests that are silent. */
  setKeepAlive(_enable?: boolean, _initialDelay?: number): this {
    return this;
  }

  /** Does nothing: this socket does not keep the process running. */
  ref(): this {
    return this;
  }

  /** Does nothing: this socket does not keep the process running. */
  unref(): this {
    return this;
  }

  /** Destroys the socket once the network has all that was written. */
  destroySoon(): void {
    if (this.writable) this.end();
    if (this.writableFinished) this.destroy();
    else this.once("finish", this.destroy);
  }

  /** Destroys the socket and sends the guest RST, even if bytes wait. */
  resetAndDestroy(): this {
    this.#reset = true;
    this.destroy();
    return this;
  }

  override _read(): void {
    this.#plug?.read();
  }

  /**
   * Tells the plug of each read. `_read` cannot: it is called before bytes are taken out, and not again until more
   * come.
   */
  override read(size?: number): unknown {
    const taken: unknown = super.read(size);
    if (taken !== null) this.#plug?.read();
    return taken;
  }

  override _write(chunk: Uint8Array, _encoding: BufferEncoding, written: Written): void {
    this.#take([chunk], written);
  }

  override _writev(chunks: { readonly chunk: Uint8Array }[], written: Written): void {
    this.#take(
      chunks.map(({ chunk }) => chunk),
      written,
    );
  }

  override _final(done: Written): void {
    if (this.connecting) {
      this.#final = done;
      return;
    }
    this.#plug?.finish();
    // Done one turn later, as with a kernel's shutdown: a listener of 'end' can still write to the socket.
    setImmediate(done);
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    this.connecting = false;
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
    this.#waiting = null;
    this.#final = null;
    this.#plug?.leave(this.#reset);
    done(error);
    // Emitted one turn after 'error', with net.Socket's argument: whether there was an error.
    setImmediate(() => this.emit("close", error !== null));
  }

  #opened(): void {
    this.connecting = false;
    this.#active();
    try {
      this.emit("connect");
      this.emit("ready");
    } finally {
      this.#push();
      const final = this.#final;
      this.#final = null;
      if (final !== null) this._final(final);
    }
  }

  #take(chunks: readonly Uint8Array[], written: Written): void {
    this.#waiting = { chunks, index: 0, at: 0, written };
    if (!this.connecting) this.#push();
  }

  /** Sends the waiting chunks, as far as the flow takes them. */
  #push(): void {
    const waiting = this.#waiting;
    const plug = this.#plug;
    if (waiting === null || plug === null) return;
    this.#active();
    while (waiting.index < waiting.chunks.length) {
      const chunk = waiting.chunks[waiting.index]!;
      const took = plug.send(chunk, waiting.at);
      waiting.at += took;
      if (waiting.at < chunk.length) return;
      this.#sent += chunk.length;
      waiting.index++;
      waiting.at = 0;
    }
    this.#waiting = null;
    waiting.written();
  }

  #active(): void {
    this.#timer?.refresh();
  }

  #setLocal(local: Endpoint): void {
    this.localAddress = local.host;
    this.localPort = local.port;
    this.localFamily = family(local.host);
  }

  /** An error like Node's own: "connect ECONNREFUSED 10.0.2.15:80". */
  #error(code: string, syscall: string): NodeJS.ErrnoException {
    const { remoteAddress: address, remotePort: port } = this;
    const where = syscall === "connect" ? ` ${endpointText({ host: address, port })}` : "";
    const error: NodeJS.ErrnoException = new Error(`${syscall} ${code}${where}`);
    const errno = (constants.errno as Readonly<Record<string, number>>)[code];
    if (errno !== undefined) error.errno = -errno;
    error.code = code;
    error.syscall = syscall;
    return Object.assign(error, syscall === "connect" ? { address, port } : {});
  }
}

function family(address: string): "IPv4" | "IPv6" {
  return isIP(address) === 6 ? "IPv6" : "IPv4";
}

/** As in net.Socket without allowHalfOpen, writing after the guest's end fails with EPIPE. */
function writesFailAfterEnd(this: GuestSocket): void {
  this.write = writeAfterEnd as typeof this.write;
}

function writeAfterEnd(this: GuestSocket, _chunk: unknown, encoding?: unknown, callback?: unknown): boolean {
  const error: NodeJS.ErrnoException = new Error("This socket has been ended by the other party");
  error.code = "EPIPE";
  const called = typeof encoding === "function" ? encoding : callback;
  if (typeof called === "function") process.nextTick(called as (error: Error) => void, error);
  this.destroy(error);
  return false;
}
