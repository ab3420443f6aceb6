/**
 * Guests by name: `NAME.internal`, `NAME` alone, and `NAME` under the network's own domain, where NAME is what a guest has
 * called itself by DHCP (option 12). Its IPv4 address is the lease's, its IPv6 addresses are those that the same card uses.
 *
 * Guests are hostile, and forwards lead to names: a name stays with the card that had it first, for as long as that
 * has a lease and keeps the name. What comes later under the same name is not found by it.
 */
import { addressFromText, type IpAddress, ipv4Address } from "../core/address.ts";
import type { StackConfig } from "../core/config.ts";
import type { Policy } from "../nat/rules/policy.ts";
import type { Lease } from "../proto/dhcp.ts";
import type { LocalAnswer, LocalNames } from "../proto/dns.ts";
import type { Neighbours } from "../proto/neighbours.ts";
import { DNS_A, DNS_AAAA, DNS_PTR, dnsEncodeName } from "../wire/dns.ts";
import { ipv6IsLinkLocal } from "../wire/ipv6.ts";

/** Reserved by ICANN for private networks; never delegated. */
const INTERNAL = ".internal";
const MOST_ADDRESSES = 8;
const NOBODY: LocalAnswer = { known: false, rdata: [] };

export class GuestNames implements LocalNames {
  readonly #domain: string | null;
  readonly #policy: Policy;
  readonly #neighbours: Neighbours;
  /** Those of both families. */
  readonly #leases: () => readonly Lease[];
  /** The MAC that has each name; entries whose guest is gone are swept when a name is claimed. */
  readonly #owners: Map<string, string> = new Map();

  constructor(config: StackConfig, policy: Policy, neighbours: Neighbours, leases: () => readonly Lease[]) {
    this.#domain = config.domainname === null ? null : `.${config.domainname.toLowerCase()}`;
    this.#policy = policy;
    this.#neighbours = neighbours;
    this.#leases = leases;
  }

  /** A guest has bound a lease under this name. */
  claim(name: string): void {
    const leases = this.#leases();
    for (const [each, mac] of this.#owners) {
      if (!leases.some((lease) => lease.mac === mac && lease.hostname === each)) this.#owners.delete(each);
    }
    this.#find(name);
  }

  /** Where the guest of this name is, IPv4 first; null when nobody is called so. */
  address(name: string): IpAddress | null {
    const lease = this.#find(this.#plain(name.toLowerCase().replace(/\.$/, "")));
    return lease === null ? null : addressFromText(lease.ip);
  }

  answer(asked: string, qtype: number): LocalAnswer | null {
    const name = asked.toLowerCase();
    const address = reversed(name);
    if (address !== null) return this.#isLocal(address) ? this.#reverse(address, qtype) : null;
    const plain = this.#plain(name);
    const lease = this.#find(plain);
    if (lease !== null) return { known: true, rdata: this.#records(lease, qtype) };
    // Deeper names of that domain may be the host's own: clouds have their metadata there.
    return plain !== name && name.endsWith(INTERNAL) && !plain.includes(".") ? NOBODY : null;
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

/** The address that a name of in-addr.arpa (RFC 1035 section 3.5) or ip6.arpa (RFC 3596 section 2.5) stands for. */
function reversed(name: string): IpAddress | null {
  const v4 = /^([0-9]{1,3})\.([0-9]{1,3})\.([0-9]{1,3})\.([0-9]{1,3})\.in-addr\.arpa$/.exec(name);
  if (v4 !== null) {
    const parts = v4.slice(1).map(Number);
    if (parts.some((part) => part > 255)) return null;
    return ipv4Address(parts.reduceRight((ip, part) => (ip << 8) | part, 0));
  }
  if (!/^(?:[0-9a-f]\.){32}ip6\.arpa$/.test(name)) return null;
  const nibbles = name.slice(0, 63).split(".").reverse().join("");
  return addressFromText(nibbles.match(/.{4}/g)!.join(":"));
}
