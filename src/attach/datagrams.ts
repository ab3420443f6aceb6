/**
 * A bound UDP socket of which each datagram carries a frame: what cables and uplinks over UDP have in common.
 *
 * In: Node hands over one datagram a call; those of one poll are put behind each other in a slab, so that they make one
 * batch. Out: datagrams are written in place, into one of two slabs; while the kernel has one of them, the other fills.
 */
import dgram from "node:dgram";
import type { Endpoint } from "../core/address.ts";
import type { CableEnv } from "./attachment.ts";
import { HEADROOM, type ReadSlab } from "./slab.ts";

/** Datagrams of a batch are written into one of two slabs of this size. */
const TX_SLAB = 262_144;
/** Bytes that the kernel may queue for us and for the far end: a burst of frames. The kernel caps this at its own limit. */
const SOCKET_BUFFER = 1_048_576;

export interface DatagramUser {
  /** Whether what comes from there is to be heard. */
  welcomes(host: string, port: number, len: number): boolean;
  /** A datagram of somebody welcome, valid during the call. */
  datagram(slab: ReadSlab, at: number, len: number): void;
  /** All datagrams of one poll have been handed over. */
  batchEnd(): void;
  /** There is room again after a `reserve` that failed. */
  writable(): void;
}

/** Resolves with a socket bound to an address (no name) and a port; rejects with Node's error. */
export async function bindDatagrams({ host, port }: Endpoint): Promise<dgram.Socket> {
  const socket = dgram.createSocket(host.includes(":") ? "udp6" : "udp4");
  await new Promise<void>((resolve, reject) => {
    socket.once("error", (error) => {
      socket.close();
      reject(error);
    });
    socket.bind({ address: host, port, exclusive: true }, () => {
      socket.removeAllListeners("error");
      resolve();
    });
  });
  return socket;
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

export class Datagrams {
  readonly #socket: dgram.Socket;
  readonly #env: CableEnv;
  readonly #user: DatagramUser;
  #slab: ReadSlab;
  /** Where the next datagram goes in the slab. */
  #end = HEADROOM;
  #batch = false;
  #filling: TxSlab = txSlab();
  #sending: TxSlab = txSlab();
  /** The datagrams that stand in the filling slab: where, how long, to whom. */
  #ats: number[] = [];
  #lengths: number[] = [];
  #targets: Endpoint[] = [];
  #full = false;
  #over = false;

  constructor(socket: dgram.Socket, env: CableEnv, user: DatagramUser) {
    this.#socket = socket;
    this.#env = env;
    this.#user = user;
    this.#slab = env.pool.take();
    socket.on("message", (bytes, from) => this.#message(bytes, from.address, from.port));
    // An error about one datagram (ECONNREFUSED) is no reason to stop.
    socket.on("error", () => {});
    try {
      socket.setRecvBufferSize(SOCKET_BUFFER);
      socket.setSendBufferSize(SOCKET_BUFFER);
    } catch {
      // The default will do.
    }
  }

  get over(): boolean {
    return this.#over;
  }

  get tx(): Uint8Array {
    return this.#filling.bytes;
  }

  /** Where the next datagram begins in `tx`. */
  get next(): number {
    return this.#filling.used;
  }

  /** Room for a datagram of up to `len` bytes: its offset in `tx`; -1 when there is none, and `writable` follows. */
  reserve(len: number): number {
    if (this.#over || (this.#filling.used + len > TX_SLAB && !this.#turn())) {
      this.#full = true;
      return -1;
    }
    return this.#filling.used;
  }

  /** The `len` bytes at the last reserve go to each of `targets`. */
  commit(len: number, targets: readonly Endpoint[]): void {
    for (const target of targets) {
      this.#ats.push(this.#filling.used);
      this.#lengths.push(len);
      this.#targets.push(target);
    }
    this.#filling.used += len;
  }

  /** All at once or, while the kernel is still busy with the last batch, when it is done with it. */
  flush(): void {
    if (this.#lengths.length > 0) this.#turn();
  }

  /** Datagrams already handed to Node are sent first; `done` comes in a turn of its own. */
  close(done: () => void): void {
    this.#over = true;
    this.#socket.close(() => {
      this.#slab.release();
      done();
    });
  }

  /** Sends the filling slab and goes on with the other, if the kernel is done with that. */
  #turn(): boolean {
    const slab = this.#filling;
    if (this.#sending.pending > 0) return false;
    this.#filling = this.#sending;
    this.#filling.used = 0;
    this.#sending = slab;
    const ats = this.#ats;
    const lengths = this.#lengths;
    const targets = this.#targets;
    this.#ats = [];
    this.#lengths = [];
    this.#targets = [];
    const done = (error: Error | null) => this.#sent(slab, error);
    slab.pending = lengths.length;
    for (let i = 0; i < lengths.length; i++) {
      const { port, host } = targets[i]!;
      this.#socket.send(slab.bytes, ats[i]!, lengths[i]!, port, host, done);
    }
    return true;
  }

  #sent(slab: TxSlab, error: Error | null): void {
    if (error !== null) this.#env.trace.drop("cable-full");
    if (--slab.pending > 0 || this.#over) return;
    this.flush();
    if (!this.#full) return;
    this.#full = false;
    this.#user.writable();
  }

  #message(bytes: Uint8Array, host: string, port: number): void {
    const { length } = bytes;
    if (this.#over || !this.#user.welcomes(host, port, length)) return;
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
    this.#user.datagram(this.#slab, at, length);
  }

  #endBatch(): void {
    this.#batch = false;
    this.#end = HEADROOM;
    if (this.#over) return;
    this.#user.batchEnd();
    if (!this.#slab.pinned) return;
    this.#slab.release();
    this.#slab = this.#env.pool.take();
  }
}
