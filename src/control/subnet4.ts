/** A network's IPv4 addresses, from the user's options and libslirp's defaults. */
import { fromNumber, type Net4, parseNet4, prefixMask, toNumber } from "./addresses.ts";
import { ConfigError } from "./errors.ts";

const MIN_PREFIX = 4;
const MAX_PREFIX = 29;
export const SUBNET4: string = `expected an IPv4 network with a prefix from ${MIN_PREFIX} to ${MAX_PREFIX}, like 10.0.2.0/24`;

export interface Addresses4 extends Net4 {
  readonly host: number;
  readonly dns: number;
  readonly dhcpStart: number;
}

/** Reads a network that guests can be in: large enough, without loopback, and outside 0.0.0.0/8 and 224.0.0.0/3. */
export function parseSubnet4(text: string): Net4 | null {
  const net = parseNet4(text);
  if (net === null || net.prefix < MIN_PREFIX || net.prefix > MAX_PREFIX) return null;
  const first = net.net >>> 24;
  const last = (net.net | ~prefixMask(net.prefix)) >>> 24;
  return first === 0 || last >= 224 || (first <= 127 && last >= 127) ? null : net;
}

/** Where each address stands in the net, as in QEMU's net/slirp.c. */
const OFFSETS = { host: 0x0202, dns: 0x0203, dhcpStart: 0x020f } as const;

/**
 * Our own addresses and the first lease. Unless given, they are the net plus 0x0202, 0x0203 and 0x020f, under the
 * mask. Where such an address cannot be used in a small net (0x0f is the broadcast address of a /28), the first free
 * one takes its place. Throws `ConfigError`, as QEMU does, also where a given address is another one's default.
 */
export function resolveAddresses4(options: {
  readonly subnet?: string | undefined;
  readonly host?: string | undefined;
  readonly dns?: string | undefined;
  readonly dhcpStart?: string | undefined;
}): Addresses4 {
  const { net, prefix } = parseSubnet4(options.subnet ?? "10.0.2.0/24")!;
  const taken = new Map<number, string>();
  const given = { host: options.host, dns: options.dns, dhcpStart: options.dhcpStart };
  const mask = prefixMask(prefix);
  const usual = (field: keyof typeof given): number | null => {
    const ip = (net | (OFFSETS[field] & ~mask)) >>> 0;
    return ip === net || ip === (net | ~mask) >>> 0 ? null : ip;
  };
  for (const [field, text] of Object.entries(given)) {
    if (text === undefined) continue;
    const ip = usable4(field, text, net, prefix);
    const other = taken.get(ip);
    if (other !== undefined) throw new ConfigError(field, text, `expected another address than that of ${other}`);
    taken.set(ip, field);
    for (const unsaid of ["host", "dns", "dhcpStart"] as const)
      if (given[unsaid] === undefined && usual(unsaid) === ip)
        throw new ConfigError(
          field,
          text,
          `expected another address than that of ${unsaid}, which may be given as well`,
        );
  }
  const choose = (field: keyof typeof given): number => {
    const text = given[field];
    if (text !== undefined) return toNumber(text);
    let ip = usual(field);
    if (ip === null) {
      ip = net + 1;
      while (taken.has(ip)) ip++;
    }
    taken.set(ip, field);
    return ip;
  };
  const host = choose("host");
  const dns = choose("dns");
  return { net, prefix, host, dns, dhcpStart: choose("dhcpStart") };
}

/** Checks that an address is in the net and that a machine can have it. Throws `ConfigError`. */
function usable4(field: string, text: string, net: number, prefix: number): number {
  const ip = toNumber(text);
  const mask = prefixMask(prefix);
  if ((ip & mask) >>> 0 !== net || ip === net || ip === (net | ~mask) >>> 0) {
    const expectation = `expected an address within ${fromNumber(net)}/${prefix}, other than its first and its last`;
    throw new ConfigError(field, text, expectation);
  }
  return ip;
}

/** Checks that an address can be a guest's. Throws `ConfigError`. */
export function guestAddress4(field: string, text: string, { net, prefix, host, dns }: Addresses4): number {
  const ip = usable4(field, text, net, prefix);
  if (ip === host || ip === dns) {
    throw new ConfigError(
      field,
      text,
      `expected a guest's address, not the ${ip === host ? "gateway" : "DNS server"}'s`,
    );
  }
  return ip;
}
