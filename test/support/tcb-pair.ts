/** Two endpoints of ours on one seeded wire: loss, duplication, reordering and delay under a manual clock. */
import type { Slab } from "../../src/core/link.ts";
import { ChunkPool } from "../../src/proto/tcp/chunk-pool.ts";
import { TcpEndpoint } from "../../src/proto/tcp/endpoint.ts";
import { input } from "../../src/proto/tcp/input.ts";
import { output } from "../../src/proto/tcp/output.ts";
import type { TcpPath, TcpUser } from "../../src/proto/tcp/types.ts";
import { put16, put32 } from "../../src/wire/bytes.ts";
import { UNVERIFIED } from "../../src/wire/checksum.ts";
import { FIN, PSH, SYN, tcpCheck, tcpFlags, tcpHeaderLength, tcpSeal, tcpSeq, tcpWindow } from "../../src/wire/tcp.ts";
import { tcpOptions, tcpReadOptions } from "../../src/wire/tcp-options.ts";

/** A small seeded generator (mulberry32): numbers in [0, 1). */
export function seeded(seed: number): () => number {
  let a = seed | 0;
  return () => {
    a = (a + 0x6d2b79f5) | 0;
    let t = Math.imul(a ^ (a >>> 15), 1 | a);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

export interface WireOptions {
  seed?: number;
  loss?: number;
  duplicate?: number;
  /** One way, in milliseconds, plus up to `jitter`. */
  delay?: number;
  jitter?: number;
  mss?: number;
  receive?: number;
  /** ISNs of the two ends. */
  iss?: [number, number];
  /** What the receiving user takes per step; it keeps the rest in its socket. */
  drain?: number;
  /**
   * Segments of so many bytes leave unfinished: they arrive cut and summed (`cut`), or as they are, whole segments lost and
   * doubled like others (`whole`).
   */
  offload?: number;
  arrives?: "cut" | "whole";
}

export class Peer implements TcpPath, TcpUser {
  readonly tx: Uint8Array = new Uint8Array(70_000);
  readonly reachable = true;
  readonly farPort = 1;
  readonly guestPort = 1;
  readonly tcb: TcpEndpoint;
  readonly chunks: ChunkPool = new ChunkPool({ sendBytes: 1 << 26 });
  readonly events: string[] = [];
  received: Uint8Array[] = [];
  receivedBytes = 0;
  backlog = 0;
  limit: number;
  send: (segment: Uint8Array) => void = () => {};
  readonly offloads: number;
  readonly arrives: "cut" | "whole";

  constructor(limit: number, offloads = 0, arrives: "cut" | "whole" = "cut") {
    this.limit = limit;
    this.offloads = offloads;
    this.arrives = arrives;
    this.tcb = new TcpEndpoint(this, this, this.chunks.of(null));
  }
  reserve(): number {
    return 0;
  }
  offload(): number {
    return this.offloads;
  }
  commit(len: number, undone = 0): void {
    const segment = this.tx.slice(0, len);
    if (undone === 0 || this.arrives === "whole") return this.send(segment);
    for (const piece of cut(segment, undone)) this.send(piece);
  }
  pseudo(len: number): number {
    return len;
  }
  resetLost(): void {}
  deliver(slab: Slab, at: number, len: number): void {
    this.received.push(slab.bytes.slice(at, at + len));
    this.receivedBytes += len;
    this.backlog += len;
  }
  onFin(): void {
    this.events.push("fin");
  }
  onEstablished(): void {
    this.events.push("established");
  }
  onAcked(): void {}
  onAborted(reason: string): void {
    this.events.push(reason);
  }
  onClosed(): void {
    this.events.push("closed");
  }
  holds(): boolean {
    return false;
  }

  room(): number {
    return this.limit - this.backlog;
  }
}

/** The segments that an unfinished one makes. */
function cut(segment: Uint8Array, size: number): Uint8Array[] {
  const header = tcpHeaderLength(segment, 0);
  const most = size < 64 ? Math.max(segment.length - header, 1) : size;
  const pieces: Uint8Array[] = [];
  for (let at = header; at === header || at < segment.length; at += most) {
    const piece = new Uint8Array([...segment.subarray(0, header), ...segment.subarray(at, at + most)]);
    if (at + most < segment.length) piece[13]! &= ~(FIN | PSH);
    put32(piece, 4, (tcpSeq(segment, 0) + at - header) | 0);
    put16(piece, 16, 0);
    tcpSeal(piece, 0, piece.length, piece.length);
    pieces.push(piece);
  }
  return pieces;
}

export class Pair {
  now = 1000;
  readonly a: Peer;
  readonly b: Peer;
  sent = 0;
  readonly #random: () => number;
  readonly #o: Required<WireOptions>;
  #queue: { at: number; to: Peer; bytes: Uint8Array }[] = [];

  constructor(options: WireOptions = {}) {
    this.#o = {
      seed: 1,
      loss: 0,
      duplicate: 0,
      delay: 0.05,
      jitter: 0,
      mss: 1460,
      receive: 1 << 20,
      iss: [100, 900],
      drain: 1 << 30,
      offload: 0,
      arrives: "cut",
      ...options,
    };
    this.#random = seeded(this.#o.seed);
    this.a = new Peer(this.#o.receive, this.#o.offload, this.#o.arrives);
    this.b = new Peer(this.#o.receive, this.#o.offload, this.#o.arrives);
    this.a.send = (bytes) => this.#wire(this.b, bytes);
    this.b.send = (bytes) => this.#wire(this.a, bytes);
    this.a.tcb.connect(this.#o.iss[0], this.#o.mss, 5, this.now);
  }

  #wire(to: Peer, bytes: Uint8Array): void {
    this.sent++;
    const copies = this.#random() < this.#o.duplicate ? 2 : 1;
    for (let i = 0; i < copies; i++) {
      if (this.#random() < this.#o.loss) continue;
      this.#queue.push({ at: this.now + this.#o.delay + this.#random() * this.#o.jitter, to, bytes });
    }
  }

  #arrive(peer: Peer, bytes: Uint8Array): void {
    const slab = { bytes, scarce: false, pin() {}, unpin() {} };
    const pseudo = this.#o.offload > 0 && this.#o.arrives === "whole" ? UNVERIFIED : bytes.length;
    if (!tcpCheck(bytes, 0, bytes.length, pseudo)) throw new Error("a segment left with a wrong checksum");
    if (peer === this.b && peer.tcb.state === 0 && peer.events.length === 0) {
      if ((tcpFlags(bytes, 0) & SYN) === 0) return;
      const o = tcpOptions();
      tcpReadOptions(bytes, 0, o);
      peer.tcb.offer(tcpSeq(bytes, 0), tcpWindow(bytes, 0), o, this.#o.iss[1], this.#o.mss, 5);
      peer.tcb.accept(this.now);
      return;
    }
    input(peer.tcb, slab, 0, bytes.length, this.now);
    output(peer.tcb, this.now);
  }

  /** One event: the next arrival or timer. False when nothing is left to happen. */
  step(): boolean {
    for (const p of [this.a, this.b]) {
      if (p.backlog > 0) {
        p.backlog -= Math.min(p.backlog, this.#o.drain);
        p.tcb.windowOpened(this.now);
      }
    }
    let next = -1;
    for (let i = 0; i < this.#queue.length; i++) if (next < 0 || this.#queue[i]!.at < this.#queue[next]!.at) next = i;
    const arrival = next < 0 ? Number.POSITIVE_INFINITY : this.#queue[next]!.at;
    const timer = Math.min(this.a.tcb.deadline(), this.b.tcb.deadline());
    if (arrival === Number.POSITIVE_INFINITY && timer === Number.POSITIVE_INFINITY) return false;
    if (arrival <= timer) {
      const { to, bytes } = this.#queue[next]!;
      this.#queue.splice(next, 1);
      this.now = Math.max(this.now, arrival);
      this.#arrive(to, bytes);
    } else {
      this.now = Math.max(this.now, timer);
      this.a.tcb.poll(this.now);
      this.b.tcb.poll(this.now);
    }
    return true;
  }

  /** Steps until `done` or until `limit` events have happened. */
  run(done: () => boolean, limit = 2_000_000): void {
    for (let i = 0; i < limit; i++) {
      if (done()) return;
      if (!this.step()) return;
    }
    throw new Error(`not done after ${limit} events`);
  }
}
