/**
 * Who has which address: the lease table behind `dhcp.ts`.
 *
 * A record is made when an address is first offered, claimed or seen, and stays for good, so the table is never larger
 * than the pool and the static leases together. A record is *held* while `until` lies ahead and belongs to nobody else
 * during that time, whatever its state, unless its holder is gone (`holdings.ts`); afterwards it still remembers its
 * client, who gets the same address back, and is given to another only when no address is unused any more, the one
 * free for longest first.
 *
 * Who is a client? RFC 2131 section 4.2 says: the client identifier, else the hardware address. But one machine shows
 * many identifiers, one after the other: boot loader, installer, system, another DHCP client. Forwards point at its
 * address, and the guest's MAC is the one thing that it cannot invent here (the stack compares it with the frame's). So
 * the MAC decides, as it does for libslirp, and whatever identifier comes takes over what the MAC had. Only when an earlier
 * one renews, which it does from that very address, are there two clients behind one MAC; from then on each has an
 * address of its own. An identifier alone never opens a lease that another MAC holds.
 *
 * Nor is a MAC for good: behind its own cable a guest may change it, and is believed (`seen`), since nobody else is there.
 */

import type { Limits } from "../core/limits.ts";
import {
  type Ask,
  askBehind,
  askHolder,
  boundClaims,
  claim,
  type Holding,
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
export interface LeaseRecord extends Holding {
  readonly ip: number;
  /** The client identifier in hexadecimal; null for a client known by its MAC alone. */
  id: string | null;
  /** The identifier that had the address before another one behind the same MAC took it over; null for none. */
  formerId: string | null;
  /** Whether there are several clients behind the MAC. */
  shared: boolean;
  hostname: string | null;
  /** Whether the client asked for an MTU (option 26) when it last bound the address. */
  mtuAsked: boolean;
}

export interface DhcpClient {
  readonly mac: string;
  readonly id: string | null;
}

const OFFER_MS = 30_000;
const DECLINE_MS = 600_000;

export class LeaseTable {
  readonly #start: number;
  readonly #count: number;
  /** Addresses within the pool that are not handed out. */
  readonly #reserved: ReadonlySet<number>;
  readonly #limits: Limits;
  readonly #ask: Ask<LeaseRecord>;
  readonly #byIp: Map<number, LeaseRecord> = new Map();
  readonly #fixed: Map<string, LeaseRecord> = new Map();
  /** Addresses of the pool before this one all have a record or are reserved. */
  #unused = 0;
  /** Called with a lease that yields to another client, before it does. */
  onYield: ((record: LeaseRecord) => void) | null = null;

  /**
   * A pool of `count` addresses from `start` on, less `reserved`; `statics` are MACs with addresses of their own. `ask`
   * asks who has an address whether it still does; `heard` is due for each answer.
   */
  constructor(
    start: number,
    count: number,
    reserved: Iterable<number>,
    statics: Iterable<readonly [string, number]>,
    limits: Limits,
    ask: Ask<LeaseRecord> = () => false,
  ) {
    this.#limits = limits;
    this.#ask = ask;
    this.#start = start;
    this.#count = count;
    const taken = new Set(reserved);
    for (const [mac, ip] of statics) {
      taken.add(ip);
      const record = this.#create(ip, true);
      record.mac = mac;
      this.#fixed.set(mac, record);
    }
    this.#reserved = taken;
  }

  get(ip: number): LeaseRecord | null {
    return this.#byIp.get(ip) ?? null;
  }

  records(): Iterable<LeaseRecord> {
    return this.#byIp.values();
  }

  /** The first leased address of the pool whose holder is there; null for none. */
  firstLive(now: number): number | null {
    let first: number | null = null;
    for (const record of this.#byIp.values()) {
      if (!isLive(record, now)) continue;
      if (first === null || (record.ip - this.#start) >>> 0 < (first - this.#start) >>> 0) first = record.ip;
    }
    return first;
  }

  /**
   * An address for a DISCOVER, held for 30 seconds if it is not bound already: the client's own, else `hint` if that
   * was never used, else any (RFC 2131 section 4.3.1). Null when all are held, or `cable` has enough.
   */
  offer(client: DhcpClient, hint: number, now: number, cable: object | null = null): LeaseRecord | null {
    if (!this.#mayHold(client, now, cable)) return null;
    const record =
      this.#find(client, now) ??
      (this.#dynamic(hint) && !this.#byIp.has(hint) ? this.#create(hint, false) : null) ??
      this.#free(now) ??
      this.#yielding(client, cable, now);
    if (record === null) return null;
    // A bound address stays bound, even if another identifier asks now: that one takes it over when it binds it.
    if (record.state === "bound" && record.until > now && record.mac === client.mac) {
      hearHolder(record, cable);
      return record;
    }
    this.#own(record, client, now);
    record.state = "offered";
    record.until = now + OFFER_MS;
    hearHolder(record, cable);
    return record;
  }

  /** The record of `ip` if this client may have the address: its own, or a free one when the client has no other. */
  claim(client: DhcpClient, ip: number, now: number, cable: object | null = null): LeaseRecord | null {
    if (!this.#mayHold(client, now, cable)) return null;
    const record = this.#byIp.get(ip);
    if (record !== undefined && record.state !== "declined" && this.#isSame(record, client, now)) return record;
    const own = this.#find(client, now);
    if (own !== null && own.ip !== ip && (own.fixed || own.until > now)) return null;
    if (!this.#dynamic(ip)) return null;
    if (record === undefined) return this.#create(ip, false);
    if (record.until <= now || record === own || isGone(record, now)) return record;
    // The address is held by another MAC on the same cable. That may be the same machine, and is if nobody answers.
    if (cable !== null && record.cable === cable) askHolder(record, now, this.#ask);
    return null;
  }

  /** Whether the holder of `ip`, another MAC on the same cable, has been asked and may still answer. */
  isAsked(ip: number, cable: object | null): boolean {
    const record = this.#byIp.get(ip);
    return record !== undefined && cable !== null && record.cable === cable && record.owes !== Number.POSITIVE_INFINITY;
  }

  /** Binds a claimed or offered record until `until` (Infinity for BOOTP). True if it was not bound to the client before. */
  bind(record: LeaseRecord, client: DhcpClient, until: number, now: number, cable: object | null = null): boolean {
    const fresh = record.state !== "bound" || record.until <= now || !isClient(record, client);
    for (const other of this.#byIp.values()) {
      if (other === record) continue;
      // An address that the client had before and no longer holds is not kept for it: one client has one address.
      if (!other.fixed && other.mac === client.mac && other.id === client.id && other.until <= now)
        this.#own(other, { mac: null, id: null }, now);
    }
    if (fresh) askBehind(this.#byIp.values(), cable, client.mac, now, this.#ask);
    if (fresh || record.id === null) this.#own(record, client, now);
    record.state = "bound";
    record.until = until;
    hearHolder(record, cable);
    return fresh;
  }

  /**
   * Sets the client's address aside for ten minutes, because somebody else was found to use it. Null if it is not the
   * client's. A cable may have a few addresses set aside so.
   */
  decline(client: DhcpClient, ip: number, now: number): LeaseRecord | null {
    const record = this.#held(client, ip, now);
    if (record === null) return null;
    this.#own(record, { mac: null, id: null }, now);
    record.state = "declined";
    record.until = now + DECLINE_MS;
    record.since = now;
    boundClaims(this.#byIp.values(), record.cable, this.#limits.claimsPerGuest, now);
    return record;
  }

  /**
   * Gives the client's address back; it is kept for the client as long as others are free. Null if it is not the
   * client's.
   */
  release(client: DhcpClient, ip: number, now: number): LeaseRecord | null {
    const record = this.#held(client, ip, now);
    if (record === null) return null;
    record.state = "released";
    record.until = now;
    return record;
  }

  /** The client took another server's offer, so ours is void. */
  withdraw(client: DhcpClient, now: number): void {
    const record = this.#find(client, now);
    if (record === null || record.state !== "offered") return;
    record.state = "released";
    record.until = now;
  }

  /** A client renews an address. If another identifier behind its MAC has taken that over, there are two of them. */
  renews(client: DhcpClient, ip: number, now: number): void {
    const record = this.#byIp.get(ip);
    if (record === undefined || client.id === null || record.mac !== client.mac) return;
    if (record.formerId !== client.id || record.id === client.id || !isLive(record, now)) return;
    for (const each of this.#byIp.values()) if (each.mac === client.mac) each.shared = true;
  }

  /**
   * `mac` was heard on `cable` to use `ip`. False if that address is leased to another MAC elsewhere: do not believe it.
   * Otherwise nobody else is given the address for a day, or until a few more have been seen on the same cable; null does
   * not count them.
   */
  seen(ip: number, mac: string, now: number, cable: object | null = null): boolean {
    let record = this.#byIp.get(ip);
    if (record === undefined) {
      const most = this.#limits.leasesPerGuest;
      // The sender is believed, but the address is not set aside, because the cable holds enough.
      if (!this.#dynamic(ip) || holdsTooMany(this.#byIp.values(), cable, most, now)) return true;
      record = this.#create(ip, false);
    } else if (record.fixed || isLeased(record, now)) {
      // One cable is one guest, whatever MAC it uses. Vacated addresses yield, unless they are kept for a MAC for good.
      const own = record.mac === mac || (cable !== null && record.cable === cable);
      if (!own && (record.fixed || !isGone(record, now))) return false;
      if (own || record.fixed) {
        if (!record.fixed) record.mac = mac;
        hearHolder(record, cable);
        return true;
      }
    } else if (record.until <= now && holdsTooMany(this.#byIp.values(), cable, this.#limits.leasesPerGuest, now))
      return true;
    // A client that goes on using an address that it gave back, or did not renew, is still that client.
    if (record.mac !== mac) this.#own(record, { mac, id: null }, now);
    claim(record, this.#byIp.values(), cable, this.#limits.claimsPerGuest, now);
    return true;
  }

  /** The holder of `ip` has been heard. */
  heard(ip: number): void {
    const record = this.#byIp.get(ip);
    if (record !== undefined) record.owes = Number.POSITIVE_INFINITY;
  }

  /** Whether `ip` is leased to, or kept for good for, another guest than `mac` on `cable`. */
  isAnothers(ip: number, mac: string, now: number, cable: object | null = null): boolean {
    const record = this.#byIp.get(ip);
    if (record === undefined || record.mac === null || record.mac === mac) return false;
    if (cable !== null && record.cable === cable) return false;
    return record.fixed || (isLeased(record, now) && !isGone(record, now));
  }

  /** The guest with this MAC is unplugged. Its leases stay its own for as long as others are free. */
  vacate(mac: string, now: number): void {
    for (const record of this.#byIp.values()) if (record.mac === mac) vacate(record, now);
  }

  /** The cable is gone, and all guests on it with it. */
  unplugged(cable: object, now: number): void {
    vacateCable(this.#byIp.values(), cable, now);
  }

  save(nameOf: (cable: object) => string): SavedRecord[] {
    return [...this.#byIp.values()].map((record) => saveRecord(record, nameOf));
  }

  /** Takes over the records that another table like this one has saved. */
  restore(saved: readonly SavedRecord[], cableOf: (name: string) => object | null): void {
    for (const each of saved) {
      const ip = each.ip as number;
      restoreRecord(this.#byIp.get(ip) ?? this.#create(ip, false), each, cableOf);
    }
  }

  /** Whether the client has an address already, or its cable may have one more. */
  #mayHold(client: DhcpClient, now: number, cable: object | null): boolean {
    if (!holdsTooMany(this.#byIp.values(), cable, this.#limits.leasesPerGuest, now)) return true;
    const own = this.#find(client, now);
    if (own !== null && (own.fixed || own.until > now)) return true;
    // Guests behind the cable may have been replaced.
    askBehind(this.#byIp.values(), cable, client.mac, now, this.#ask);
    return false;
  }

  /** The client's record, held or remembered. */
  #find(client: DhcpClient, now: number): LeaseRecord | null {
    const fixed = this.#fixed.get(client.mac);
    if (fixed !== undefined && !(fixed.state === "declined" && fixed.until > now)) return fixed;
    let sameCard: LeaseRecord | null = null;
    let sameId: LeaseRecord | null = null;
    for (const record of this.#byIp.values()) {
      if (record.fixed) continue;
      if (record.mac === client.mac) {
        if (record.id === client.id) return record;
        if (!this.#isSame(record, client, now)) continue;
        if (sameCard === null || record.until > sameCard.until) sameCard = record;
      } else if (client.id !== null && record.id === client.id && record.until <= now) sameId ??= record;
    }
    return sameCard ?? sameId;
  }

  /**
   * Whether a record is the client's: it has the client's MAC, and the identifier, too, if that MAC has several
   * clients.
   */
  #isSame(record: LeaseRecord, client: DhcpClient, now: number): boolean {
    if (record.mac !== client.mac) return false;
    return !record.shared || isClient(record, client) || record.until <= now || isGone(record, now);
  }

  /** An address that nobody holds. */
  #free(now: number): LeaseRecord | null {
    for (; this.#unused < this.#count; this.#unused++) {
      const ip = (this.#start + this.#unused) | 0;
      if (!this.#byIp.has(ip) && !this.#reserved.has(ip)) return this.#create(ip, false);
    }
    let oldest: LeaseRecord | null = null;
    for (const record of this.#byIp.values()) {
      if (record.fixed || record.until > now) continue;
      if (oldest === null || record.until < oldest.until) oldest = record;
    }
    return oldest;
  }

  /** An address that its holder has to give up; or, behind a MAC with several clients, the oldest of that MAC's own. */
  #yielding(client: DhcpClient, cable: object | null, now: number): LeaseRecord | null {
    const record = yielding(this.#byIp.values(), cable, client.mac, now, this.#ask);
    if (record !== null) {
      this.onYield?.(record);
      return record;
    }
    let oldest: LeaseRecord | null = null;
    for (const own of this.#byIp.values()) {
      if (own.fixed || own.mac !== client.mac) continue;
      if (oldest === null || own.until < oldest.until) oldest = own;
    }
    return oldest;
  }

  #held(client: DhcpClient, ip: number, now: number): LeaseRecord | null {
    const record = this.#byIp.get(ip);
    return record !== undefined && isLeased(record, now) && isClient(record, client) ? record : null;
  }

  #dynamic(ip: number): boolean {
    return (ip - this.#start) >>> 0 < this.#count && !this.#reserved.has(ip);
  }

  #own(record: LeaseRecord, client: { readonly mac: string | null; readonly id: string | null }, now: number): void {
    const sameMac = record.mac === client.mac;
    if (!sameMac || record.id !== client.id) record.hostname = null;
    if (!sameMac) {
      record.since = now;
      record.shared = false;
      record.formerId = null;
    } else if (record.id !== client.id && record.id !== null) record.formerId = record.id;
    if (record.fixed) return;
    record.mac = client.mac;
    record.id = client.id;
  }

  #create(ip: number, fixed: boolean): LeaseRecord {
    const record: LeaseRecord = {
      ...newHolding(fixed),
      ...{ ip, id: null, formerId: null, shared: false, hostname: null, mtuAsked: false },
    };
    this.#byIp.set(ip, record);
    return record;
  }
}

function isClient(record: LeaseRecord, client: DhcpClient): boolean {
  return record.mac === client.mac && (record.id === client.id || record.id === null || client.id === null);
}
