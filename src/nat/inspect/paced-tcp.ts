/**
 * TCP connections under a rate. Nothing is dropped. Towards the guest, the host socket is not read while the bucket is
 * empty; from the guest, the window offered is no larger than the bucket's level. Bytes that are under way beyond that
 * (a read from the host, an earlier window) pass at once and leave the bucket below zero.
 *
 * Connections share a bucket fairly. A read from the host, and a window, is no larger than the connection's share of
 * the bucket. Connections that wait for an empty bucket take turns: at each tick the bucket's level decides how many of
 * them may read, beginning with the one that has waited longest. So a small transfer waits for at most one short read
 * of each of the other connections.
 *
 * `PacedTcp` is a link of the chain before the host socket (`chain.ts`), and what the socket takes for the flow.
 */
import type { HostTcp, HostTcpEvents, Landing } from "../../core/host-net.ts";
import type { Slab } from "../../core/link.ts";
import type { NatContext } from "../context.ts";
import type { Bucket, Meter } from "../rules/meters.ts";
import { HostTcpStage } from "./host-tcp-stage.ts";

/** The pause between two looks at buckets that connections wait for. */
const TICK_MS = 20;
/** The smallest share of a bucket, in bytes: smaller reads and segments would cost too much. */
const LEAST_SHARE = 2_048;

/** The largest window of a connection now, in bytes. */
export interface PacedFlow extends HostTcpEvents {
  readonly receiveLimit: number;
}

export class Pacer {
  readonly #env: Pick<NatContext, "clock" | "wake">;
  /** Connections that wait for a bucket, the longest waiting first. */
  readonly #waiting: Set<PacedTcp> = new Set();
  /** How many bytes of each bucket a connection may read in this tick. */
  readonly #granted: Map<Bucket, number> = new Map();
  #nextAt = Number.POSITIVE_INFINITY;

  constructor(env: Pick<NatContext, "clock" | "wake">) {
    this.#env = env;
  }

  /** Connects `flow` under the rates of `meters`. `connect` is given the events to call back. */
  pace(flow: PacedFlow, meters: readonly Meter[], connect: (events: HostTcpEvents) => HostTcp): HostTcp {
    if (!meters.some(({ up, down }) => up !== null || down !== null)) return connect(flow);
    const paced = new PacedTcp(this, flow, meters);
    paced.socket = connect(paced);
    return paced;
  }

  now(): number {
    return this.#env.clock.now();
  }

