/**
 * Addresses that belong to nobody on the Internet, and those where clouds keep secrets from guests. An IPv6 address
 * that contains an IPv4 address counts as that one, because a translator or tunnel on the way would lead there.
 */
import { addressFromText, type IpAddress } from "../../core/address.ts";
import { get32 } from "../../wire/bytes.ts";
import { ipv6SamePrefix } from "../../wire/ipv6.ts";
import { embedded4, isNat64 } from "../../wire/ipv6-embedded.ts";

/** Metadata services besides the link-local ones (169.254.169.254 above all): Alibaba's, Azure's, Oracle's. */
const METADATA4: readonly number[] = ["100.100.100.200", "168.63.129.16", "192.0.0.192"].map(
  (text) => addressFromText(text).ip,
);

/** Amazon's (instances' metadata, containers' credentials, DNS, NTP), Google's, Oracle's, Scaleway's, Akamai's, Alibaba's. */
const METADATA6: readonly (readonly [net: Uint8Array, prefix: number])[] = [
  ["fd00:ec2::", 32],
  ["fd20:ce::", 32],
  ["fd00:c1::", 32],
  ["fd00:42::", 32],
  ["fd00:a9fe:a9fe::", 48],
  ["fd00:100::", 32],
].map(([net, prefix]) => [addressFromText(net as string).bytes, prefix as number] as const);

/** The networks of IPv4's address registry (RFC 6890) that are not globally reachable. */
const PRIVATE4: readonly (readonly [net: number, prefix: number])[] = [
  ["0.0.0.0", 8],
  ["10.0.0.0", 8],
  ["100.64.0.0", 10],
  ["127.0.0.0", 8],
  ["169.254.0.0", 16],
  ["172.16.0.0", 12],
  ["192.0.0.0", 24],
  ["192.168.0.0", 16],
  ["198.18.0.0", 15],
  ["224.0.0.0", 3],
].map(([net, prefix]) => [addressFromText(net as string).ip, prefix as number] as const);

export function inNet4(ip: number, net: number, prefix: number): boolean {
  return prefix === 0 || (ip ^ net) >>> (32 - prefix) === 0;
}

/** The shortest prefix by which a rule names this address on purpose; 0 for an address that is not guarded. */
export function guardedPrefix({ family, ip, bytes }: IpAddress): number {
  if (family === 4) return guardedPrefix4(ip);
  for (const [net, prefix] of METADATA6) if (ipv6SamePrefix(bytes, 0, net, 0, prefix)) return prefix;
  return embedded4(bytes).some((each) => guardedPrefix4(each) > 0) ? 128 : 0;
}

function guardedPrefix4(ip: number): number {
  if (inNet4(ip, -1_442_971_648, 16)) return 16;
  return METADATA4.includes(ip) ? 32 : 0;
}

/**
 * Whether an address belongs to a private network, where a name of the Internet must not lead (DNS rebinding). In IPv6
 * that is every address but global unicast (RFC 4291 section 2.4) and NAT64's prefix, and any that contains a private
 * IPv4 address.
 */
export function isPrivate({ family, ip, bytes: b }: IpAddress): boolean {
  if (family === 4) return isPrivate4(ip);
  if (b[0]! >> 5 !== 1 && !isNat64(b)) return true;
  return get32(b, 0) === 0x2001_0000 || embedded4(b).some(isPrivate4);
}

function isPrivate4(ip: number): boolean {
  return PRIVATE4.some(([net, prefix]) => inNet4(ip, net, prefix));
}
