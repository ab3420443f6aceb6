/**
 * Who has which address: the lease table behind `dhcp.ts`.
 *
 * A record is made when an address is first offered, claimed or seen, and stays for good, so the table is never larger
 * than the pool and the static leases together. A record is *held* while `until` lies ahead and belongs to nobody else
 * during that time, whatever its state; afterwards it still remembers its client, who gets the same address back,
 * and is given to another only when no address is unused any more, the one free for longest first.
 *
 * Who is a client? RFC 2131 section 4.2 says: the client identifier, else the hardware address. The guest's MAC is the
 * one thing it cannot invent here (the stack compares it with the frame's), so an identifier alone never opens a lease
 * that another MAC holds. Behind one MAC, different identifiers are different clients, with three exceptions that keep
 * a machine at its address (forwards point at it) while it starts: one of the two has none (a boot loader, then
 * the system), the older lease is over, or its cable was unplugged since (`vacate`: another system on the same card).
 */

import type { Limits } from "../core/limits.ts";
import { boundClaims, tooManyLeases } from "./claims.ts";

export type LeaseState = "offered" | "bound" | "released" | "declined" | "seen";

/** One address. Times are the clock's milliseconds. */
export interface LeaseRecord {
  readonly ip: number;
  /** A static lease: its MAC never changes, and no other client gets the address. */
  readonly fixed: boolean;
  mac: string | null;
  /** The client identifier in hexadecimal; null for a client known by its MAC alone. */
  id: string | null;
  hostname: string | null;
  /** Its client has asked for an MTU (option 26) when it last bound it. */
  mtuAsked: boolean;
  state: LeaseState;
  until: number;
  vacated: boolean;
  /** Where it was seen; null otherwise, and where many machines are. */
  cable: object | null;
  asker: object | null;
}

export interface DhcpClient {
  readonly mac: string;
  readonly id: string | null;
}

const OFFER_MS = 30_000;
const DECLINE_MS = 600_000;
/** An address in use without a lease is left alone for as long as a lease would last, or until the cable is gone. */
const SEEN_MS = 86_400_000;

export class LeaseTable {
  readonly #start: number;
  readonly #count: number;
  /** Addresses within the pool that are not for handing out. */
  readonly #reserved: ReadonlySet<number>;
  readonly #limits: Limits;
  readonly #byIp: Map<number, LeaseRecord> = new Map();
  readonly #fixed: Map<string, LeaseRecord> = new Map();
  /** Addresses of the pool before this one all have a record or are reserved. */
  #unused = 0;

  /** A pool of `count` addresses from `start` on, less `reserved`; `statics` are MACs with addresses of their own. */
  constructor(
    start: number,
    count: number,
    reserved: Iterable<number>,
    statics: Iterable<readonly [string, number]>,
    limits: Limits,
  ) {
    this.#limits = limits;
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
      this.#ownOldest(client.mac);
    if (record === null) return null;
    if (record.state === "bound" && record.until > now && isClient(record, client)) return record;
    this.#own(record, client);
    record.state = "offered";
    record.until = now + OFFER_MS;
    record.asker = record.fixed ? null : cable;
    return record;
  }

