/**
 * Several guests' cables, and uplinks to other machines, as one LAN in front of the network's stack.
 *
 * With one cable frames go straight on. From the second on this is a learning bridge: what is for the gateway
 * goes to the stack, what is for a known address goes out on its cable, group addresses and unknown ones go to all other
 * cables, group addresses to the stack as well. The stack's own frames never pass here: it writes to the cable on which
 * it has learned its neighbour.
 *
 * Guests are hostile: the gateway's MAC is not learned, a MAC stays at the cable where it was heard first until that is
 * gone, however long it is silent; where the table is full whoever has most addresses in it makes room, so that a flood
 * pushes out the flooders' own; so many frames to all pass in a second, and `LanGuard` keeps one guest from posing as
 * the network or as another guest.
 *
 * A cable over UDP does not notice that its guest is gone. When a guest that has been silent there for half a minute is
 * heard on another cable, the old place is asked first (ARP, neighbour solicitation); only if nothing comes from there
 * does the guest have its address at the new one, and its lease, which is the MAC's.
 *
 * An uplink leads to many machines, and perhaps by a loop back to us. What comes by one never leaves by one (split
 * horizon); a guest's MAC is not an uplink's to use, so a guest's own frames that come back are dropped; one that is
 * heard by two uplinks stays with the first while that hears it; and what bridges say to each other (spanning tree) is
 * not passed on, since we are no bridge that takes part.
 */
import type { Clock } from "../core/clock.ts";
import { DEFAULT_LIMITS, type Limits } from "../core/limits.ts";
import { COMPLETE, type Link, type LinkReceiver, type Slab } from "../core/link.ts";
import type { FrameTap } from "../core/tap.ts";
import type { DropReason, Trace } from "../core/trace.ts";
import { ETH_HEADER, macIsBridges, macIsGroup, macNumber } from "../wire/ethernet.ts";
import type { LanGuard } from "./guard.ts";
import { passUndone } from "./undone.ts";

/** What is behind an uplink may have moved within its segment without being heard here. */
const AGE_MILLIS = 300_000;
/** A MAC that two uplinks hear moves when the first has been silent for so long. */
const MOVE_MILLIS = 1_000;
/** Behind a cable that does not notice its end: silent for so long, and not answering for so long, is gone. */
const QUIET_MILLIS = 30_000;
const ANSWER_MILLIS = 2_000;

export interface SwitchOptions {
  /** The stack. */
  readonly inner: LinkReceiver;
  readonly clock: Clock;
  readonly trace: Trace;
  /** The usual ones, unless it is said. */
  readonly limits?: Limits;
  /** The stack's own MACs. */
  readonly gatewayMacs: readonly Uint8Array[];
  readonly guard: LanGuard;
  readonly tap: FrameTap;
  /** Keeps guests' cables apart: each sees the gateway and the uplinks only (false). */
  readonly isolate?: boolean;
  /** Asks who has this MAC on a cable to say something; false when there is no way to. Without it nobody is asked. */
  readonly probe?: (link: Link, mac: number) => boolean;
}

interface Port {
  readonly link: Link;
  readonly uplink: boolean;
  /** The addresses in the table that are this port's; those heard first come first. */
  readonly macs: Set<number>;
  /** Frames to all that it may send now, and when that was counted. */
  floods: number;
  countedAt: number;
  /** Has frames of this batch. */
  touched: boolean;
}

/** An address, its cable's name, and when it was last heard. */
export type SavedMac = readonly [mac: number, cable: string, heard: number];

interface Entry {
  readonly port: Port;
  heard: number;
  /** When it was asked to say something, somebody else having used its address. */
  asked: number;
}

export class Switch implements LinkReceiver {
  readonly #inner: LinkReceiver;
  readonly #clock: Clock;
  readonly #trace: Trace;
  readonly #limits: Limits;
  readonly #guard: LanGuard;
  readonly #tap: FrameTap;
  readonly #gateway: ReadonlySet<number>;
  readonly #isolate: boolean;
  readonly #probe: (link: Link, mac: number) => boolean;
  readonly #ports: Port[] = [];
  readonly #portOf: Map<Link, Port> = new Map();
  /** By MAC as a number of 48 bits; those heard first come first. */
  readonly #table: Map<number, Entry> = new Map();
  /** Entries that are not an uplink's. */
  #guests = 0;

  constructor(options: SwitchOptions) {
    this.#inner = options.inner;
    this.#clock = options.clock;
    this.#trace = options.trace;
    this.#limits = options.limits ?? DEFAULT_LIMITS;
    this.#guard = options.guard;
    this.#tap = options.tap;
    this.#isolate = options.isolate ?? false;
    this.#probe = options.probe ?? (() => false);
    this.#gateway = new Set(options.gatewayMacs.map((mac) => macNumber(mac, 0)));
  }

