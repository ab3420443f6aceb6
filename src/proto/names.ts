/**
 * The names by which guests know addresses, from the answers that our DNS server gave each guest. They serve people (a
 * flow is shown by its name) and rules (domains, `onFlow`, proxies). A guest cannot add a name here, because only
 * resolvers' answers count, and one guest's answers do not count for another. A guest is known by its MAC as a number,
 * because it may ask in one family and connect in the other.
 *
 * A name is kept for its record's TTL within bounds, a minute and a day unless somebody says otherwise: programs connect a little
 * after they have resolved, and their own caches round up. A flow that has begun keeps the names that it began with. Aliases (CNAME) are kept as long, for resolvers that ask for the target
 * themselves. Bounded by guests, addresses and names for each, and by names in all, since a guest that serves names of its
 * own can have as many as it likes: beyond that, the oldest of whoever has most go first.
 */
import type { NameTtl } from "../core/config.ts";
import { DEFAULT_LIMITS, type Limits } from "../core/limits.ts";
import { get32 } from "../wire/bytes.ts";
import {
  DNS_A,
  DNS_AAAA,
  DNS_CNAME,
  DNS_IN,
  DNS_NOERROR,
  dnsAnswers,
  dnsQname,
  dnsRcode,
  dnsReadName,
} from "../wire/dns.ts";
import { ipv4ToString } from "../wire/ipv4.ts";
import { ipv6ToString } from "../wire/ipv6.ts";

const DEFAULT_TTL: NameTtl = { least: 60, most: 86_400 };
const GUESTS = 256;
const ADDRESSES = 4_096;
const NAMES_EACH = 16;
const NONE: readonly string[] = [];

/**
 * Until when each name of an address, or of an alias's target, is valid, the latest name last. Targets in order of last
 * use.
 */
type ByTarget = Map<string, Map<string, number>>;

/** For each guest the names of addresses, and of aliases' targets, as plain data. */
export type SavedNames = readonly (readonly [
  guest: number,
  addresses: readonly (readonly [string, readonly (readonly [string, number])[]])[],
  aliases: readonly (readonly [string, readonly (readonly [string, number])[]])[],
])[];

interface Known {
  readonly addresses: ByTarget;
  readonly aliases: ByTarget;
  /** How many names both tables have. */
  count: number;
}

export class Names {
  /** By the guest's MAC, in order of last use. */
  readonly #byGuest: Map<number, Known> = new Map();
  readonly #most: number;
  readonly #mostEach: number;
  readonly #onForgotten: () => void;
  readonly #ttl: NameTtl;
  #count = 0;

  /** `onForgotten` is called for each address whose names had to make room; `ttl` limits how long names are valid. */
  constructor(limits: Limits = DEFAULT_LIMITS, onForgotten: () => void = () => {}, ttl: NameTtl = DEFAULT_TTL) {
    this.#most = limits.names;
    this.#mostEach = limits.namesPerGuest;
    this.#onForgotten = onForgotten;
    this.#ttl = ttl;
  }

