/**
 * TCP connections under a rate. Nothing is dropped: towards the guest the host socket is not read while the bucket is
 * empty, and from the guest no more window is offered than there is in it. What is more than that is already under way
 * (a read of the host's, a window of before) goes on at once and leaves the bucket below zero.
 *
 * A paced connection stands between the flow and its host socket, as what the flow takes for the socket and the socket
 * for the flow; others never meet it.
 */
import type { Endpoint, HostTcp, HostTcpEvents } from "../../core/host-net.ts";
import type { Slab } from "../../core/link.ts";
import type { NatContext } from "../context.ts";
import type { Meter } from "../rules/meters.ts";

/** Between two looks at buckets that somebody waits for. */
const TICK_MS = 20;

/** What a connection's window may be at the most now. */
interface Owner extends HostTcpEvents {
  readonly receiveLimit: number;
}

export class Pacer {
  readonly #env: Pick<NatContext, "clock" | "wake">;
  readonly #waiting: Set<PacedTcp> = new Set();
  #nextAt = Number.POSITIVE_INFINITY;

  constructor(env: Pick<NatContext, "clock" | "wake">) {
    this.#env = env;
  }

  /** Connects `flow` by `connect`, which is given whom to call back, under the rates of its meters. */
  pace(flow: Owner, meters: readonly Meter[], connect: (events: HostTcpEvents) => HostTcp): HostTcp {
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
    for (const paced of [...this.#waiting]) if (!paced.refill(now)) this.#waiting.delete(paced);
    this.#nextAt = this.#waiting.size === 0 ? Number.POSITIVE_INFINITY : now + TICK_MS;
  }
}

class PacedTcp implements HostTcp, HostTcpEvents {
  /** Set before anything is called back. */
  socket!: HostTcp;
  readonly #pacer: Pacer;
  readonly #flow: Owner;
  readonly #meters: readonly Meter[];
  /** The flow has no room; the bucket is empty. Either keeps the socket from being read. */
  #paused = true;
  #empty = false;
  #over = false;

  constructor(pacer: Pacer, flow: Owner, meters: readonly Meter[]) {
    this.#pacer = pacer;
    this.#flow = flow;
    this.#meters = meters;
  }

  /** So much that the window is what the bucket holds. */
  get backlog(): number {
    const { backlog } = this.socket;
    const level = this.#level("up", this.#pacer.now());
    return Math.max(backlog, this.#flow.receiveLimit - Math.max(0, Math.floor(level)));
  }

  get held(): number {
    return this.socket.backlog;
  }

  get local(): Endpoint | null {
    return this.socket.local;
  }

  write(slab: Slab, at: number, len: number): void {
    this.socket.write(slab, at, len);
    if (this.#over) return;
    for (const { up } of this.#meters) up?.take(len);
    this.#pacer.wait(this);
  }

  end(): void {
    this.socket.end();
  }

  pause(): void {
    this.#paused = true;
    this.socket.pause();
  }

  resume(): void {
    this.#paused = false;
    if (!this.#empty) this.socket.resume();
  }

  reset(code?: string): void {
    this.#end();
    this.socket.reset(code);
  }

  /** Whether there is something left to wait for. */
  refill(now: number): boolean {
    if (this.#empty && this.#level("down", now) > 0) {
      this.#empty = false;
      if (!this.#paused) this.socket.resume();
    }
    const level = this.#level("up", now);
    if (level > 0) this.#flow.onDrain();
    return !this.#over && (this.#empty || level < this.#most());
  }

  onConnect(): void {
    this.#flow.onConnect();
  }

  onData(bytes: Uint8Array, at: number, len: number): void {
    for (const { down } of this.#meters) down?.take(len);
    if (this.#level("down", this.#pacer.now()) <= 0) {
      this.#empty = true;
      this.socket.pause();
      this.#pacer.wait(this);
    }
    this.#flow.onData(bytes, at, len);
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

  #level(way: "up" | "down", now: number): number {
    let least = Number.POSITIVE_INFINITY;
    for (const meter of this.#meters) least = Math.min(least, meter[way]?.level(now) ?? least);
    return least;
  }

  /** A window that no rate narrows. */
  #most(): number {
    let most = this.#flow.receiveLimit;
    for (const { up } of this.#meters) if (up !== null) most = Math.min(most, up.burst);
    return most;
  }
}
