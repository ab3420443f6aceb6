/**
 * Several guests' cables as one LAN, in front of the network's stack.
 *
 * With one cable frames go straight on. From the second on this is a learning bridge: what is for the gateway
 * goes to the stack, what is for a known guest goes out on its cable, group addresses and unknown ones go to all other
 * cables, group addresses to the stack as well. The stack's own frames never pass here: it writes to the cable on which
 * it has learned its neighbour.
 *
 * Guests are hostile: the gateway's MAC is not learned, a MAC stays at the cable where it was heard first until it has
 * aged or the cable is gone, a cable's addresses are counted so that a flood of them pushes out only its own, and
 * `LanGuard` keeps one guest from posing as the network to another.
 */
import type { Clock } from "../core/clock.ts";
import type { Link, LinkReceiver, Slab } from "../core/link.ts";
import type { FrameTap } from "../core/tap.ts";
import type { Trace } from "../core/trace.ts";
import { ETH_HEADER, macIsGroup, macNumber } from "../wire/ethernet.ts";
import type { LanGuard } from "./guard.ts";

const ENTRIES = 1_024;
const ENTRIES_PER_PORT = 64;
const AGE_MILLIS = 300_000;

export interface SwitchOptions {
  /** The stack. */
  readonly inner: LinkReceiver;
  readonly clock: Clock;
  readonly trace: Trace;
  /** The stack's own MACs. */
  readonly gatewayMacs: readonly Uint8Array[];
  readonly guard: LanGuard;
  readonly tap: FrameTap;
  /** Keeps the cables apart: each sees the gateway only (false). */
  readonly isolate?: boolean;
}

interface Port {
  readonly link: Link;
  /** Addresses in the table that are this port's. */
  entries: number;
  /** Has frames of this batch. */
  touched: boolean;
}

interface Entry {
  readonly port: Port;
  heard: number;
}

export class Switch implements LinkReceiver {
  readonly #inner: LinkReceiver;
  readonly #clock: Clock;
  readonly #trace: Trace;
  readonly #guard: LanGuard;
  readonly #tap: FrameTap;
  readonly #gateway: ReadonlySet<number>;
  readonly #isolate: boolean;
  readonly #ports: Port[] = [];
  readonly #portOf: Map<Link, Port> = new Map();
  /** By MAC as a number of 48 bits; those heard first come first. */
  readonly #table: Map<number, Entry> = new Map();

  constructor(options: SwitchOptions) {
    this.#inner = options.inner;
    this.#clock = options.clock;
    this.#trace = options.trace;
    this.#guard = options.guard;
    this.#tap = options.tap;
    this.#isolate = options.isolate ?? false;
    this.#gateway = new Set(options.gatewayMacs.map((mac) => macNumber(mac, 0)));
  }

  /** The cables' names. */
  cables(): string[] {
    return this.#ports.map((port) => port.link.name);
  }

  /** Guests' addresses known. */
  get size(): number {
    return this.#table.size;
  }

  attached(link: Link): void {
    // Alone, a guest is only heard when it speaks to all; its addresses do not age by that.
    const now = this.#clock.now();
    if (this.#ports.length === 1) for (const entry of this.#table.values()) entry.heard = now;
    const port: Port = { link, entries: 0, touched: false };
    this.#ports.push(port);
    this.#portOf.set(link, port);
    this.#inner.attached(link);
  }

  receive(link: Link, slab: Slab, at: number, len: number): void {
    if (this.#tap.active && !this.#tap.incoming(link, slab, at, len)) return;
    this.deliver(link, slab, at, len);
  }

  /** A frame that the tap has let go. */
  deliver(link: Link, slab: Slab, at: number, len: number): void {
    // What is said to all (ARP, DHCP) is always looked at, so that nobody who comes later can take the first one's MAC.
    if (this.#ports.length === 1 && !macIsGroup(slab.bytes, at)) this.#inner.receive(link, slab, at, len);
    else this.#bridge(link, slab, at, len);
  }

  batchEnd(link: Link): void {
    this.#inner.batchEnd(link);
    if (this.#ports.length === 1) return;
    for (const port of this.#ports) {
      if (!port.touched) continue;
      port.touched = false;
      port.link.flush();
    }
  }

  writable(link: Link): void {
    this.#inner.writable(link);
  }

  detached(link: Link): void {
    const port = this.#portOf.get(link)!;
    this.#portOf.delete(link);
    this.#ports.splice(this.#ports.indexOf(port), 1);
    for (const [mac, entry] of this.#table) if (entry.port === port) this.#table.delete(mac);
    this.#tap.detached(link);
    this.#inner.detached(link);
  }

  #bridge(link: Link, slab: Slab, at: number, len: number): void {
    const { bytes } = slab;
    if (len < ETH_HEADER) return this.#trace.drop("eth-short");
    const from = this.#portOf.get(link)!;
    if (!this.#learn(from, macNumber(bytes, at + 6), bytes, at + 6)) return this.#trace.drop("mac-spoofed");
    if (macIsGroup(bytes, at)) {
      // Others first: the stack may move bytes about in the slab once it has the frame.
      this.#flood(from, bytes, at, len);
      this.#inner.receive(link, slab, at, len);
      return;
    }
    const to = macNumber(bytes, at);
    if (this.#gateway.has(to)) return this.#inner.receive(link, slab, at, len);
    const entry = this.#table.get(to);
    if (entry === undefined || this.#clock.now() - entry.heard > AGE_MILLIS) this.#flood(from, bytes, at, len);
    else if (entry.port !== from && this.#mayPass(bytes, at, len)) this.#forward(entry.port, bytes, at, len);
  }

  /** False when the address is not the sender's to use. */
  #learn(from: Port, mac: number, bytes: Uint8Array, at: number): boolean {
    if (macIsGroup(bytes, at) || this.#gateway.has(mac)) return false;
    const now = this.#clock.now();
    const known = this.#table.get(mac);
    if (known !== undefined) {
      if (known.port === from) {
        known.heard = now;
        return true;
      }
      if (now - known.heard <= AGE_MILLIS) return false;
      this.#forget(mac, known);
    }
    if (from.entries >= ENTRIES_PER_PORT) this.#forgetOne((entry) => entry.port === from);
    else if (this.#table.size >= ENTRIES) this.#forgetOne((entry) => now - entry.heard > AGE_MILLIS);
    // A full table is no reason to refuse a guest: frames to it are flooded.
    if (this.#table.size >= ENTRIES) return true;
    this.#table.set(mac, { port: from, heard: now });
    from.entries++;
    return true;
  }

  #forget(mac: number, entry: Entry): void {
    this.#table.delete(mac);
    entry.port.entries--;
  }

  #forgetOne(which: (entry: Entry) => boolean): void {
    for (const [mac, entry] of this.#table) {
      if (which(entry)) return this.#forget(mac, entry);
    }
  }

  #flood(from: Port, bytes: Uint8Array, at: number, len: number): void {
    if (!this.#mayPass(bytes, at, len)) return;
    for (const port of this.#ports) if (port !== from) this.#forward(port, bytes, at, len);
  }

  #mayPass(bytes: Uint8Array, at: number, len: number): boolean {
    if (this.#isolate) this.#trace.drop("isolated");
    else if (this.#guard.allows(bytes, at, len)) return true;
    else this.#trace.drop("policy");
    return false;
  }

  #forward(port: Port, bytes: Uint8Array, at: number, len: number): void {
    const o = port.link.reserve(len);
    if (o < 0) return this.#trace.drop("cable-full");
    port.link.tx.set(bytes.subarray(at, at + len), o);
    port.link.commit(len);
    port.touched = true;
  }
}
