/**
 * The guests' addresses: who has which one and on which cable (ARP, RFC 826; neighbour discovery, RFC 4861). Learned
 * from what guests send, never from what they claim about addresses that are not theirs; who may be learned is decided
 * by the protocols (`stack/arp.ts`, `stack/ndp.ts`).
 */
import { addressFromText, type Family, type IpAddress } from "../core/address.ts";
import { FlowTable6 } from "../core/flow-table.ts";
import { DEFAULT_LIMITS, type Limits } from "../core/limits.ts";
import type { Link } from "../core/link.ts";
import { Quota } from "../core/quota.ts";
import { get32 } from "../wire/bytes.ts";
import { macEquals, macToString } from "../wire/ethernet.ts";
import { IPV4_MIN_MTU } from "../wire/ipv4.ts";
import { IPV6_MIN_MTU } from "../wire/ipv6.ts";

/** An address of a guest's interface. Flows hold on to it; its MAC and cable follow the guest. */
export interface Neighbour {
  readonly address: IpAddress;
  readonly family: Family;
  /** The address's part of a flow's key: an IPv4 address as a signed word, or a number made for an IPv6 address. */
  readonly key: number;
  readonly mac: Uint8Array;
  /** The guest's cable; null while nobody has answered for the address, and once the cable is gone. */
  link: Link | null;
  /** The largest IP packet that the guest has sent, or has announced by an MSS, in bytes. */
  shown: number;
  /** The largest IP packet that it may be sent, since it reported one as too big, in bytes. */
  most: number;
  /** Counts the changes of `mac`, so that headers made from it are made anew. */
  epoch: number;
}

/** A guest's address as plain data. */
export interface SavedNeighbour {
  readonly ip: string;
  readonly mac: string;
  readonly cable: string;
  readonly shown: number;
  readonly most: number;
}

/** Told of what happens to guests. Nothing is learned or forgotten from inside these calls. */
export interface NeighbourWatcher {
  /** Whether something is kept for the guest: others are forgotten first. */
  inUse(guest: Neighbour): boolean;
  /** The guest's cable is gone, or nobody is known to have its address any more. */
  left(guest: Neighbour): void;
  /** The guest is on another cable than before, or has one again. */
  came(guest: Neighbour): void;
  /** Another MAC takes the guest's address. The record still has the earlier MAC and cable. */
  replaced(guest: Neighbour): void;
  /** The guest's record makes room for another. */
  forgotten(guest: Neighbour): void;
}

const NOBODY: NeighbourWatcher = {
  inUse: () => false,
  left() {},
  came() {},
  replaced() {},
  forgotten() {},
};

const MAX_PACKET = 65_535;
const NO_MAC = new Uint8Array(6);

/**
 * The guest has reported that a packet of more than `mtu` bytes was too big. The sizes that every host takes still
 * hold.
 */
export function tooBig(guest: Neighbour, mtu: number): void {
  guest.most = Math.min(guest.most, Math.max(mtu, guest.family === 4 ? IPV4_MIN_MTU : IPV6_MIN_MTU));
}

export class Neighbours {
  /** All records, the oldest first. */
  readonly #all: Set<Neighbour> = new Set();
  readonly #byIp: Map<number, Neighbour> = new Map();
  readonly #byIp6: FlowTable6<Neighbour>;
  readonly #quota: Quota;
  readonly #onForgotten: () => void;
  /** Told of what happens to guests. */
  watcher: NeighbourWatcher = NOBODY;
  #keys = 0;

  /**
   * The seeds keep guests from choosing IPv6 addresses that are hard to tell apart. `onForgotten` is told of each address
   * that had to make room for another.
   */
  constructor(seed0: number, seed1: number, limits: Limits = DEFAULT_LIMITS, onForgotten: () => void = () => {}) {
    this.#byIp6 = new FlowTable6(seed0, seed1);
    this.#quota = new Quota(limits.neighbours, limits.neighboursPerGuest);
    this.#onForgotten = onForgotten;
  }

  /** The guest with an IPv4 address, a signed word. */
  get(ip: number): Neighbour | null {
    return this.#byIp.get(ip) ?? null;
  }

  /** The guest with the IPv6 address at `at`. */
  get6(buf: Uint8Array, at: number): Neighbour | null {
    return this.#byIp6.get(0, get32(buf, at), get32(buf, at + 4), get32(buf, at + 8), get32(buf, at + 12), 0);
  }

  /** The record of an address that somebody wants to reach, known or not. */
  expect(address: IpAddress): Neighbour {
    return this.find(address) ?? this.#add(address, null);
  }

