/** A network's IPv6 addresses, from the user's options and libslirp's defaults. */
import type { IpText } from "../core/address.ts";
import { ipv6Equals, ipv6FromText, ipv6SamePrefix, ipv6ToString } from "../wire/ipv6.ts";
import { parseIpv6, parseNumber } from "./addresses.ts";
import { ConfigError } from "./errors.ts";

const MIN_PREFIX = 8;
const MAX_PREFIX = 126;
export const SUBNET6: string = `expected an IPv6 network with a prefix from ${MIN_PREFIX} to ${MAX_PREFIX}, like fec0::/64`;
/** The last byte of the first address that DHCPv6 leases, to which forwards lead when there is no IPv4. */
const FIRST_LEASE = 0x15;
/** fe80::/10. Every guest has an address there anyway. */
const LINK_LOCAL = ipv6FromText("fe80::");
const LINK_LOCAL_BITS = 10;

export interface Net6 {
  readonly net: Uint8Array;
  readonly prefix: number;
}

export interface Addresses6 extends Net6 {
  readonly host: Uint8Array;
  readonly dns: Uint8Array;
  readonly first: Uint8Array;
}

/**
 * Reads `ADDR/PREFIX`, or `ADDR` alone for /64, as QEMU's `ipv6-net=`. Host bits are dropped. Null for a network that
 * guests cannot be in: multicast, link-local, or within ::/8, which has loopback and the IPv4 addresses.
 */
export function parseNet6(text: string): Net6 | null {
  const [addressText = "", prefixText = "64", more] = text.split("/");
  const address = parseIpv6(addressText);
  const prefix = parseNumber(prefixText, MIN_PREFIX, MAX_PREFIX);
  if (address === null || prefix === null || more !== undefined) return null;
  const net = ipv6FromText(address);
  for (let i = 0; i < 16; i++) net[i]! &= 0xff00 >> Math.min(8, Math.max(0, prefix - 8 * i));
  if (net[0] === 0 || net[0] === 0xff) return null;
  return ipv6SamePrefix(net, 0, LINK_LOCAL, 0, Math.min(prefix, LINK_LOCAL_BITS)) ? null : { net, prefix };
}

/** The gateway is the net's ::2 and the DNS server its ::3 unless given. Throws `ConfigError`. */
export function resolveAddresses6(options: {
  readonly subnet6?: string | undefined;
  readonly host6?: string | undefined;
  readonly dns6?: string | undefined;
}): Addresses6 {
  const { net, prefix } = parseNet6(options.subnet6 ?? "fec0::/64")!;
  const given = (field: "host6" | "dns6"): Uint8Array | null => {
    const text = options[field];
    return text === undefined ? null : usable6(field, text, { net, prefix });
  };
  const givenHost = given("host6");
  const givenDns = given("dns6");
  if (givenHost !== null && givenDns !== null && ipv6Equals(givenHost, 0, givenDns, 0))
    throw new ConfigError("dns6", options.dns6, "expected another address than that of host6");
  const host = givenHost ?? free(net, prefix, 2, givenDns === null ? [] : [givenDns]);
  const dns = givenDns ?? free(net, prefix, 3, [host]);
  return { net, prefix, host, dns, first: free(net, prefix, FIRST_LEASE, [host, dns]) };
}

/** The net's n-th address, counted within a small net's size, or the next one that is not taken. */
function free(net: Uint8Array, prefix: number, n: number, taken: readonly Uint8Array[]): Uint8Array {
  const most = 2 ** Math.min(8, 128 - prefix) - 1;
  for (let i = n & most; ; i = i === most ? 1 : i + 1) {
    const address = net.slice();
    address[15]! |= i;
    if (!taken.some((other) => ipv6Equals(address, 0, other, 0))) return address;
  }
}

/** Checks that an address is in the net and that a machine can have it. Throws `ConfigError`. */
function usable6(field: string, text: string, { net, prefix }: Net6): Uint8Array {
  const address = ipv6FromText(text);
  if (!ipv6SamePrefix(address, 0, net, 0, prefix) || ipv6Equals(address, 0, net, 0)) {
    throw new ConfigError(
      field,
      text,
      `expected an address within ${ipv6ToString(net)}/${prefix}, other than its first`,
    );
  }
  return address;
}

/** Checks that an address can be a guest's. Throws `ConfigError`. */
export function guestAddress6(field: string, text: IpText, addresses: Addresses6): void {
  const address = usable6(field, text, addresses);
  for (const [own, name] of [
    [addresses.host, "gateway"],
    [addresses.dns, "DNS server"],
  ] as const) {
    if (ipv6Equals(address, 0, own, 0))
      throw new ConfigError(field, text, `expected a guest's address, not the ${name}'s`);
  }
}