  /** The record of `ip` if this client may have that address: it is its own, or free and the client has no other. */
  claim(client: DhcpClient, ip: number, now: number, cable: object | null = null): LeaseRecord | null {
    if (!this.#mayHold(client, now, cable)) return null;
    const record = this.#byIp.get(ip);
    if (record !== undefined && record.state !== "declined" && isClient(record, client)) return record;
    const own = this.#find(client, now);
    if (own !== null && own.ip !== ip && (own.fixed || own.until > now)) return null;
    if (!this.#dynamic(ip)) return null;
    if (record === undefined) return this.#create(ip, false);
    return record.until > now && record !== own ? null : record;
  }

  /** Binds a claimed or offered record until `until` (Infinity for BOOTP). True if it was not bound to the client before. */
  bind(record: LeaseRecord, client: DhcpClient, until: number, now: number, cable: object | null = null): boolean {
    const fresh = record.state !== "bound" || record.until <= now || !isClient(record, client);
    // What the client had before and no longer holds is no longer kept for it: one client, one address.
    for (const other of this.#byIp.values()) {
      if (
        other !== record &&
        !other.fixed &&
        other.mac === client.mac &&
        other.id === client.id &&
        other.until <= now
      ) {
        this.#own(other, { mac: null, id: null });
      }
    }
    if (fresh || record.id === null) this.#own(record, client);
    record.state = "bound";
    record.until = until;
    record.asker = record.fixed ? null : cable;
    record.vacated = false;
    return fresh;
  }

  /** Sets the client's address aside for ten minutes: somebody else was found to use it. Null if it is not its own. */
  decline(client: DhcpClient, ip: number, now: number): LeaseRecord | null {
    const record = this.#held(client, ip, now);
    if (record === null) return null;
    this.#own(record, { mac: null, id: null });
    record.state = "declined";
    record.until = now + DECLINE_MS;
    return record;
  }

  /** Gives the client's address back; it is still kept for it as long as others are free. Null if it is not its own. */
  release(client: DhcpClient, ip: number, now: number): LeaseRecord | null {
    const record = this.#held(client, ip, now);
    if (record === null) return null;
    record.state = "released";
    record.until = now;
    return record;
  }

  /** The client took another server's offer: ours is void. */
  withdraw(client: DhcpClient, now: number): void {
    const record = this.#find(client, now);
    if (record === null || record.state !== "offered") return;
    record.state = "released";
    record.until = now;
  }

  /**
   * `mac` was heard to use `ip`. False if that address is leased to another MAC: do not believe it. Otherwise nobody
   * else is given the address for a day, or until a few more have been seen on the same `cable`; null does not count them.
   */
  seen(ip: number, mac: string, now: number, cable: object | null = null): boolean {
    let record = this.#byIp.get(ip);
    if (record === undefined) {
      if (!this.#dynamic(ip)) return true;
      record = this.#create(ip, false);
    } else {
      if (record.fixed) return record.mac === mac;
      if (record.until > now && record.state !== "seen" && record.state !== "declined") return record.mac === mac;
    }
    // A client that goes on using what it gave back, or never renewed, is still that client.
    if (record.mac !== mac) this.#own(record, { mac, id: null });
    record.state = "seen";
    record.until = now + SEEN_MS;
    record.cable = cable;
    if (cable !== null) boundClaims(this.#byIp.values(), cable, this.#limits.claimsPerGuest, now);
    return true;
  }

  /** Whether `ip` is leased, or kept for good, to another MAC. */
  isAnothers(ip: number, mac: string, now: number): boolean {
    const record = this.#byIp.get(ip);
    if (record === undefined || record.mac === null || record.mac === mac) return false;
    return record.fixed || (record.until > now && (record.state === "bound" || record.state === "offered"));
  }

  /** The cable of the guest with this MAC is gone. Its leases stay its own, but another system may start there. */
  vacate(mac: string, now: number): void {
    for (const record of this.#byIp.values()) {
      if (record.mac !== mac) continue;
      record.vacated = true;
      if (record.state === "seen") record.until = Math.min(record.until, now);
    }
  }

  /** Whether the client has an address already, or its cable may have one more. */
  #mayHold(client: DhcpClient, now: number, cable: object | null): boolean {
    if (!tooManyLeases(this.#byIp.values(), cable, this.#limits.leasesPerGuest, now)) return true;
    const own = this.#find(client, now);
    return own !== null && isClient(own, client) && (own.fixed || own.until > now);
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
        if (!isClient(record, client) && !record.vacated && record.until > now) continue;
        if (sameCard === null || record.until > sameCard.until) sameCard = record;
      } else if (client.id !== null && record.id === client.id && record.until <= now) sameId ??= record;
    }
    return sameCard ?? sameId;
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

  /** With the pool exhausted, a card that holds several addresses under several identifiers gets its oldest again. */
  #ownOldest(mac: string): LeaseRecord | null {
    let oldest: LeaseRecord | null = null;
    for (const record of this.#byIp.values()) {
      if (record.fixed || record.mac !== mac) continue;
      if (oldest === null || record.until < oldest.until) oldest = record;
    }
    return oldest;
  }

  #held(client: DhcpClient, ip: number, now: number): LeaseRecord | null {
    const record = this.#byIp.get(ip);
    if (record === undefined || record.until <= now || !isClient(record, client)) return null;
    return record.state === "offered" || record.state === "bound" ? record : null;
  }

  #dynamic(ip: number): boolean {
    return (ip - this.#start) >>> 0 < this.#count && !this.#reserved.has(ip);
  }

  #own(record: LeaseRecord, client: { readonly mac: string | null; readonly id: string | null }): void {
    if (record.mac !== client.mac || record.id !== client.id) record.hostname = null;
    if (!record.fixed) {
      record.mac = client.mac;
      record.id = client.id;
    }
    record.vacated = false;
  }

  #create(ip: number, fixed: boolean): LeaseRecord {
    const record: LeaseRecord = {
      ip,
      fixed,
      mac: null,
      id: null,
      hostname: null,
      mtuAsked: false,
      state: "released",
      until: Number.NEGATIVE_INFINITY,
      vacated: false,
      cable: null,
      asker: null,
    };
    this.#byIp.set(ip, record);
    return record;
  }
}

function isClient(record: LeaseRecord, client: DhcpClient): boolean {
  return record.mac === client.mac && (record.id === client.id || record.id === null || client.id === null);
}
