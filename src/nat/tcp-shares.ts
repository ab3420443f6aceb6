/** What each of a network's TCP connections may have: of the window that senders share, and under way to the guests. */
import type { TcpFlow } from "./tcp-flow.ts";

/** Window of a connection that sends alone: so many bytes, or packets of its guest's where those are more. */
const WINDOW = 262_144;
const WINDOW_PACKETS = 16;
/** The same that all who send share. */
const SHARED_WINDOW = 1_048_576;
const SHARED_PACKETS = 64;
/** Bytes that large transfers have under way to a guest while it receives something small, and the least for each. */
const SHARED_FLIGHT = 131_072;
const LEAST_FLIGHT = 32_768;
/** With fewer, a loss is noticed by a time-out only. */
const LEAST_PACKETS = 6;
/** Milliseconds, and the bytes of one connection in so long that make it a large transfer. */
const INTERVAL = 10;
const LARGE = 16_384;

export class TcpShares {
  /** What each large transfer may have under way to its guest now. */
  largeFlight: number = Number.POSITIVE_INFINITY;
  readonly #receiveMost: number;
  readonly #mtu: number;
  /** How many connections send at a time: of the latest batches the largest number, forgotten by one a batch. */
  #senders = 1;
  /** Connections whose host has sent something in this interval. */
  readonly #receiving: TcpFlow[] = [];
  #intervalEnds = 0;

  /** `receiveMost` is the largest window of a connection, in bytes. */
  constructor(receiveMost: number, mtu: number) {
    this.#receiveMost = receiveMost;
    this.#mtu = mtu;
  }

  /** So many connections have sent in this batch. */
  sending(senders: number): void {
    this.#senders = Math.max(senders, this.#senders - 1, 1);
  }

  /**
   * The window that a connection whose packets carry `mss` may be offered now.
   *
   * What all senders together have under way stays about what a guest's own transmit queue holds: a TAP drops what is
   * more (eight streams through one: 1.4 Gbit/s with a megabyte each, 4.7 with an eighth of it). It counts packets, and
   * of those a guest with an MTU of 65520 has only four in 256 KiB: with sixteen its one stream is a third faster.
   */
  receiveLimit(mss: number): number {
    const alone = Math.max(WINDOW, WINDOW_PACKETS * mss);
    const share = Math.max(SHARED_WINDOW, SHARED_PACKETS * mss) / this.#senders;
    return Math.min(this.#receiveMost, alone, Math.max(share, 2 * mss, 0xffff));
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
