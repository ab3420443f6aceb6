/** Fixed addresses by MAC, as users write them. */
import type { IpText } from "../core/address.ts";
import { fromNumber } from "./addresses.ts";
import { ConfigError } from "./errors.ts";
import { type Addresses4, guestAddress4 } from "./subnet4.ts";

const MAC = /^[0-9a-f]{2}(?::[0-9a-f]{2}){5}$/;

/** The addresses by canonical MAC. Throws `ConfigError`. */
export function resolveStaticLeases(
  leases: Readonly<Record<string, string>>,
  addresses: Addresses4,
): Map<string, IpText> {
  const byMac = new Map<string, IpText>();
  const owners = new Map<number, string>();
  for (const [macText, text] of Object.entries(leases)) {
    const mac = macText.toLowerCase().replaceAll("-", ":");
    const field = `staticLeases.${macText}`;
    // The lowest bit of the first byte marks a group address. No card has one of its own.
    if (!MAC.test(mac) || Number.parseInt(mac.slice(0, 2), 16) % 2 === 1) {
      throw new ConfigError("staticLeases", macText, "expected a guest's MAC address, like 52:54:00:12:34:56");
    }
    const ip = guestAddress4(field, text, addresses);
    const owner = owners.get(ip);
    if (owner !== undefined) throw new ConfigError(field, text, `expected another address than that of ${owner}`);
    if (byMac.has(mac)) throw new ConfigError("staticLeases", macText, "expected each MAC address once");
    owners.set(ip, mac);
    byMac.set(mac, fromNumber(ip));
  }
  return byMac;
}
