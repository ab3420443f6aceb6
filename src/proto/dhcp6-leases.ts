/**
 * Who has which IPv6 address by DHCPv6: the lease table behind `dhcp6.ts`.
 *
 * Addresses are numbers: the n-th of the pool. A record is made when an address is first offered, claimed or heard of and
 * stays for good, so the table is never larger than the pool. A record is *held* while `until` lies ahead; afterwards
 * it still remembers its client, who gets the same address back, and is given to another only when no address is unused
 * any more, the one free for longest first. An address bound to one machine is never another's while it is held.
 *
 * Who is a client? RFC 8415 section 12 says: an association, named by DUID and IAID. But a guest's MAC is the one thing it
 * cannot invent here, while DUIDs are made anew by boot loaders, installers and systems without a disk. So a record belongs
 * to a MAC; behind it associations of one DUID have an address each, a few at most, and an association of another DUID
 * takes over what the former one had: the machine was started anew, and stays where forwards point to.
 */

import type { Limits } from "../core/limits.ts";
import { boundClaims, tooManyLeases } from "./claims.ts";

export type Lease6State = "offered" | "bound" | "released" | "declined" | "seen";

/** One address. Times are the clock's milliseconds. */
export interface Lease6 {
  /** Its place in the pool. */
  readonly index: number;
  mac: string | null;
  /** In hexadecimal; null if the address was only heard of. */
  duid: string | null;
  iaid: number;
  state: Lease6State;
  until: number;
  /** Where it was seen; null otherwise, and where many machines are. */
  cable: object | null;
  asker: object | null;
}

/** One association of a client. */
export interface Association {
  readonly mac: string;
  readonly duid: string;
  readonly iaid: number;
}

const OFFER_MS = 30_000;
const DECLINE_MS = 600_000;
/** An address in use without a lease is left alone for as long as a lease would last, or until the cable is gone. */
const SEEN_MS = 86_400_000;
/** Addresses for one MAC. A system has one association for each interface, and a MAC is one. */
const MOST_EACH = 4;

export class Lease6Table {
  readonly #count: number;
  readonly #reserved: ReadonlySet<number>;
  readonly #records: Map<number, Lease6> = new Map();
  /** Addresses before this one all have a record or are reserved. */
  #unused = 0;

  readonly #limits: Limits;

  /** A pool of `count` addresses, less `reserved`. */
  constructor(count: number, reserved: Iterable<number>, limits: Limits) {
    this.#limits = limits;
    this.#count = count;
    this.#reserved = new Set(reserved);
  }

  records(): Iterable<Lease6> {
    return this.#records.values();
  }

  /** What the association holds or is remembered by, or null. */
  find(client: Association): Lease6 | null {
    let other: Lease6 | null = null;
    for (const record of this.#records.values()) {
      if (record.mac !== client.mac) continue;
      if (record.duid === client.duid && record.iaid === client.iaid) return record;
      if (record.duid !== client.duid && (other === null || record.index < other.index)) other = record;
    }
    return other;
  }