  /** The cables' names. */
  cables(): string[] {
    return this.#ports.map((port) => port.link.name);
  }

  /** Addresses known, guests' and others'. */
  get size(): number {
    return this.#table.size;
  }

  attached(link: Link): void {
    // Alone, a guest is only heard when it speaks to all; it has not been silent for that.
    const now = this.#clock.now();
    if (this.#ports.length === 1) for (const entry of this.#table.values()) entry.heard = now;
    const uplink = link.uplink ?? false;
    const port: Port = {
      link,
      uplink,
      macs: new Set(),
      floods: this.#limits.floodRate,
      countedAt: now,
      touched: false,
    };
    this.#ports.push(port);
    this.#portOf.set(link, port);
    this.#inner.attached(link);
  }

  leavesPayload(link: Link, slab: Slab, at: number, head: number, len: number, undone: number): boolean {
    // Whoever looks at frames, and other guests, are given them whole.
    if (this.#tap.active || !this.#gateway.has(macNumber(slab.bytes, at))) return false;
    return this.#inner.leavesPayload?.(link, slab, at, head, len, undone) === true;
  }

  receive(link: Link, slab: Slab, at: number, len: number, undone: number = COMPLETE): void {
    if (this.#tap.active && !this.#tap.incoming(link, slab, at, len, undone)) return;
    this.deliver(link, slab, at, len, undone);
  }

  /** A frame that the tap has let go. */
  deliver(link: Link, slab: Slab, at: number, len: number, undone: number = COMPLETE): void {
    // What is said to all (ARP, DHCP) is always looked at, so that nobody who comes later can take the first one's MAC.
    if (this.#ports.length === 1 && !macIsGroup(slab.bytes, at)) this.#inner.receive(link, slab, at, len, undone);
    else this.#bridge(link, slab, at, len, undone);
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
    for (const mac of port.macs) this.#forget(mac, port);
    this.#tap.detached(link);
    this.#inner.detached(link);
  }

  /** The guests' addresses with their cables' names, and when they were heard, the first one first. */
  save(): SavedMac[] {
    return [...this.#table].map(([mac, { port, heard }]) => [mac, port.link.name, heard]);
  }

  /** What another switch has saved, as far as its cables are there. */
  restore(saved: readonly SavedMac[]): void {
    for (const [mac, cable, heard] of saved) {
      const port = this.#ports.find(({ link }) => link.name === cable);
      if (port === undefined) continue;
      this.#table.set(mac, { port, heard, asked: Number.NEGATIVE_INFINITY });
      port.macs.add(mac);
      if (!port.uplink) this.#guests++;
    }
  }

  #bridge(link: Link, slab: Slab, at: number, len: number, undone: number): void {
    const { bytes } = slab;
    if (len < ETH_HEADER) return this.#trace.drop("eth-short");
    const from = this.#portOf.get(link)!;
    const refusal = this.#learn(from, macNumber(bytes, at + 6), bytes, at + 6);
    if (refusal !== null) return this.#trace.drop(refusal);
    if (macIsGroup(bytes, at)) {
      if (macIsBridges(bytes, at)) return this.#trace.drop("bridge-control");
      // Others first: the stack may move bytes about in the slab once it has the frame.
      this.#flood(from, bytes, at, len, undone);
      this.#inner.receive(link, slab, at, len, undone);
      return;
    }
    const to = macNumber(bytes, at);
    if (this.#gateway.has(to)) return this.#inner.receive(link, slab, at, len, undone);
    const entry = this.#table.get(to);
    if (entry === undefined || this.#isAged(entry)) this.#flood(from, bytes, at, len, undone);
    else if (entry.port !== from && !(entry.port.uplink && from.uplink)) {
      if (this.#apart(from, entry.port)) this.#trace.drop("isolated");
      else if (this.#mayPass(from, bytes, at, len)) this.#forward(entry.port, bytes, at, len, undone);
    }
  }

  /** Why the address is not the sender's to use; null when it is. */
  #learn(from: Port, mac: number, bytes: Uint8Array, at: number): DropReason | null {
    if (macIsGroup(bytes, at) || this.#gateway.has(mac)) return "mac-spoofed";
    const now = this.#clock.now();
    const known = this.#table.get(mac);
    if (known !== undefined) {
      if (known.port === from) {
        known.heard = now;
        return null;
      }
      const refusal = this.#refusesMove(known, mac, from, now);
      if (refusal !== null) return refusal;
      this.#forget(mac, known.port);
    }
    if (!this.#makeRoom(from)) return null;
    this.#table.set(mac, { port: from, heard: now, asked: Number.NEGATIVE_INFINITY });
    from.macs.add(mac);
    if (!from.uplink) this.#guests++;
    return null;
  }

  /**
   * For one more of a port's addresses. False when there is none to be had: a full table is no reason to refuse a guest,
   * frames to it are flooded.
   */
  #makeRoom(from: Port): boolean {
    const { macs, macsPerGuest, uplinkMacs } = this.#limits;
    let full: Port | null = from;
    if (from.macs.size < (from.uplink ? uplinkMacs : macsPerGuest)) {
      if (from.uplink || this.#guests < macs) return true;
      full = this.#fullest(from);
    }
    this.#trace.drop("macs-full");
    if (full === null) return false;
    this.#forget(this.#oldest(full), full);
    return true;
  }

  /** Which guest has the most addresses, itself included; null when nobody has one that can be spared. */
  #fullest(from: Port): Port | null {
    let most: Port | null = from.macs.size > 0 ? from : null;
    for (const port of this.#ports) {
      // Nobody's last one goes, nor one of those who would then have fewer than the newcomer.
      if (!port.uplink && port.macs.size > Math.max(1, from.macs.size + 1, most?.macs.size ?? 0)) most = port;
    }
    return most;
  }

  /** The address of a guest's port that has been silent for longest; an uplink has too many to look through, and its first goes. */
  #oldest(port: Port): number {
    let oldest = port.macs.values().next().value!;
    if (port.uplink) return oldest;
    let since = Number.POSITIVE_INFINITY;
    for (const mac of port.macs) {
      const { heard } = this.#table.get(mac)!;
      if (heard >= since) continue;
      since = heard;
      oldest = mac;
    }
    return oldest;
  }

  #isAged({ port, heard }: Entry): boolean {
    return port.uplink && this.#clock.now() - heard > AGE_MILLIS;
  }

  /** Why what is known at one port may not be another's now. */
  #refusesMove(known: Entry, mac: number, to: Port, now: number): DropReason | null {
    const silence = now - known.heard;
    const { uplink, link } = known.port;
    if (uplink && to.uplink) return silence > MOVE_MILLIS ? null : "mac-flapping";
    // Behind a cable that notices its end somebody is there, however silent.
    if (link.endless !== true || silence <= (uplink ? AGE_MILLIS : QUIET_MILLIS)) return "mac-spoofed";
    // Nothing has come from it since it was asked: it has left a cable that does not notice.
    if (known.asked > known.heard) return now - known.asked > ANSWER_MILLIS ? null : "mac-spoofed";
    if (this.#probe(link, mac)) known.asked = now;
    else if (silence > AGE_MILLIS) return null;
    return "mac-spoofed";
  }

  #forget(mac: number, port: Port): void {
    this.#table.delete(mac);
    port.macs.delete(mac);
    if (!port.uplink) this.#guests--;
  }

  #flood(from: Port, bytes: Uint8Array, at: number, len: number, undone: number): void {
    if (this.#isolate && !this.#ports.some((port) => port !== from && !this.#apart(from, port)))
      return this.#trace.drop("isolated");
    if (!this.#mayPass(from, bytes, at, len)) return;
    if (!this.#mayFlood(from)) return this.#trace.drop("storm");
    for (const port of this.#ports) {
      if (port !== from && !(port.uplink && from.uplink) && !this.#apart(from, port))
        this.#forward(port, bytes, at, len, undone);
    }
  }

  /** Whether two cables are kept apart. Uplinks are no guests. */
  #apart(a: Port, b: Port): boolean {
    return this.#isolate && !a.uplink && !b.uplink;
  }

  #mayPass(from: Port, bytes: Uint8Array, at: number, len: number): boolean {
    if (this.#guard.allows(from.link, bytes, at, len)) return true;
    this.#trace.drop("policy");
    return false;
  }

  #mayFlood(from: Port): boolean {
    const now = this.#clock.now();
    const { floodRate } = this.#limits;
    from.floods = Math.min(floodRate, from.floods + ((now - from.countedAt) * floodRate) / 1000);
    from.countedAt = now;
    if (from.floods < 1) return false;
    from.floods--;
    return true;
  }

  #forward(port: Port, bytes: Uint8Array, at: number, len: number, undone: number): void {
    if (undone !== COMPLETE) {
      port.touched = true;
      return passUndone(port.link, bytes, at, len, undone, this.#trace);
    }
    const o = port.link.reserve(len);
    if (o < 0) return this.#trace.drop("cable-full");
    port.link.tx.set(bytes.subarray(at, at + len), o);
    port.link.commit(len);
    port.touched = true;
  }
}

/** Where no gateway of ours is: frames end here. */
export class NullReceiver implements LinkReceiver {
  framesIn = 0;
  bytesIn = 0;

  receive(_link: Link, _slab: Slab, _at: number, len: number): void {
    this.framesIn++;
    this.bytesIn += len;
  }

  attached(): void {}
  batchEnd(): void {}
  writable(): void {}
  detached(): void {}
}
