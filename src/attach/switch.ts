/**
 * Several guests' cables, and uplinks to other machines, as one LAN in front of the network's stack.
 *
 * With one cable, frames go straight on. With two or more this is a learning bridge: frames for the gateway go to the
 * stack, and frames for a known address to its cable. Frames for groups and unknown addresses go to all other cables,
 * those for groups to the stack as well. The stack's own frames never pass here: it writes to the cable on which it has
 * learned its neighbour.
 *
 * Guests are hostile. The gateway's MAC is not learned. A MAC stays at the cable where it was heard first until that
 * cable is gone, however long the MAC is silent. When the table is full, the cable with most addresses makes room, so a
 * flood pushes out the flooder's own. Only so many frames to all pass in a second. `LanGuard` keeps a guest from posing
 * as the network or as another guest.
 *
 * A cable over UDP does not notice that its guest is gone. When a guest that has been silent there for half a minute is
 * heard on another cable, the old cable is asked first (ARP, neighbour solicitation). Only if no answer comes does the
 * guest get its address, and with its MAC its lease, on the new cable.
 *
 * An uplink leads to many machines, and perhaps by a loop back to us. Frames that come by an uplink never leave by one
 * (split horizon). A guest's MAC may not be used behind an uplink, so a guest's own frames that come back are dropped.
 * A MAC that two uplinks hear stays with the first, while that hears it. Messages between bridges (spanning tree) are
 * not passed on, since this bridge takes no part in them.
 */
import type { Clock } from "../core/clock.ts";
import { DEFAULT_LIMITS, type Limits } from "../core/limits.ts";
import { COMPLETE, type Link, type LinkReceiver, type Slab } from "../core/link.ts";
import type { FrameTap } from "../core/tap.ts";
import type { DropReason, Trace } from "../core/trace.ts";
import { ETH_HEADER, macIsBridges, macIsGroup, macNumber } from "../wire/ethernet.ts";
import type { LanGuard } from "./guard.ts";
import { passUndone } from "./undone.ts";

/** An address behind an uplink may have moved within its segment without being heard here. */
const AGE_MILLIS = 300_000;
/** A MAC that two uplinks hear moves when the first has not heard it for this long. Milliseconds. */
const MOVE_MILLIS = 1_000;
/**
 * A guest behind a cable that does not notice its end is gone if it is silent for this long, and then does not answer.
 */
const QUIET_MILLIS = 30_000;
const ANSWER_MILLIS = 2_000;

export interface SwitchOptions {
  /** The receiver behind the switch: the stack. */
  readonly inner: LinkReceiver;
  readonly clock: Clock;
  readonly trace: Trace;
  /** Unset: the defaults. */
  readonly limits?: Limits;
  /** The MACs of the stack. */
  readonly gatewayMacs: readonly Uint8Array[];
  readonly guard: LanGuard;
  readonly tap: FrameTap;
  /** Whether guests' cables are kept apart: each then sees the gateway and the uplinks only. Default false. */
  readonly isolate?: boolean;
  /** Asks the machine with this MAC on a cable to answer; false when it cannot be asked. Unset: nobody is asked. */
  readonly probe?: (link: Link, mac: number) => boolean;
}

interface Port {
  readonly link: Link;
  readonly uplink: boolean;
  /** The addresses in the table that belong to this port, those heard first at the front. */
  readonly macs: Set<number>;
  /** How many frames to all the port may send now, and when that was computed. */
  floods: number;
  countedAt: number;
  /** Whether the port has frames in this batch. */
  touched: boolean;
}

/** A MAC, its cable's name, and when it was last heard. */
export type SavedMac = readonly [mac: number, cable: string, heard: number];

interface Entry {
  readonly port: Port;
  heard: number;
  /** When the machine was asked to answer, because another one used its address. */
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
  /** By MAC, a number of 48 bits; those heard first at the front. */
  readonly #table: Map<number, Entry> = new Map();
  /** How many entries are not an uplink's. */
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

  /** How many addresses are known, guests' and others'. */
  get size(): number {
    return this.#table.size;
  }

  attached(link: Link): void {
    // A guest that was alone is heard only when it sends to all; that is no silence.
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
    // The tap, and other guests, need whole frames.
    if (this.#tap.active || !this.#gateway.has(macNumber(slab.bytes, at))) return false;
    return this.#inner.leavesPayload?.(link, slab, at, head, len, undone) === true;
  }

  receive(link: Link, slab: Slab, at: number, len: number, undone: number = COMPLETE): void {
    if (this.#tap.active && !this.#tap.incoming(link, slab, at, len, undone)) return;
    this.deliver(link, slab, at, len, undone);
  }

  /** A frame that the tap has released. */
  deliver(link: Link, slab: Slab, at: number, len: number, undone: number = COMPLETE): void {
    // Frames to all (ARP, DHCP) are always looked at, so that a later guest cannot take the first one's MAC.
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

  /** The guests' addresses with their cables' names and times, those heard first at the front. */
  save(): SavedMac[] {
    return [...this.#table].map(([mac, { port, heard }]) => [mac, port.link.name, heard]);
  }

  /** Takes over the addresses that another switch has saved, if their cables are there. */
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
      // The others' copies first, because the stack may move bytes about in the slab once it has the frame.
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

  /** Why the sender may not use the address; null when it may. */
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
   * Makes room in the table for one more of a port's addresses. False when there is none. A full table is no reason to
   * refuse a guest: frames to it are flooded.
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

  /** The port of the guest with the most addresses, `from` included; null when no address can be spared. */
  #fullest(from: Port): Port | null {
    let most: Port | null = from.macs.size > 0 ? from : null;
    for (const port of this.#ports) {
      // Nobody loses the last address, or gets fewer addresses than the newcomer.
      if (!port.uplink && port.macs.size > Math.max(1, from.macs.size + 1, most?.macs.size ?? 0)) most = port;
    }
    return most;
  }

  /**
   * The address of a guest's port that has been silent longest. An uplink has too many to search, so its first one
   * goes.
   */
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

  /** Why an address that is known at one port may not move to another now; null when it may. */
  #refusesMove(known: Entry, mac: number, to: Port, now: number): DropReason | null {
    const silence = now - known.heard;
    const { uplink, link } = known.port;
    if (uplink && to.uplink) return silence > MOVE_MILLIS ? null : "mac-flapping";
    // A cable that notices its end still has its guest, however silent.
    if (link.endless !== true || silence <= (uplink ? AGE_MILLIS : QUIET_MILLIS)) return "mac-spoofed";
    // It was asked and has sent nothing since: the guest has left a cable that does not notice that.
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

  /** Whether two cables are kept apart. Uplinks are not guests. */
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

/** The receiver where there is no gateway of ours: drops all frames. */
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