  /**
   * An address for the association, held for 30 seconds if it is not bound already: its own, else `hint` if that is free,
   * else any. Null when all are held, or the MAC or `cable` has enough.
   */
  offer(client: Association, hint: number, now: number, cable: object | null = null): Lease6 | null {
    if (!this.#mayHold(client, now, cable)) return null;
    const record = this.claim(client, hint, now, cable) ?? this.find(client) ?? this.#free(client.mac, now);
    if (record === null) return null;
    if (record.state === "bound" && record.until > now && isAssociation(record, client)) return record;
    take(record, client, "offered", now + OFFER_MS);
    record.asker = cable;
    return record;
  }

  /** The record of this address if the association may have it: it is its own, or it has none and the address is free. */
  claim(client: Association, index: number, now: number, cable: object | null = null): Lease6 | null {
    if (!this.#mayHold(client, now, cable)) return null;
    const own = this.find(client);
    if (own !== null) return own.index === index ? own : null;
    if (!this.#isFor(index) || this.#held(client.mac, now) >= MOST_EACH) return null;
    const record = this.#records.get(index);
    if (record === undefined) return this.#create(index);
    return record.until > now ? null : record;
  }

  /** Binds a claimed or offered record until `until`. True if it was not bound to the association before. */
  bind(record: Lease6, client: Association, until: number, now: number, cable: object | null = null): boolean {
    const fresh = record.state !== "bound" || record.until <= now || !isAssociation(record, client);
    take(record, client, "bound", until);
    record.asker = cable;
    return fresh;
  }

  /** The held record if this address is the association's, else null. */
  holding(client: Association, index: number, now: number): Lease6 | null {
    const record = this.#records.get(index);
    if (record === undefined || record.until <= now || !isAssociation(record, client)) return null;
    return record.state === "bound" || record.state === "offered" ? record : null;
  }

  /** Gives a held address back; it is still kept for its client as long as others are free. */
  release(record: Lease6, now: number): void {
    record.state = "released";
    record.until = now;
  }

  /** Sets an address aside for ten minutes: somebody else was found to use it. */
  decline(record: Lease6, now: number): void {
    record.mac = null;
    record.duid = null;
    record.state = "declined";
    record.until = now + DECLINE_MS;
  }

  /**
   * `mac` was heard to use an address. False if that is leased to another MAC: do not believe it. Otherwise nobody else is
   * given the address for a day, or until a few more have been seen on the same `cable`; null does not count them.
   */
  seen(index: number, mac: string, now: number, cable: object | null = null): boolean {
    if (!this.#isFor(index)) return true;
    const record = this.#records.get(index) ?? this.#create(index);
    const leased = record.state !== "seen" && record.state !== "declined";
    if (record.until > now && leased) return record.mac === mac;
    // A client that goes on using what it gave back, or never renewed, is still that client.
    if (record.mac !== mac) record.duid = null;
    record.mac = mac;
    record.state = "seen";
    record.until = now + SEEN_MS;
    record.cable = cable;
    if (cable !== null) boundClaims(this.#records.values(), cable, this.#limits.claimsPerGuest, now);
    return true;
  }

  /** Whether an address is leased to another MAC. */
  isAnothers(index: number, mac: string, now: number): boolean {
    const record = this.#records.get(index);
    if (record === undefined || record.mac === mac || record.until <= now) return false;
    return record.state === "bound" || record.state === "offered";
  }

  /** The cable of the guest with this MAC is gone: what it merely used is free. */
  vacate(mac: string, now: number): void {
    for (const record of this.#records.values()) {
      if (record.mac === mac && record.state === "seen") record.until = Math.min(record.until, now);
    }
  }

  /** Whether the association has an address already, or its cable may have one more. */
  #mayHold(client: Association, now: number, cable: object | null): boolean {
    if (!tooManyLeases(this.#records.values(), cable, this.#limits.leases6PerGuest, now)) return true;
    const own = this.find(client);
    return own !== null && own.until > now;
  }

  /** Whether this address may be handed out. */
  #isFor(index: number): boolean {
    return index >= 0 && index < this.#count && !this.#reserved.has(index);
  }

  #held(mac: string, now: number): number {
    let count = 0;
    for (const record of this.#records.values()) if (record.mac === mac && record.until > now) count++;
    return count;
  }

  /** An address that nobody holds. */
  #free(mac: string, now: number): Lease6 | null {
    if (this.#held(mac, now) >= MOST_EACH) return null;
    for (; this.#unused < this.#count; this.#unused++) {
      const fresh = !this.#records.has(this.#unused) && !this.#reserved.has(this.#unused);
      if (fresh) return this.#create(this.#unused);
    }
    let oldest: Lease6 | null = null;
    for (const record of this.#records.values()) {
      if (record.until <= now && (oldest === null || record.until < oldest.until)) oldest = record;
    }
    return oldest;
  }

  #create(index: number): Lease6 {
    const record: Lease6 = {
      index,
      mac: null,
      duid: null,
      iaid: 0,
      state: "released",
      until: Number.NEGATIVE_INFINITY,
      cable: null,
      asker: null,
    };
    this.#records.set(index, record);
    return record;
  }
}

function isAssociation(record: Lease6, client: Association): boolean {
  return record.mac === client.mac && record.duid === client.duid && record.iaid === client.iaid;
}

function take(record: Lease6, client: Association, state: Lease6State, until: number): void {
  record.mac = client.mac;
  record.duid = client.duid;
  record.iaid = client.iaid;
  record.state = state;
  record.until = until;
}
