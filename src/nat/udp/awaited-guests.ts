/**
 * Datagrams for guests that are still being looked for (ARP, neighbour discovery): the first datagram to a guest that has
 * not spoken yet must not be lost (RFC 1122 section 2.3.2.2, RFC 4861 section 7.2.2).
 *
 * Theory of operation. A datagram waits until its guest is found, or for three requests of a second each. Of each guest
 * the newest eight are kept. Of all guests a constant number of datagrams and of bytes are kept; the oldest make room.
 * If an address has changed hands, the new holder gets no datagram that was meant for the earlier one.
 */
import type { IpAddress } from "../../core/address.ts";
import type { Neighbour } from "../../proto/neighbours.ts";
import { macEquals } from "../../wire/ethernet.ts";
import type { NatContext } from "../context.ts";
import { CLOSED_FLOW, type Flow } from "../flow/flow.ts";

export const AWAIT_PAUSE_MS = 1_000;
const REQUESTS = 3;
export const MOST_OF_GUEST = 8;
export const MOST_AWAITED = 256;
const MOST_BYTES = 1_048_576;
const NO_MAC = new Uint8Array(6);

interface Awaiting {
  readonly guest: Neighbour;
  /** The epoch that the guest has to have when it is found: that of the guest meant, or of the first at its address. */
  readonly epoch: number;
  /** The flow that the datagram belongs to; if it has ended, the datagram is dropped. */
  readonly flow: Flow | null;
  readonly src: IpAddress;
  readonly srcPort: number;
  readonly dstPort: number;
  readonly bytes: Uint8Array;
  requests: number;
  /** When the guest is asked for again. */
  next: number;
}

type Surroundings = Pick<NatContext, "clock" | "trace" | "egress" | "resolve" | "wake">;

export class AwaitedGuests {
  readonly #env: Surroundings;
  /** By `next`, the earliest first, since the pause is the same for all. */
  readonly #waiting: Set<Awaiting> = new Set();
  #bytes = 0;

  constructor(env: Surroundings) {
    this.#env = env;
  }

  get size(): number {
    return this.#waiting.size;
  }

  /** Keeps a copy of a datagram for a guest without a cable, and has the guest looked for. */
  hold(
    guest: Neighbour,
    flow: Flow | null,
    src: IpAddress,
    srcPort: number,
    dstPort: number,
    buf: Uint8Array,
    at: number,
    len: number,
  ): void {
    this.#makeRoom(guest, len);
    const bytes = buf.slice(at, at + len);
    const epoch = macEquals(NO_MAC, 0, guest.mac) ? guest.epoch + 1 : guest.epoch;
    const next = this.#env.clock.now() + AWAIT_PAUSE_MS;
    this.#waiting.add({ guest, epoch, flow, src, srcPort, dstPort, bytes, requests: 1, next });
    this.#bytes += len;
    this.#env.resolve(guest);
    if (this.#waiting.size === 1) this.#env.wake();
  }

  /** A guest has been found: its datagrams go out in their order. */
  found(guest: Neighbour): void {
    if (this.#waiting.size === 0) return;
    for (const waiting of this.#waiting) {
      if (waiting.guest !== guest) continue;
      const { flow, src, srcPort, dstPort, bytes } = waiting;
      if (waiting.epoch !== guest.epoch || flow?.flowState === CLOSED_FLOW) this.#drop(waiting);
      else {
        this.#forget(waiting);
        this.#env.egress.udp(guest, src, srcPort, dstPort, bytes, 0, bytes.length);
      }
    }
  }

  pollAt(): number {
    for (const { next } of this.#waiting) return next;
    return Number.POSITIVE_INFINITY;
  }

  poll(now: number): void {
    for (const waiting of this.#waiting) {
      if (waiting.next > now) return;
      if (waiting.requests === REQUESTS) this.#drop(waiting);
      else {
        this.#waiting.delete(waiting);
        waiting.requests++;
        waiting.next = now + AWAIT_PAUSE_MS;
        this.#waiting.add(waiting);
        this.#env.resolve(waiting.guest);
      }
    }
  }

  /** Drops all datagrams, since the network closes. */
  close(): void {
    this.#waiting.clear();
    this.#bytes = 0;
  }

  #makeRoom(guest: Neighbour, len: number): void {
    let count = 0;
    let oldest: Awaiting | null = null;
    for (const waiting of this.#waiting) {
      if (waiting.guest !== guest) continue;
      oldest ??= waiting;
      count++;
    }
    if (count >= MOST_OF_GUEST) this.#drop(oldest!);
    for (const waiting of this.#waiting) {
      if (this.#waiting.size < MOST_AWAITED && this.#bytes + len <= MOST_BYTES) return;
      this.#drop(waiting);
    }
  }

  #drop(waiting: Awaiting): void {
    this.#forget(waiting);
    this.#env.trace.drop("guest-unreachable");
  }

  #forget(waiting: Awaiting): void {
    this.#waiting.delete(waiting);
    this.#bytes -= waiting.bytes.length;
  }
}
