/**
 * Who has which IPv6 address by DHCPv6: the lease table behind `dhcp6.ts`.
 *
 * Addresses are numbers: the n-th of the pool. A record is made when an address is first offered, claimed or heard of and
 * stays for good, so the table is never larger than the pool. A record is *held* while `until` lies ahead, unless its holder
 * is gone (`holdings.ts`); afterwards it still remembers its client, who gets the same address back, and is given to
 * another only when no address is unused any more, the one free for longest first.
 *
 * Who is a client? RFC 8415 section 12 says: an association, named by DUID and IAID. But a guest's MAC is the one thing it
 * cannot invent here, while DUIDs are made anew by boot loaders, installers and systems without a disk. So a record belongs
 * to a MAC; behind it associations of one DUID have an address each, a few at most, and an association of another DUID
 * takes over what the former one had: the machine was started anew, and stays where forwards point to.
 */

import type { Limits } from "../core/limits.ts";
import {
  type Ask,
  askBehind,
  boundClaims,
  claim,
  type Holding,
  type HoldingState,
  hearHolder,
  holdsTooMany,
  isGone,
  isLeased,
  isLive,
  newHolding,
  restoreRecord,
  type SavedRecord,
  saveRecord,
  vacate,
  vacateCable,
  yielding,
} from "./holdings.ts";

/** One address. */
export interface Lease6 extends Holding {
  /** The address's place in the pool. */
  readonly index: number;
  /** In hexadecimal; null if the address was only heard in use. */
  duid: string | null;
  iaid: number;
}

/** One association of a client. */
export interface Association {
  readonly mac: string;
  readonly duid: string;
  readonly iaid: number;
}

const OFFER_MS = 30_000;
const DECLINE_MS = 600_000;
/** How many addresses a MAC may have: a system has one association for each interface, and each interface one MAC. */
const MOST_EACH = 4;

export class Lease6Table {
  readonly #count: number;
  readonly #reserved: ReadonlySet<number>;
  readonly #records: Map<number, Lease6> = new Map();
  /** Addresses before this one all have a record or are reserved. */
  #unused = 0;

  readonly #limits: Limits;
  readonly #ask: Ask<Lease6>;
  /** Called with a lease that yields to another client, before it does. */
  onYield: ((record: Lease6) => void) | null = null;

  /**
   * A pool of `count` addresses, less `reserved`. `ask` asks who has an address whether it still does; `heard` is due for
   * each answer.
   */
  constructor(count: number, reserved: Iterable<number>, limits: Limits, ask: Ask<Lease6> = () => false) {
    this.#limits = limits;
    this.#ask = ask;
    this.#count = count;
    this.#reserved = new Set(reserved);
  }

  records(): Iterable<Lease6> {
    return this.#records.values();
  }

  /** The association's record, held or remembered; null for none. */
  find(client: Association): Lease6 | null {
    let other: Lease6 | null = null;
    for (const record of this.#records.values()) {
      if (record.mac !== client.mac) continue;
      if (record.duid === client.duid && record.iaid === client.iaid) return record;
      if (record.duid !== client.duid && (other === null || record.index < other.index)) other = record;
    }
    return other;
  }

