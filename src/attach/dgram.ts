/**
 * A guest's cable over UDP (QEMU `-netdev dgram`): each datagram is one frame.
 *
 * One socket serves one guest. Its address is configured, or that of the first datagram; then nobody else is heard,
 * unless the guest has been silent for so long that it may have come back at another port. Node hands over one
 * datagram a call; those of one poll are put behind each other in a slab, so that they make one batch.
 */
import dgram from "node:dgram";
import { lookup } from "node:dns/promises";
import type { Endpoint } from "../core/address.ts";
import { type Link, MAX_FRAME } from "../core/link.ts";
import { attachAddressText, type DgramAddress } from "./address.ts";
import type { Attachment, CableEnv } from "./attachment.ts";
import { HEADROOM, type ReadSlab } from "./slab.ts";

/** After so long without a word, another sender may be the guest. */
const SILENCE_MILLIS = 30_000;
/** Frames of a batch are written into one of two slabs of this size. */
const TX_SLAB = 262_144;
/** What the kernel may queue for us and for the guest: a burst of frames. It caps this at its own limit. */
const SOCKET_BUFFER = 1_048_576;

export interface DgramOptions {
  /** Where the guest is. Learned from its first datagram when left out. */
  readonly remote?: Endpoint;
}

/** Resolves when bound. Rejects with an `Error` of one line. */
export async function listenDgram(
  address: DgramAddress,
  env: CableEnv,
  options: DgramOptions = {},
): Promise<Attachment> {
  const failed = (error: Error) => new Error(`cannot listen on ${attachAddressText(address)}: ${error.message}`);
  try {
    // Resolved once: a name in `send` would be looked up for each frame.
    const local = await lookup(address.host);
    const family = local.family === 6 ? 6 : 4;
    const remote = options.remote === undefined ? null : await resolveRemote(options.remote, family);
    const socket = dgram.createSocket(family === 6 ? "udp6" : "udp4");
    await new Promise<void>((resolve, reject) => {
      socket.once("error", (error) => {
        socket.close();
        reject(error);
      });
      socket.bind({ address: local.address, port: address.port, exclusive: true }, () => {
        socket.removeAllListeners("error");
        resolve();
      });
    });
    return new DgramLink(socket, { ...address, port: socket.address().port }, env, remote);
  } catch (error) {
    throw failed(error as Error);
  }
}

async function resolveRemote(remote: Endpoint, family: 4 | 6): Promise<Endpoint> {
  return { host: (await lookup(remote.host, { family })).address, port: remote.port };
}

interface TxSlab {
  readonly bytes: Uint8Array;
  used: number;
  /** Datagrams that the kernel has not taken. */
  pending: number;
}

function txSlab(): TxSlab {
  return { bytes: new Uint8Array(TX_SLAB), used: 0, pending: 0 };
}

class DgramLink implements Link, Attachment {
  readonly address: DgramAddress;
  readonly name: string;
  readonly closed: Promise<void>;
  readonly #socket: dgram.Socket;
  readonly #env: CableEnv;
  readonly #configured: boolean;
  #onClosed: () => void = () => {};
  #remote: Endpoint | null;
  #heard = 0;
  #slab: ReadSlab;
  /** Where the next datagram goes in the slab. */
  #end = HEADROOM;
  #batch = false;
  #filling: TxSlab = txSlab();
  #sending: TxSlab = txSlab();
  /** Lengths of the frames that stand in the filling slab. */
  #lengths: number[] = [];
  #full = false;
  #over = false;

