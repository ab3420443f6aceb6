/** Names of addresses, in in-addr.arpa (RFC 1035 section 3.5) and ip6.arpa (RFC 3596 section 2.5). */
import { addressFromText, type IpAddress, type IpText, ipv4Address } from "../core/address.ts";

/** The name under which an address's own name is looked up. */
export function reverseName(address: IpText): string {
  const { family, bytes } = addressFromText(address);
  if (family === 4) return `${[...bytes].reverse().join(".")}.in-addr.arpa`;
  const nibbles = [...bytes].flatMap((byte) => [byte >> 4, byte & 15]);
  return `${nibbles
    .reverse()
    .map((each) => each.toString(16))
    .join(".")}.ip6.arpa`;
}

/** The address of such a name; null for other names. `name` is in lower case. */
export function addressOfReverseName(name: string): IpAddress | null {
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