  /** Learns from a checked answer to a guest: every address that the name asked for leads to, also by CNAMEs. */
  answered(guest: number, answer: Uint8Array, now: number): void {
    if (dnsRcode(answer, 0) !== DNS_NOERROR) return;
    const asked = dnsQname(answer, 0).toLowerCase();
    const known = this.#byGuest.get(guest) ?? { addresses: new Map(), aliases: new Map(), count: 0 };
    const names = [...good(known.aliases, asked, now).reverse(), asked];
    const chain = new Set([asked]);
    const before = known.count;
    let shortest = this.#ttl.most;
    const learn = (targets: ByTarget, target: string, ttl: number): void => {
      for (const name of names)
        known.count += add(targets, target, name, now + 1000 * this.#bounded(Math.min(ttl, shortest)));
    };
    dnsAnswers(answer, 0, answer.length, (nameAt, type, cls, ttl, at, len) => {
      if (cls !== DNS_IN || !chain.has(dnsReadName(answer, 0, nameAt, answer.length)?.toLowerCase() ?? "")) return;
      // An alias is valid no longer than each of the records that lead to the address.
      if (type === DNS_CNAME) {
        shortest = Math.min(shortest, ttl);
        const target = dnsReadName(answer, 0, at, answer.length)?.toLowerCase();
        if (target === undefined || chain.has(target)) return;
        chain.add(target);
        learn(known.aliases, target, ttl);
      } else if (type === DNS_A && len === 4) learn(known.addresses, ipv4ToString(get32(answer, at)), ttl);
      else if (type === DNS_AAAA && len === 16) learn(known.addresses, ipv6ToString(answer, at), ttl);
    });
    if (known.count === 0) return;
    this.#count += known.count - before;
    this.#byGuest.delete(guest);
    if (this.#byGuest.size >= GUESTS) {
      const [oldest, { count }] = this.#byGuest.entries().next().value!;
      this.#byGuest.delete(oldest);
      this.#count -= count;
    }
    this.#byGuest.set(guest, known);
    while (known.count > this.#mostEach) this.#forgetOne(known);
    while (this.#count > this.#most) this.#forgetOne(this.#richest());
  }

  save(): SavedNames {
    const pairs = (targets: ByTarget) => [...targets].map(([target, names]) => [target, [...names]] as const);
    return [...this.#byGuest].map(([guest, known]) => [guest, pairs(known.addresses), pairs(known.aliases)]);
  }

  /** Takes over the names that another table like this one has saved. */
  restore(saved: SavedNames): void {
    const targets = (pairs: SavedNames[number][1]): ByTarget =>
      new Map(pairs.map(([target, names]) => [target, new Map(names)]));
    const size = (by: ByTarget): number => [...by.values()].reduce((sum, names) => sum + names.size, 0);
    for (const [guest, ...pairs] of saved) {
      const [addresses, aliases] = pairs.map(targets) as [ByTarget, ByTarget];
      const count = size(addresses) + size(aliases);
      this.#byGuest.set(guest, { addresses, aliases, count });
      this.#count += count;
    }
  }

  #bounded(ttl: number): number {
    return Math.min(Math.max(ttl, this.#ttl.least), this.#ttl.most);
  }

  #richest(): Known {
    let most: Known | null = null;
    for (const known of this.#byGuest.values()) if (most === null || known.count > most.count) most = known;
    return most!;
  }

  /** Forgets the oldest address, or target of an alias. */
  #forgetOne(known: Known): void {
    const { addresses, aliases } = known;
    const gone = dropOldest(addresses.size > aliases.size ? addresses : aliases);
    known.count -= gone;
    this.#count -= gone;
    this.#onForgotten();
  }

  /** The names by which a guest knows an address, the latest first. */
  of(guest: number, address: string, now: number): readonly string[] {
    const known = this.#byGuest.get(guest);
    return known === undefined ? NONE : good(known.addresses, address, now);
  }

  /** The names that are aliases of `name`, as the guest has been told. */
  aliases(guest: number, name: string, now: number): readonly string[] {
    const known = this.#byGuest.get(guest);
    return known === undefined ? NONE : good(known.aliases, name, now);
  }
}

function good(targets: ByTarget, target: string, now: number): string[] {
  const names = [];
  for (const [name, until] of targets.get(target) ?? []) if (until > now) names.unshift(name);
  return names;
}

/** Returns how many names were added. */
function add(targets: ByTarget, target: string, name: string, until: number): number {
  const names = targets.get(target) ?? new Map<string, number>();
  const before = names.size;
  targets.delete(target);
  const gone = targets.size >= ADDRESSES ? dropOldest(targets) : 0;
  targets.set(target, names);
  names.delete(name);
  if (names.size >= NAMES_EACH) names.delete(names.keys().next().value!);
  names.set(name, until);
  return names.size - before - gone;
}

/** Returns how many names were dropped. */
function dropOldest(targets: ByTarget): number {
  const [target, names] = targets.entries().next().value!;
  targets.delete(target);
  return names.size;
}
