/**
 * The user's own entries in the DNS server: names with their addresses (and the addresses' names), and zones with
 * resolvers of their own (split DNS, such as a company's zone behind its VPN).
 */
import { addressFromText, type Endpoint } from "../core/address.ts";
import type { DnsZone, StackConfig } from "../core/config.ts";
import { DNS_A, DNS_AAAA, DNS_PTR, dnsEncodeName } from "../wire/dns.ts";
import type { LocalAnswer, LocalNames } from "./dns.ts";
import { reverseName } from "./reverse-name.ts";

interface Records {
  readonly a: Uint8Array[];
  readonly aaaa: Uint8Array[];
  readonly ptr: Uint8Array[];
}

export class DnsHosts implements LocalNames {
  readonly #records: Map<string, Records> = new Map();

  constructor({
    dnsHosts,
    ipv4,
    ipv6,
    host,
    host6,
  }: Pick<StackConfig, "dnsHosts" | "ipv4" | "ipv6" | "host" | "host6">) {
    const gateway = [...(ipv4 ? [host] : []), ...(ipv6 ? [host6] : [])];
    for (const { name, address } of dnsHosts) {
      for (const text of address === "gateway" ? gateway : [address]) {
        const { family, bytes, text: plain } = addressFromText(text);
        const own = this.#of(name);
        (family === 4 ? own.a : own.aaaa).push(bytes);
        // An address has one name: the first.
        const { ptr } = this.#of(reverseName(plain));
        if (ptr.length === 0) ptr.push(dnsEncodeName(name)!);
      }
    }
  }

  answer(name: string, qtype: number): LocalAnswer | null {
    const records = this.#records.get(name.toLowerCase());
    if (records === undefined) return null;
    const { a, aaaa, ptr } = records;
    return { known: true, rdata: qtype === DNS_A ? a : qtype === DNS_AAAA ? aaaa : qtype === DNS_PTR ? ptr : [] };
  }

  #of(name: string): Records {
    let records = this.#records.get(name);
    if (records === undefined) this.#records.set(name, (records = { a: [], aaaa: [], ptr: [] }));
    return records;
  }
}

export class DnsZones {
  readonly #servers: Map<string, Endpoint[]> = new Map();

  constructor(zones: readonly DnsZone[]) {
    for (const { zone, server } of zones) {
      const servers = this.#servers.get(zone);
      if (servers === undefined) this.#servers.set(zone, [server]);
      else servers.push(server);
    }
  }

  /**
   * The servers for a name, in their order: those of the longest zone that contains it. Undefined: the host's
   * resolvers.
   */
  serversOf(name: string): readonly Endpoint[] | undefined {
    if (this.#servers.size === 0) return undefined;
    for (let zone = name.toLowerCase(); ; ) {
      const servers = this.#servers.get(zone);
      if (servers !== undefined) return servers;
      const dot = zone.indexOf(".");
      if (dot < 0) return undefined;
      zone = zone.slice(dot + 1);
    }
  }
}
