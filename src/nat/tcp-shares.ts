/** What each of a network's TCP connections may have: of the window that senders share, and under way to the guests. */
import type { TcpFlow } from "./tcp-flow.ts";

/** Window that a guest's senders share. */
const SHARED_WINDOW = 1_048_576;
/** Bytes that large transfers have under way to a guest while it receives something small, and the least for each. */
const SHARED_FLIGHT = 131_072;
const LEAST_FLIGHT = 32_768;
/** With fewer, a loss is noticed by a time-out only. */
const LEAST_PACKETS = 6;
/** Milliseconds, and the bytes of one connection in so long that make it a large transfer. */
const INTERVAL = 10;
const LARGE = 16_384;

export class TcpShares {
  /** The window a connection may be offered now. */
  receiveLimit: number;
  /** What each large transfer may have under way to its guest now. */
  largeFlight: number = Number.POSITIVE_INFINITY;
  readonly #receiveMost: number;
  readonly #mtu: number;
  /** How many connections send at a time: of the latest batches the largest number, forgotten by one a batch. */
  #senders = 1;
  /** Connections whose host has sent something in this interval. */
  readonly #receiving: TcpFlow[] = [];
  #intervalEnds = 0;

  /** `receiveMost` is the window of a connection that sends alone, in bytes. */
  constructor(receiveMost: number, mtu: number) {
    this.#receiveMost = receiveMost;
    this.receiveLimit = receiveMost;
    this.#mtu = mtu;
  }

  /**
   * What all senders together have under way stays about what a guest's own transmit queue holds: a TAP drops what is
   * more (eight streams through one: 1.4 Gbit/s with a megabyte each, 4.7 with an eighth of it).
   */
  shareWindow(senders: number): void {
    this.#senders = Math.max(senders, this.#senders - 1, 1);
    const share = Math.max(SHARED_WINDOW / this.#senders, 2 * this.#mtu, 0xffff);
    this.receiveLimit = Math.min(this.#receiveMost, share);
  }

  /**
   * The host has sent `len` bytes for `flow`. Large transfers alone may have under way what their guest takes. Beside
   * something small, what they have before it only makes it wait: an answer of a byte took 2.0 ms behind a megabyte, and
   * takes 0.5 behind an eighth of that.
   */
  receiving(flow: TcpFlow, len: number, now: number): void {
    if (now >= this.#intervalEnds) {
      this.#shareFlight();
      this.#intervalEnds = now + INTERVAL;
    }
    if (flow.intervalBytes === 0) this.#receiving.push(flow);
    flow.intervalBytes += len;
  }

  #shareFlight(): void {
    const receiving = this.#receiving;
    let large = 0;
    for (let i = 0; i < receiving.length; i++) {
      const flow = receiving[i]!;
      flow.large = flow.intervalBytes >= LARGE;
      if (flow.large) large++;
      flow.intervalBytes = 0;
    }
    const share = Math.max(SHARED_FLIGHT / Math.max(1, large), LEAST_FLIGHT, LEAST_PACKETS * this.#mtu);
    this.largeFlight = receiving.length > large ? share : Number.POSITIVE_INFINITY;
    receiving.length = 0;
  }
}