  /** The first leased address of the pool whose holder is there; null for none. */
  firstLive(now: number): number | null {
    let first: number | null = null;
    for (const record of this.#records.values())
      if (isLive(record, now) && (first === null || record.index < first)) first = record.index;
    return first;
  }

  /**
   * An address for the association, held for 30 seconds if it is not bound already: its own, else `hint` if that is free,
   * else any. Null when all are held, or the MAC or `cable` has enough.
   */
  offer(client: Association, hint: number, now: number, cable: object | null = null): Lease6 | null {
    if (!this.#mayHold(client, now, cable)) return null;
    const record = this.claim(client, hint, now, cable) ?? this.find(client) ?? this.#free(client.mac, cable, now);
    if (record === null) return null;
    if (record.state === "bound" && record.until > now && isAssociation(record, client)) {
      hearHolder(record, cable);
      return record;
    }
    take(record, client, "offered", now + OFFER_MS, now);
    hearHolder(record, cable);
    return record;
  }

  /**
   * The record of this address if the association may have it: its own, or a free one when the association has none.
   */
  claim(client: Association, index: number, now: number, cable: object | null = null): Lease6 | null {
    if (!this.#mayHold(client, now, cable)) return null;
    const own = this.find(client);
    if (own !== null) return own.index === index ? own : null;
    if (!this.#isFor(index) || this.#held(client.mac, now) >= MOST_EACH) return null;
    const record = this.#records.get(index);
    if (record === undefined) return this.#create(index);
    return record.until <= now || isGone(record, now) ? record : null;
  }

  /** Binds a claimed or offered record until `until`. True if it was not bound to the association before. */
  bind(record: Lease6, client: Association, until: number, now: number, cable: object | null = null): boolean {
    const fresh = record.state !== "bound" || record.until <= now || !isAssociation(record, client);
    // Others that had a lease on this cable may have been replaced.
    if (fresh) askBehind(this.#records.values(), cable, client.mac, now, this.#ask);
    take(record, client, "bound", until, now);
    hearHolder(record, cable);
    return fresh;
  }

  /** The record if the association holds this address; otherwise null. */
  holding(client: Association, index: number, now: number): Lease6 | null {
    const record = this.#records.get(index);
    return record !== undefined && isLeased(record, now) && isAssociation(record, client) ? record : null;
  }

  /** Gives a held address back; it is still kept for its client as long as others are free. */
  release(record: Lease6, now: number): void {
    record.state = "released";
    record.until = now;
  }

  /**
   * Sets an address aside for ten minutes, because somebody else was found to use it. A cable may have a few set aside
   * so.
   */
  decline(record: Lease6, now: number): void {
    record.mac = null;
    record.duid = null;
    record.state = "declined";
    record.since = now;
    record.until = now + DECLINE_MS;
    boundClaims(this.#records.values(), record.cable, this.#limits.claimsPerGuest, now);
  }

  /**
   * `mac` was heard on `cable` to use an address. False if that is leased to another MAC elsewhere: do not believe it.
   * Otherwise nobody else is given the address for a day, or until a few more have been seen on the same cable; null does
   * not count them.
   */
  seen(index: number, mac: string, now: number, cable: object | null = null): boolean {
    if (!this.#isFor(index)) return true;
    const known = this.#records.get(index);
    if (known !== undefined && isLeased(known, now)) {
      // One cable is one guest, whatever MAC it uses. Vacated addresses yield.
      const own = known.mac === mac || (cable !== null && known.cable === cable);
      if (!own && !isGone(known, now)) return false;
      if (own) {
        known.mac = mac;
        hearHolder(known, cable);
        return true;
      }
    } else if (
      (known === undefined || known.until <= now) &&
      holdsTooMany(this.#records.values(), cable, this.#limits.leases6PerGuest, now)
    )
      return true;
    const record = known ?? this.#create(index);
    // A client that goes on using an address that it gave back, or did not renew, is still that client.
    if (record.mac !== mac) record.duid = null;
    record.mac = mac;
    claim(record, this.#records.values(), cable, this.#limits.claimsPerGuest, now);
    return true;
  }

  /** The holder of an address has been heard. */
  heard(index: number): void {
    const record = this.#records.get(index);
    if (record !== undefined) record.owes = Number.POSITIVE_INFINITY;
  }

  /** Whether an address is leased to another guest than `mac` on `cable`. */
  isAnothers(index: number, mac: string, now: number, cable: object | null = null): boolean {
    const record = this.#records.get(index);
    if (record === undefined || record.mac === mac || (cable !== null && record.cable === cable)) return false;
    return isLeased(record, now) && !isGone(record, now);
  }

  isGone(index: number, now: number): boolean {
    const record = this.#records.get(index);
    return record !== undefined && isGone(record, now);
  }

  /** The guest with this MAC is unplugged: addresses that it used without a lease are free. */
  vacate(mac: string, now: number): void {
    for (const record of this.#records.values()) if (record.mac === mac) vacate(record, now);
  }

  /** The cable is gone, and all guests on it with it. */
  unplugged(cable: object, now: number): void {
    vacateCable(this.#records.values(), cable, now);
  }

  save(nameOf: (cable: object) => string): SavedRecord[] {
    return [...this.#records.values()].map((record) => saveRecord(record, nameOf));
  }

  /** Takes over the records that another table like this one has saved. */
  restore(saved: readonly SavedRecord[], cableOf: (name: string) => object | null): void {
    for (const each of saved) {
      const index = each.index as number;
      restoreRecord(this.#records.get(index) ?? this.#create(index), each, cableOf);
    }
  }

  /** Whether the association has an address already, or its cable may have one more. */
  #mayHold(client: Association, now: number, cable: object | null): boolean {
    if (!holdsTooMany(this.#records.values(), cable, this.#limits.leases6PerGuest, now)) return true;
    const own = this.find(client);
    if (own !== null && own.until > now) return true;
    // Guests behind the cable may have been replaced.
    askBehind(this.#records.values(), cable, client.mac, now, this.#ask);
    return false;
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

  /** An address that nobody holds, or one that its holder has to give up. */
  #free(mac: string, cable: object | null, now: number): Lease6 | null {
    if (this.#held(mac, now) >= MOST_EACH) return null;
    for (; this.#unused < this.#count; this.#unused++) {
      const fresh = !this.#records.has(this.#unused) && !this.#reserved.has(this.#unused);
      if (fresh) return this.#create(this.#unused);
    }
    let oldest: Lease6 | null = null;
    for (const record of this.#records.values()) {
      if (record.until <= now && (oldest === null || record.until < oldest.until)) oldest = record;
    }
    if (oldest !== null) return oldest;
    const record = yielding(this.#records.values(), cable, mac, now, this.#ask);
    if (record !== null) this.onYield?.(record);
    return record;
  }

  #create(index: number): Lease6 {
    const record: Lease6 = { ...newHolding(false), index, duid: null, iaid: 0 };
    this.#records.set(index, record);
    return record;
  }
}

function isAssociation(record: Lease6, client: Association): boolean {
  return record.mac === client.mac && record.duid === client.duid && record.iaid === client.iaid;
}

function take(record: Lease6, client: Association, state: HoldingState, until: number, now: number): void {
  if (record.mac !== client.mac) record.since = now;
  record.mac = client.mac;
  record.duid = client.duid;
  record.iaid = client.iaid;
  record.state = state;
  record.until = until;
}
