/**
 * A bound UDP socket of which each datagram carries a frame; cables and uplinks over UDP use it.
 *
 * In: Node hands over one datagram in each call. The datagrams of one poll are put one behind the other in a slab, and
 * make one batch. Out: datagrams are written in place into one of two slabs; while the kernel has one, the other fills.
 */
import dgram from "node:dgram";
import type { Endpoint } from "../core/address.ts";
import type { CableEnv } from "./attachment.ts";
import { HEADROOM, type ReadSlab } from "./slab.ts";

/** The size of each of the two slabs that datagrams of a batch are written into. */
const TX_SLAB = 262_144;
/**
 * Bytes that the kernel may queue in each direction: a burst of frames. The kernel caps the number at its own limit.
 */
const SOCKET_BUFFER = 1_048_576;

export interface DatagramUser {
  /** Whether a datagram from this sender is to be heard. */
  welcomes(host: string, port: number, len: number): boolean;
  /** A datagram from a welcome sender, valid during the call. */
  datagram(slab: ReadSlab, at: number, len: number): void;
  /** All datagrams of one poll have been handed over. */
  batchEnd(): void;
  /** There is room again after a failed `reserve`. */
  writable(): void;
}

/** Resolves with a socket bound to a port and an address (not a name). Rejects with Node's error. */
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
  /** How many datagrams the kernel has not taken. */
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
  /** Where the next datagram goes in the slab that is read into. */
  #end = HEADROOM;
  #batch = false;
  #filling: TxSlab = txSlab();
  #sending: TxSlab = txSlab();
  /** The datagrams in the filling slab: where they begin, how long they are, and to whom they go. */
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
    // An error about one datagram (ECONNREFUSED) does not end the cable.
    socket.on("error", () => {});
    try {
      socket.setRecvBufferSize(SOCKET_BUFFER);
      socket.setSendBufferSize(SOCKET_BUFFER);
    } catch {
      // The kernel's default size will do.
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

  /** Room for a datagram of up to `len` bytes: its offset in `tx`. -1 when there is none; then `writable` follows. */
  reserve(len: number): number {
    if (this.#over || (this.#filling.used + len > TX_SLAB && !this.#turn())) {
      this.#full = true;
      return -1;
    }
    return this.#filling.used;
  }

  /** Sends the `len` bytes at the last reserved place to each of `targets`, at the next flush. */
  commit(len: number, targets: readonly Endpoint[]): void {
    for (const target of targets) {
      this.#ats.push(this.#filling.used);
      this.#lengths.push(len);
      this.#targets.push(target);
    }
    this.#filling.used += len;
  }

  /** Sends the filled slab; if the kernel is still busy with the last one, as soon as it is done. */
  flush(): void {
    if (this.#lengths.length > 0) this.#turn();
  }

  /** Closes after the datagrams that Node already has have been sent. `done` is called in a later turn. */
  close(done: () => void): void {
    this.#over = true;
    this.#socket.close(() => {
      this.#slab.release();
      done();
    });
  }

  /** Sends the filling slab and turns to the other one. False if the kernel is not done with that. */
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
