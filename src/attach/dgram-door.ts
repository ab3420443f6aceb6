/**
 * A UDP socket by which many guests come, each from an address and port of its own, for networks with one guest each.
 * (Within one network a socket serves one guest, see `dgram`.) The datagrams of all guests share the socket's slabs.
 *
 * UDP tells nobody that a guest is gone, and any sender can forge its address. So the owner of the guests has to limit
 * their number, and to drop silent ones.
 */

import { lookup } from "node:dns/promises";
import type { Endpoint } from "../core/address.ts";
import { DEFAULT_LIMITS } from "../core/limits.ts";
import { type Link, MAX_FRAME } from "../core/link.ts";
import { NO_TAP } from "../core/tap.ts";
import type { Trace } from "../core/trace.ts";
import { HostClock } from "../host/clock.ts";
import { reasonOf } from "../host/reason.ts";
import { ETH_HEADER } from "../wire/ethernet.ts";
import { attachAddressText, type DgramAddress } from "./address.ts";
import type { CableEnv } from "./attachment.ts";
import { bindDatagrams, Datagrams, type DatagramUser } from "./datagrams.ts";
import type { Arrival, GuestDoor, OpenGuestDoor } from "./door.ts";
import { type ReadSlab, SlabPool } from "./slab.ts";

/** Opening it rejects with an `Error` of one line. */
export function dgramDoor(wanted: DgramAddress, trace: Trace): OpenGuestDoor {
  return async (onArrival) => {
    try {
      const { address: host } = await lookup(wanted.host);
      const socket = await bindDatagrams({ host, port: wanted.port });
      return new DgramDoor(wanted, socket, trace, onArrival);
    } catch (error) {
      throw new Error(`cannot listen on ${attachAddressText(wanted)}: ${reasonOf(error)}`);
    }
  };
}

class DgramDoor implements DatagramUser, GuestDoor {
  readonly address: DgramAddress;
  readonly datagrams: Datagrams;
  readonly #trace: Trace;
  readonly #onArrival: (arrival: Arrival) => void;
  /** Guests by port, then by host, so that no text of the two is made to find one. */
  readonly #guests: Map<number, Map<string, GuestLink>> = new Map();
  /** The guest whose datagram was welcomed last; that datagram comes next. */
  #current: GuestLink | null = null;
  /** Guests with frames in this batch. */
  readonly #touched: Set<GuestLink> = new Set();
  #open = true;

  constructor(
    wanted: DgramAddress,
    socket: ConstructorParameters<typeof Datagrams>[0],
    trace: Trace,
    onArrival: (arrival: Arrival) => void,
  ) {
    this.address = { ...wanted, port: socket.address().port };
    this.#trace = trace;
    this.#onArrival = onArrival;
    const env: CableEnv = {
      receiver: { attached() {}, receive() {}, batchEnd() {}, writable() {}, detached() {} },
      pool: new SlabPool(),
      trace,
      clock: new HostClock(),
      tap: NO_TAP,
      limits: DEFAULT_LIMITS,
      sent: { frames: 0, bytes: 0 },
    };
    this.datagrams = new Datagrams(socket, env, this);
  }

  close(): Promise<void> {
    this.#open = false;
    // Datagrams on their way to guests, resets above all, are sent first.
    return new Promise((resolve) => setImmediate(() => this.datagrams.close(resolve)));
  }

  welcomes(host: string, port: number, len: number): boolean {
    if (!this.#open) return false;
    if (len === 0 || len > MAX_FRAME) {
      this.#trace.drop("eth-short");
      return false;
    }
    this.#current = this.#guests.get(port)?.get(host) ?? (len < ETH_HEADER ? null : this.#arrived({ host, port }));
    return this.#current !== null;
  }

  datagram(slab: ReadSlab, at: number, len: number): void {
    const guest = this.#current!;
    this.#touched.add(guest);
    guest.env.receiver.receive(guest, slab, at, len);
  }

  batchEnd(): void {
    for (const guest of this.#touched) if (!guest.gone) guest.env.receiver.batchEnd(guest);
    this.#touched.clear();
  }

  writable(): void {
    for (const guests of this.#guests.values()) {
      for (const guest of guests.values()) {
        if (!guest.full) continue;
        guest.full = false;
        guest.env.receiver.writable(guest);
      }
    }
  }

  /** A new guest has sent its first datagram. Null when it is turned away. */
  #arrived(remote: Endpoint): GuestLink | null {
    let guest: GuestLink | null = null;
    this.#onArrival({
      plug: (name, env, onGone) => {
        guest = new GuestLink(this.datagrams, remote, name, env, () => {
          this.#forget(remote);
          onGone();
        });
        const { port, host } = remote;
        const sameport = this.#guests.get(port) ?? new Map<string, GuestLink>();
        this.#guests.set(port, sameport.set(host, guest));
        env.receiver.attached(guest);
        return guest;
      },
      refuse: () => {},
    });
    return guest;
  }

  #forget({ host, port }: Endpoint): void {
    const guests = this.#guests.get(port)!;
    guests.delete(host);
    if (guests.size === 0) this.#guests.delete(port);
  }
}

class GuestLink implements Link {
  readonly name: string;
  readonly endless = true;
  readonly env: CableEnv;
  full = false;
  gone = false;
  readonly #datagrams: Datagrams;
  readonly #remotes: readonly Endpoint[];
  readonly #onGone: () => void;

  constructor(datagrams: Datagrams, remote: Endpoint, name: string, env: CableEnv, onGone: () => void) {
    this.name = name;
    this.env = env;
    this.#datagrams = datagrams;
    this.#remotes = [remote];
    this.#onGone = onGone;
  }

  get tx(): Uint8Array {
    return this.#datagrams.tx;
  }

  reserve(len: number): number {
    const at = this.gone ? -1 : this.#datagrams.reserve(len);
    this.full = at < 0;
    return at;
  }

  commit(len: number): void {
    const { tap, sent } = this.env;
    if (tap.active && !tap.outgoing(this, this.#datagrams.tx, this.#datagrams.next, len)) return;
    sent.frames++;
    sent.bytes += len;
    this.#datagrams.commit(len, this.#remotes);
  }

  flush(): void {
    this.#datagrams.flush();
  }

  close(): void {
    if (this.gone) return;
    this.#datagrams.flush();
    this.gone = true;
    queueMicrotask(() => {
      this.env.receiver.detached(this);
      this.#onGone();
    });
  }
}