  /** The addresses of a family that this MAC uses now. */
  ofMac(mac: string, family: Family): Neighbour[] {
    return [...this.#all].filter((n) => n.family === family && n.link !== null && macToString(n.mac) === mac);
  }

  /** A guest with a cable that `is` names, by its address of this family where it has one; null for nobody. */
  named(family: Family, is: (n: Neighbour) => boolean): Neighbour | null {
    let found: Neighbour | null = null;
    for (const n of this.#all) if (n.link !== null && is(n) && (found === null || n.family === family)) found = n;
    return found;
  }

  /** The guests on a cable. */
  ofLink(link: Link): Neighbour[] {
    return [...this.#all].filter((n) => n.link === link);
  }

  /** The MAC that uses an address now; null for nobody. */
  macOf(address: IpAddress): string | null {
    const n = this.find(address);
    return n === null || n.link === null ? null : macToString(n.mac);
  }

  /** Records that `address` is at the MAC standing at `macAt`. Beyond the cap an old one is forgotten. */
  learn(address: IpAddress, buf: Uint8Array, macAt: number, link: Link): Neighbour {
    const n = this.find(address) ?? this.#add(address, link);
    if (!macEquals(buf, macAt, n.mac)) {
      if (!macEquals(NO_MAC, 0, n.mac)) this.watcher.replaced(n);
      n.mac.set(buf.subarray(macAt, macAt + 6));
      n.shown = 0;
      n.most = MAX_PACKET;
      n.epoch++;
    }
    if (n.link !== link) this.#move(n, link);
    return n;
  }

  /** Nobody is known to have the address any more. */
  unplug(n: Neighbour): void {
    this.#move(n, null);
  }

  /** The address belongs to another guest from now on, which has not been heard with it yet. */
  handOver(n: Neighbour): void {
    this.watcher.replaced(n);
    n.mac.fill(0);
    n.epoch++;
    this.#move(n, null);
  }

  /** The record of an address; null for none. */
  find(address: IpAddress): Neighbour | null {
    return address.family === 4 ? this.get(address.ip) : this.get6(address.bytes, 0);
  }

  #add(address: IpAddress, link: Link | null): Neighbour {
    if (!this.#quota.allows(link)) {
      const old = this.#dispensable(link);
      this.watcher.forgotten(old);
      this.#forget(old);
      this.#onForgotten();
    }
    const { family, ip, bytes: b } = address;
    const key = family === 4 ? ip : (this.#keys = (this.#keys + 1) | 0);
    const n: Neighbour = {
      address,
      family,
      key,
      mac: new Uint8Array(6),
      link: null,
      shown: 0,
      most: MAX_PACKET,
      epoch: 0,
    };
    this.#all.add(n);
    this.#quota.take(null);
    if (family === 4) this.#byIp.set(ip, n);
    else this.#byIp6.add(0, get32(b, 0), get32(b, 4), get32(b, 8), get32(b, 12), 0, n);
    return n;
  }

  #move(n: Neighbour, link: Link | null): void {
    this.#quota.give(n.link);
    this.#quota.take(link);
    n.link = link;
    if (link === null) this.watcher.left(n);
    else this.watcher.came(n);
  }

  /**
   * A cable that has as many as one may makes room for its own. Otherwise the oldest goes that nobody is known to have any
   * more, if nothing is kept for it; else one of the cable that has most, those first for which nothing is kept: what two
   * fill together takes nothing from a third.
   */
  #dispensable(link: Link | null): Neighbour {
    const own = this.#quota.fullFor(link);
    const from = own ? link : this.#quota.fullest(link);
    let idle: Neighbour | null = null;
    let used: Neighbour | null = null;
    for (const n of this.#all) {
      const absent = n.link === null && !own;
      if (!absent && n.link !== from) continue;
      if (!this.watcher.inUse(n)) {
        if (absent) return n;
        idle ??= n;
      } else if (!absent) used ??= n;
    }
    return idle ?? used ?? this.#all.values().next().value!;
  }

  #forget(n: Neighbour): void {
    this.#all.delete(n);
    this.#quota.give(n.link);
    const { ip, bytes: b } = n.address;
    if (n.family === 4) this.#byIp.delete(ip);
    else this.#byIp6.remove(0, get32(b, 0), get32(b, 4), get32(b, 8), get32(b, 12), 0);
  }

  /** The guests that are there, as plain data. */
  save(): SavedNeighbour[] {
    return [...this.#all].flatMap(({ address, mac, link, shown, most }) =>
      link === null ? [] : [{ ip: address.text, mac: macToString(mac), cable: link.name, shown, most }],
    );
  }

  /** Takes over the guests that another table like this one has saved, if their cables are there. */
  restore(saved: readonly SavedNeighbour[], linkOf: (name: string) => Link | null): void {
    for (const { ip, mac, cable, shown, most } of saved) {
      const link = linkOf(cable);
      if (link === null) continue;
      const bytes = Uint8Array.from(mac.split(":"), (hex) => Number.parseInt(hex, 16));
      Object.assign(this.learn(addressFromText(ip), bytes, 0, link), { shown, most });
    }
  }

  /** A cable is gone: its guests are unreachable until they speak again. Returns them. */
  detached(link: Link): Neighbour[] {
    const gone = this.ofLink(link);
    for (const n of gone) this.unplug(n);
    return gone;
  }
}
