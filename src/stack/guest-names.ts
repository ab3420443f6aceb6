/**
 * Guests by name: `NAME.internal`, `NAME` alone, and `NAME` under the network's own domain. NAME is the name that the
 * guest has given itself by DHCP (option 12). Its IPv4 address is the lease's; its IPv6 addresses are those that the
 * same MAC uses. If the network's domain exists on the Internet, a guest cannot take a name that the host's resolvers
 * know below it.
 *
 * Guests are hostile, and forwards lead to names. So a name stays with the MAC that had it first, for as long as that
 * MAC has a lease and keeps the name. A later guest with the same name is not found by it.
 */
import { addressFromText, type IpAddress } from "../core/address.ts";
import type { StackConfig } from "../core/config.ts";
import type { Policy } from "../nat/rules/policy.ts";
import type { Lease } from "../proto/dhcp.ts";
import type { LocalAnswer, LocalNames } from "../proto/dns.ts";
import type { Neighbours } from "../proto/neighbours.ts";
import { addressOfReverseName } from "../proto/reverse-name.ts";
import { DNS_A, DNS_AAAA, DNS_PTR, dnsEncodeName } from "../wire/dns.ts";
import { ipv6IsLinkLocal } from "../wire/ipv6.ts";

/** Reserved by ICANN for private networks; it is never delegated. */
const INTERNAL = ".internal";
/** A single label, or a domain that is reserved for private networks (RFC 6762, RFC 8375, ICANN). */
const NOT_THE_WORLDS = /^\.(?:[^.]+|(?:.+\.)?(?:internal|local|localdomain|lan|home\.arpa))$/;
const MOST_ADDRESSES = 8;
const NOBODY: LocalAnswer = { known: false, rdata: [] };

export class GuestNames implements LocalNames {
  readonly #domain: string | null;
  readonly #policy: Policy;
  readonly #neighbours: Neighbours;
  /** The leases of both families. */
  readonly #leases: () => readonly Lease[];
  /** The MAC that owns each name. Entries whose guest is gone are removed when a name is claimed. */
  readonly #owners: Map<string, string> = new Map();

  constructor(config: StackConfig, policy: Policy, neighbours: Neighbours, leases: () => readonly Lease[]) {
    this.#domain = config.domainname === null ? null : `.${config.domainname.toLowerCase()}`;
    this.#policy = policy;
    this.#neighbours = neighbours;
    this.#leases = leases;
  }

  /** A guest has been given a lease under this name. */
  claim(name: string): void {
    const leases = this.#leases();
    for (const [each, mac] of this.#owners) {
      if (!leases.some((lease) => lease.mac === mac && lease.hostname === each)) this.#owners.delete(each);
    }
    this.#find(name);
  }

  /** The owners of names: names with MACs. */
  save(): (readonly [string, string])[] {
    return [...this.#owners];
  }

  restore(saved: readonly (readonly [string, string])[]): void {
    for (const [name, mac] of saved) this.#owners.set(name, mac);
  }

  /** The address of the guest with this name, IPv4 first; null when no guest has it. */
  address(name: string): IpAddress | null {
    const lease = this.#find(this.#plain(name.toLowerCase().replace(/\.$/, "")));
    return lease === null ? null : addressFromText(lease.ip);
  }

  answer(asked: string, qtype: number): LocalAnswer | null {
    const name = asked.toLowerCase();
    const address = addressOfReverseName(name);
    if (address !== null) return this.#isLocal(address) ? this.#reverse(address, qtype) : null;
    const lease = this.#find(this.#plain(name));
    // A name that no guest has may be one of the host's, even below .internal: companies and clouds use it.
    if (lease === null) return null;
    const worldFirst = this.#domain !== null && name.endsWith(this.#domain) && !NOT_THE_WORLDS.test(this.#domain);
    return { known: true, rdata: this.#records(lease, qtype), worldFirst };
  }

  #plain(name: string): string {
    for (const suffix of [INTERNAL, this.#domain]) {
      if (suffix !== null && name.endsWith(suffix)) return name.slice(0, -suffix.length);
    }
    return name;
  }

  #find(name: string): Lease | null {
    const holders = this.#leases().filter(({ hostname }) => hostname === name);
    if (holders.length === 0) return null;
    const owner = this.#owners.get(name);
    const holder = holders.find(({ mac }) => mac === owner) ?? holders[0]!;
    this.#owners.set(name, holder.mac);
    return holder;
  }

  #records({ ip, mac }: Lease, qtype: number): Uint8Array[] {
    if (qtype === DNS_A) return [addressFromText(ip).bytes];
    if (qtype !== DNS_AAAA) return [];
    const used = this.#neighbours.ofMac(mac, 6).map(({ address }) => address);
    const leased = this.#leases().filter((lease) => lease.mac === mac && lease.ip.includes(":"));
    const all = [...leased.map((lease) => addressFromText(lease.ip)), ...used];
    const lasting = all.filter(({ bytes }) => !ipv6IsLinkLocal(bytes, 0));
    return [...new Map(lasting.map((address) => [address.text, address.bytes])).values()].slice(0, MOST_ADDRESSES);
  }

  #isLocal({ family, ip, bytes }: IpAddress): boolean {
    return family === 4 ? this.#policy.inNet(ip) : this.#policy.inNet6(bytes, 0);
  }

  #reverse(address: IpAddress, qtype: number): LocalAnswer {
    const mac = this.#leases().find(({ ip }) => ip === address.text)?.mac ?? this.#neighbours.macOf(address);
    const name = this.#leases().find((lease) => lease.mac === mac && lease.hostname !== null)?.hostname ?? null;
    if (name === null || this.#find(name)?.mac !== mac) return NOBODY;
    const rdata = dnsEncodeName(name + INTERNAL);
    return { known: true, rdata: qtype === DNS_PTR && rdata !== null ? [rdata] : [] };
  }
}
