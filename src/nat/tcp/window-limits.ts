/** What each of a network's TCP connections may have: of the window that senders share, and under way to the guests. */

/** Window of a connection that sends alone: so many bytes, or packets of its guest's where those are more. */
const WINDOW = 262_144;
const WINDOW_PACKETS = 16;
/** The same that all who send share. */
const SHARED_WINDOW = 1_048_576;
const SHARED_PACKETS = 64;
/**
 * Bytes that a large transfer has under way while there is something small beside it, or packets where those are more: with
 * fewer a loss is noticed by a time-out only. One that is alone on its way up has twice as much.
 */
const BESIDE_SMALL = 32_768;
const BESIDE_SMALL_PACKETS = 6;
/** Milliseconds, and the bytes of one connection in so long that make it a large transfer. */
const INTERVAL = 10;
export const LARGE = 16_384;

/** A connection, as far as its traffic is measured. Kept by `WindowLimits`. */
export interface MeasuredFlow {
  /** Bytes that the host and the guest have sent in this interval. */
  intervalDown: number;
  intervalUp: number;
  /** Whether the host has sent much in the interval before. */
  large: boolean;
}

export class WindowLimits {
  readonly #receiveMost: number;
  /** How many connections send at a time: of the latest batches the largest number, forgotten by one a batch. */
  #senders = 1;
  /** There is something small beside large transfers. */
  #beside = false;
  /** Several of these are on their way up. */
  #manyUp = false;
  /** Connections on which either side has sent something in this interval. */
  readonly #active: MeasuredFlow[] = [];
  #intervalEnds = 0;

  /** `receiveMost` is the largest window of a connection, in bytes. */
  constructor(receiveMost: number) {
    this.#receiveMost = receiveMost;
  }

  /** So many connections have sent in this batch. */
  shareAmong(senders: number): void {
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
    const most = Math.min(this.#receiveMost, alone, Math.max(share, 2 * mss, 0xffff));
    return this.#beside ? Math.min(most, besideSmall(mss) * (this.#manyUp ? 1 : 2)) : most;
  }

  /** What a large transfer whose packets carry `mss` may have under way to its guest now. */
  largeFlight(mss: number): number {
    return this.#beside ? besideSmall(mss) : Number.POSITIVE_INFINITY;
  }

  /**
   * A guest has sent `len` bytes on `flow`, or its host has (`receiving`). Large transfers alone may have under way what
   * their guest or we take. Beside something small, what they have before it in the queues only makes it wait: a byte and its
   * answer took 1.3 ms beside a window of 256 KiB and take 0.45 beside one of 64; with 128 KiB on their way down 0.8, with
   * 32 KiB 0.3. A window becomes smaller as it is used up: its right edge stays (RFC 9293 section 3.8.6.2.1).
   */
  sending(flow: MeasuredFlow, len: number, now: number): void {
    this.#note(flow, now);
    flow.intervalUp += len;
  }

  receiving(flow: MeasuredFlow, len: number, now: number): void {
    this.#note(flow, now);
    flow.intervalDown += len;
  }

  #note(flow: MeasuredFlow, now: number): void {
    if (now >= this.#intervalEnds) {
      this.#share();
      this.#intervalEnds = now + INTERVAL;
    }
    if (flow.intervalUp + flow.intervalDown === 0) this.#active.push(flow);
  }

  #share(): void {
    const active = this.#active;
    let up = 0;
    let small = 0;
    for (let i = 0; i < active.length; i++) {
      const flow = active[i]!;
      flow.large = flow.intervalDown >= LARGE;
      if (flow.intervalUp >= LARGE) up++;
      else if (!flow.large) small++;
      flow.intervalDown = 0;
      flow.intervalUp = 0;
    }
    this.#beside = small > 0;
    this.#manyUp = up > 1;
    active.length = 0;
  }
}

function besideSmall(mss: number): number {
  return Math.max(BESIDE_SMALL, BESIDE_SMALL_PACKETS * mss);
}
