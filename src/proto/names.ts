/**
 * By which names guests know addresses: what our DNS server has answered. It serves people (a flow is shown by its
 * name) and rules (`onFlow`, proxies); a guest cannot put a name here, since only resolvers' answers count.
 *
 * A name is kept for its record's TTL, though never for less than `LEAST_TTL_S`: programs connect a little after they
 * have resolved, and their own caches round up. Bounded by addresses and by names for each; the oldest go first.
 */
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

const LEAST_TTL_S = 60;
const MOST_TTL_S = 86_400;
const ADDRESSES = 4_096;
const NAMES_EACH = 16;
const NONE: readonly string[] = [];

export class Names {
  /** By address: until when each name is good, the latest name last. Addresses in order of last use. */
  readonly #byAddress: Map<string, Map<string, number>> = new Map();

  get size(): number {
    return this.#byAddress.size;
  }

  /** Learns from a checked answer: every address that the name asked for leads to, by CNAMEs if need be. */
  answered(answer: Uint8Array, now: number): void {
    if (dnsRcode(answer, 0) !== DNS_NOERROR) return;
    const asked = dnsQname(answer, 0).toLowerCase();
    const chain = new Set([asked]);
    let least = MOST_TTL_S;
    dnsAnswers(answer, 0, answer.length, (nameAt, type, cls, ttl, at, len) => {
      if (cls !== DNS_IN || !chain.has(dnsReadName(answer, 0, nameAt, answer.length)?.toLowerCase() ?? "")) return;
      // An alias is good for no longer than each of the records that lead to the address.
      if (type === DNS_CNAME) {
        least = Math.min(least, ttl);
        const target = dnsReadName(answer, 0, at, answer.length);
        if (target !== null) chain.add(target.toLowerCase());
      } else if (type === DNS_A && len === 4) {
        this.#add(ipv4ToString(get32(answer, at)), asked, Math.min(ttl, least), now);
      } else if (type === DNS_AAAA && len === 16) {
        this.#add(ipv6ToString(answer, at), asked, Math.min(ttl, least), now);
      }
    });
  }

  /** The names of an address, the latest first. */
  of(address: string, now: number): readonly string[] {
    const names = this.#byAddress.get(address);
    if (names === undefined) return NONE;
    const good = [];
    for (const [name, until] of names) if (until > now) good.unshift(name);
    return good;
  }

  #add(address: string, name: string, ttl: number, now: number): void {
    const names = this.#byAddress.get(address) ?? new Map<string, number>();
    this.#byAddress.delete(address);
    if (this.#byAddress.size >= ADDRESSES) this.#byAddress.delete(this.#byAddress.keys().next().value!);
    this.#byAddress.set(address, names);
    names.delete(name);
    if (names.size >= NAMES_EACH) names.delete(names.keys().next().value!);
    names.set(name, now + 1000 * Math.min(Math.max(ttl, LEAST_TTL_S), MOST_TTL_S));
  }
}