  wait(paced: PacedTcp): void {
    this.#waiting.add(paced);
    if (this.#nextAt !== Number.POSITIVE_INFINITY) return;
    this.#nextAt = this.now() + TICK_MS;
    this.#env.wake();
  }

  forget(paced: PacedTcp): void {
    this.#waiting.delete(paced);
  }

  pollAt(): number {
    return this.#nextAt;
  }

  poll(now: number): void {
    if (now < this.#nextAt) return;
    this.#granted.clear();
    for (const paced of [...this.#waiting]) {
      const outcome = paced.refill(now, this.#granted);
      if (outcome !== "waits") this.#waiting.delete(paced);
      // A connection that has had its turn waits behind the others for its next one.
      if (outcome === "served") this.#waiting.add(paced);
    }
    this.#nextAt = this.#waiting.size === 0 ? Number.POSITIVE_INFINITY : now + TICK_MS;
  }
}

class PacedTcp extends HostTcpStage implements HostTcpEvents {
  readonly #pacer: Pacer;
  readonly #flow: PacedFlow;
  readonly #meters: readonly Meter[];
  /** The socket is not read: the flow has no room, or the bucket is empty. */
  #paused = true;
  #empty = false;
  /** Bytes left of the connection's turn, once it has had to wait for one. */
  #turn = Number.POSITIVE_INFINITY;
  #over = false;

  constructor(pacer: Pacer, flow: PacedFlow, meters: readonly Meter[]) {
    super();
    this.#pacer = pacer;
    this.#flow = flow;
    this.#meters = meters;
  }

  /** The connection's share of what the bucket holds. */
  override get windowCap(): number {
    return Math.min(super.windowCap, this.#share("up", this.#pacer.now()));
  }

  override write(slab: Slab, at: number, len: number): void {
    super.write(slab, at, len);
    this.#sent(len);
  }

  override writeMany(slab: Slab, at: Int32Array, len: Int32Array, count: number): void {
    super.writeMany(slab, at, len, count);
    let total = 0;
    for (let i = 0; i < count; i++) total += len[i]!;
    this.#sent(total);
  }

  #sent(len: number): void {
    if (this.#over) return;
    for (const { up } of this.#meters) up?.take(len);
    this.#pacer.wait(this);
  }

  override pause(): void {
    this.#paused = true;
    this.socket.pause();
  }

  override resume(): void {
    this.#paused = false;
    if (!this.#empty) this.socket.resume();
  }

  override reset(code?: string): void {
    this.#end();
    this.socket.reset(code);
  }

  /** Looks at the buckets. `granted` is how much of each has been promised to other connections in this tick. */
  refill(now: number, granted: Map<Bucket, number>): "waits" | "served" | "done" {
    let served = false;
    if (this.#empty && this.#level("down", now, granted) > 0) {
      served = true;
      this.#empty = false;
      const share = this.#share("down", now);
      this.#turn = share;
      for (const { down } of this.#meters) if (down !== null) granted.set(down, (granted.get(down) ?? 0) + share);
      if (!this.#paused) this.socket.resume();
    }
    const level = this.#level("up", now);
    if (level > 0) this.#flow.onDrain();
    if (this.#over || !(this.#empty || level < this.#most())) return "done";
    return served ? "served" : "waits";
  }

  readMost(more: boolean): number {
    const share = Math.max(LEAST_SHARE, this.#share("down", this.#pacer.now()));
    return Math.min(share, this.#flow.readMost?.(more) ?? share);
  }

  onConnect(): void {
    this.#flow.onConnect();
  }

  onData(bytes: Uint8Array, at: number, len: number): void {
    for (const { down } of this.#meters) down?.take(len);
    this.#turn -= len;
    if (this.#turn <= 0 || this.#level("down", this.#pacer.now()) <= 0) {
      this.#empty = true;
      this.socket.pause();
      this.#pacer.wait(this);
    }
    this.#flow.onData(bytes, at, len);
  }

  /** Left out under a rate towards the guest, which is kept by how much a read brings. */
  get landing(): HostTcpEvents["landing"] {
    return this.#meters.every(({ down }) => down === null) && this.#flow.landing !== undefined ? this.#land : undefined;
  }

  landed(len: number): void {
    this.#flow.landed!(len);
  }

  #land(bytes: Uint8Array, at: number, len: number, most: number): Landing | null {
    return this.#flow.landing!(bytes, at, len, most);
  }

  onEnd(): void {
    this.#flow.onEnd();
  }

  onDrain(): void {
    this.#flow.onDrain();
  }

  onClose(code: string | null): void {
    this.#end();
    this.#flow.onClose(code);
  }

  #end(): void {
    this.#over = true;
    this.#pacer.forget(this);
  }

  /** Bytes that may be taken now, less those promised to other connections. */
  #level(way: "up" | "down", now: number, granted?: ReadonlyMap<Bucket, number>): number {
    let least = Number.POSITIVE_INFINITY;
    for (const meter of this.#meters) {
      const bucket = meter[way];
      if (bucket !== null) least = Math.min(least, bucket.level(now) - (granted?.get(bucket) ?? 0));
    }
    return least;
  }

  /** This connection's share of those bytes, a whole number. All of them, if it is alone or little is left. */
  #share(way: "up" | "down", now: number): number {
    let least = way === "up" ? this.#flow.receiveLimit : Number.POSITIVE_INFINITY;
    for (const meter of this.#meters) {
      const bucket = meter[way];
      if (bucket === null) continue;
      const level = Math.max(0, bucket.level(now));
      least = Math.min(least, Math.max(level / Math.max(1, meter.conns), Math.min(level, LEAST_SHARE)));
    }
    return Math.floor(least);
  }

  /** The largest window if no rate narrowed it, in bytes. */
  #most(): number {
    let most = this.#flow.receiveLimit;
    for (const { up } of this.#meters) if (up !== null) most = Math.min(most, up.burst);
    return most;
  }
}
