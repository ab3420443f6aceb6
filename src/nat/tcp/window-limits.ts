/**
 * How much of the shared window each of a network's TCP connections may be offered, how much it may have under way to
 * its guest, and how much its send buffer may hold.
 */

/** Window of a connection that sends alone: this many bytes, or `WINDOW_PACKETS` of its packets, whichever is more. */
const WINDOW = 393_216;
const WINDOW_PACKETS = 16;
/** The same for all connections together that send at a time. */
const SHARED_WINDOW = 1_048_576;
const SHARED_PACKETS = 64;
/** What a send buffer may hold, in bytes, where its connection is not alone. */
const SEND_EACH = 1_048_576;
/**
 * Bytes (or packets, whichever is more) that a large transfer may have under way beside a small one. With fewer, a loss
 * would be noticed by a time-out only. A single transfer on its way up may have twice as much.
 */
const BESIDE_SMALL = 32_768;
const BESIDE_SMALL_PACKETS = 6;
/** Milliseconds in an interval, and how many bytes in one make a connection a large transfer. */
const INTERVAL = 10;
export const LARGE = 16_384;

/** A connection, as far as its traffic is measured. Kept by `WindowLimits`. */
export interface MeasuredFlow {
  /** Bytes that the host and the guest have sent in this interval. */
  intervalDown: number;
  intervalUp: number;
  /** Whether the host sent much in the previous interval. */
  large: boolean;
}

export class WindowLimits {
  readonly #receiveMost: number;
  /** How many connections sent in one batch: the largest number in recent ones, which decays by one a batch. */
  #senders = 1;
  /** Large transfers on their way up in the previous interval. A batch may be of one alone, since they take turns. */
  #uploads = 0;
  /** Large transfers on their way down in the previous interval. */
  #downloads = 0;
  /** Whether small transfers go on beside large ones. */
  #beside = false;
  /** Connections on which either side has sent something in this interval. */
  readonly #active: MeasuredFlow[] = [];
  #intervalEnds = 0;

  /** `receiveMost` is the largest window of a connection, in bytes. */
  constructor(receiveMost: number) {
    this.#receiveMost = receiveMost;
  }

  /** This many connections have sent in this batch. */
  shareAmong(senders: number): void {
    this.#senders = Math.max(senders, this.#senders - 1, 1);
  }

  /**
   * The window that a connection whose packets carry `mss` may be offered now.
   *
   * All senders together have about as much under way as a guest's own transmit queue holds, because a TAP drops the
   * rest (eight streams through one: 1.4 Gbit/s with a megabyte each, 4.7 with an eighth of it). That queue counts
   * packets, and 384 KiB are only six packets at an MTU of 65520: a single stream is a third faster with sixteen.
   */
  receiveLimit(mss: number): number {
    const alone = Math.max(WINDOW, WINDOW_PACKETS * mss);
    const share = Math.max(SHARED_WINDOW, SHARED_PACKETS * mss) / Math.max(this.#senders, this.#uploads);
    const most = Math.min(this.#receiveMost, alone, Math.max(share, 2 * mss, 0xffff));
    return this.#beside ? Math.min(most, besideSmall(mss) * (this.#uploads > 1 ? 1 : 2)) : most;
  }

  /** How much a large transfer whose packets carry `mss` bytes may have under way to its guest now, in bytes. */
  largeFlight(mss: number): number {
    return this.#beside ? besideSmall(mss) : Number.POSITIVE_INFINITY;
  }

  /**
   * How many bytes of its host's a connection's send buffer may hold now, beyond the cap (`sendBuffer`). They stay in
   * it until the guest has acknowledged them, and the host is not read while it is full. So a stream that is alone on
   * its way down is faster with four megabytes than with one (bench/README.md has how much). Of several each has enough
   * with one, and what is small beside it waits less.
   */
  sendLimit(): number {
    return this.#beside || this.#downloads > 1 ? SEND_EACH : Number.POSITIVE_INFINITY;
  }

  /**
   * A guest has sent `len` bytes on `flow`, or its host has (`receiving`). A large transfer alone may have under way as
   * much as its guest, or we, take. Beside a small transfer, bytes queued ahead only make that wait: a byte and its
   * answer took 1.3 ms beside a window of 256 KiB and 0.45 ms beside 64 KiB; 0.8 ms with 128 KiB on their way down, 0.3
   * ms with 32 KiB. A window shrinks only as it is used up: its right edge stays (RFC 9293 section 3.8.6.2.1).
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
    let down = 0;
    let small = 0;
    for (let i = 0; i < active.length; i++) {
      const flow = active[i]!;
      flow.large = flow.intervalDown >= LARGE;
      if (flow.large) down++;
      if (flow.intervalUp >= LARGE) up++;
      else if (!flow.large) small++;
      flow.intervalDown = 0;
      flow.intervalUp = 0;
    }
    this.#beside = small > 0;
    this.#uploads = up;
    this.#downloads = down;
    active.length = 0;
  }
}

function besideSmall(mss: number): number {
  return Math.max(BESIDE_SMALL, BESIDE_SMALL_PACKETS * mss);
}