  constructor(socket: dgram.Socket, address: DgramAddress, env: CableEnv, remote: Endpoint | null) {
    this.#socket = socket;
    this.address = address;
    this.name = attachAddressText(address);
    this.#env = env;
    this.#configured = remote !== null;
    this.#remote = remote;
    this.#slab = env.pool.take();
    this.closed = new Promise((resolve) => {
      this.#onClosed = resolve;
    });
    socket.on("message", (bytes, from) => this.#message(bytes, from.address, from.port));
    // What the network says of a datagram (ECONNREFUSED) is no reason to stop.
    socket.on("error", () => {});
    try {
      socket.setRecvBufferSize(SOCKET_BUFFER);
      socket.setSendBufferSize(SOCKET_BUFFER);
    } catch {
      // The default will do.
    }
    if (remote !== null) env.receiver.attached(this);
  }

  get tx(): Uint8Array {
    return this.#filling.bytes;
  }

  reserve(len: number): number {
    if (this.#over || (this.#filling.used + len > TX_SLAB && !this.#turn())) {
      this.#full = true;
      return -1;
    }
    return this.#filling.used;
  }

  commit(len: number): void {
    const { tap, sent } = this.#env;
    if (tap.active && !tap.outgoing(this, this.#filling.bytes, this.#filling.used, len)) return;
    sent.frames++;
    sent.bytes += len;
    this.#filling.used += len;
    this.#lengths.push(len);
  }

  /** All at once or, while the kernel is still busy with the last batch, when it is done with it. */
  flush(): void {
    if (this.#lengths.length > 0) this.#turn();
  }

  close(): Promise<void> {
    if (this.#over) return this.closed;
    this.#over = true;
    // Datagrams already handed to Node are sent before it closes; `detached` comes in a turn of its own.
    this.#socket.close(() => {
      this.#slab.release();
      if (this.#remote !== null) this.#env.receiver.detached(this);
      this.#onClosed();
    });
    return this.closed;
  }

  /** Sends the filling slab and goes on with the other, if the kernel is done with that. */
  #turn(): boolean {
    const slab = this.#filling;
    if (this.#sending.pending > 0) return false;
    this.#filling = this.#sending;
    this.#filling.used = 0;
    this.#sending = slab;
    const lengths = this.#lengths;
    this.#lengths = [];
    const remote = this.#remote!;
    const done = (error: Error | null) => this.#sent(slab, error);
    slab.pending = lengths.length;
    let at = 0;
    for (const len of lengths) {
      this.#socket.send(slab.bytes, at, len, remote.port, remote.host, done);
      at += len;
    }
    return true;
  }

  #sent(slab: TxSlab, error: Error | null): void {
    if (error !== null) this.#env.trace.drop("cable-full");
    if (--slab.pending > 0 || this.#over) return;
    this.flush();
    if (!this.#full) return;
    this.#full = false;
    this.#env.receiver.writable(this);
  }

  #message(bytes: Uint8Array, host: string, port: number): void {
    if (this.#over || !this.#isGuest(host, port)) return;
    const { length } = bytes;
    if (length === 0 || length > MAX_FRAME) return this.#env.trace.drop("eth-short");
    if (this.#end + length > this.#slab.bytes.length) this.#endBatch();
    this.#slab.bytes.set(bytes, this.#end);
    const at = this.#end;
    this.#end += length;
    if (!this.#batch) {
      this.#batch = true;
      setImmediate(() => {
        if (this.#batch) this.#endBatch();
      });
    }
    this.#env.receiver.receive(this, this.#slab, at, length);
  }

  #isGuest(host: string, port: number): boolean {
    const now = this.#env.clock.now();
    const known = this.#remote;
    if (known === null || known.host !== host || known.port !== port) {
      if (this.#configured) return false;
      if (known !== null && now - this.#heard < SILENCE_MILLIS) {
        this.#env.trace.drop("mac-spoofed");
        return false;
      }
      this.#remote = { host, port };
      if (known === null) this.#env.receiver.attached(this);
    }
    this.#heard = now;
    return true;
  }

  #endBatch(): void {
    this.#batch = false;
    this.#end = HEADROOM;
    if (this.#over) return;
    this.#env.receiver.batchEnd(this);
    if (!this.#slab.pinned) return;
    this.#slab.release();
    this.#slab = this.#env.pool.take();
  }
}
