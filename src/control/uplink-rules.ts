/**
 * Uplinks as users write them: `vxlan://REMOTE[,REMOTE…]?vni=N[&local=IP[:PORT]][&mtu=N]`, or the same as an object.
 * Remote ends are IP addresses, not names, because a datagram's sender is recognised by its address.
 */
import { type Endpoint, endpointText } from "../core/address.ts";
import type { UplinkConfig } from "../core/config.ts";
import { VXLAN_MAX_VNI, VXLAN_PORT, vxlanInnerMtu } from "../wire/vxlan.ts";
import { parseEndpoint, parseNumber } from "./addresses.ts";
import { ConfigError } from "./errors.ts";

/** An uplink to a segment of other machines, by VXLAN. */
export interface UplinkOptions {
  /**
   * The other ends, 1 to 64: `IP[:PORT]` or `[IPV6]:PORT` (port 4789). Broadcasts and multicasts go to each of them.
   */
  readonly remotes: readonly string[];
  /** The VXLAN network identifier, 0 to 16777215. */
  readonly vni: number;
  /** The local address and port (0.0.0.0:4789, or [::]:4789 where the other ends have IPv6 addresses). */
  readonly local?: string | undefined;
  /**
   * The largest IP packet between the ends, 1350 to 65535 bytes (1500). Guests' packets have 50 bytes less, over IPv6
   * 70.
   */
  readonly mtu?: number | undefined;
}

export const UPLINK_EXAMPLE = "vxlan://192.0.2.7?vni=42";
const GRAMMAR = "expected vxlan://IP[:PORT][,IP[:PORT]…]?vni=N[&local=IP[:PORT]][&mtu=N]";
/** Leaves IPv6 guests the 1280 bytes that they need (RFC 8200 section 5), over either family. */
const MIN_MTU = 1350;
const MAX_MTU = 65_535;
const MTU = 1500;
const MOST_REMOTES = 64;

/** Throws `ConfigError` about `field`. */
export function resolveUplink(field: string, given: string | UplinkOptions): UplinkConfig {
  const wrong = (value: unknown, expectation: string): ConfigError => new ConfigError(field, value, expectation);
  const options = typeof given === "string" ? parse(given, wrong) : given;
  if (!Array.isArray(options?.remotes))
    throw wrong(given, `expected a text like ${UPLINK_EXAMPLE} or { remotes, vni }`);
  const remotes = options.remotes.map((text: unknown) => {
    const remote = typeof text === "string" ? parseEndpoint(text, VXLAN_PORT) : null;
    if (remote === null || isAny(remote))
      throw wrong(text, "expected the address of the other end, IP[:PORT], like 192.0.2.7 or [2001:db8::7]:4789");
    return remote;
  });
  if (remotes.length === 0 || remotes.length > MOST_REMOTES)
    throw wrong(given, `expected 1 to ${MOST_REMOTES} other ends, like ${UPLINK_EXAMPLE}`);
  if (new Set(remotes.map(({ host }) => host)).size < remotes.length)
    throw wrong(given, "expected each address of another end once");
  const v6 = remotes[0]!.host.includes(":");
  const localText = options.local ?? (v6 ? "::" : "0.0.0.0");
  const local = typeof localText === "string" ? parseEndpoint(localText, VXLAN_PORT) : null;
  if (local === null) throw wrong(localText, "expected an address of this host as local, IP[:PORT]");
  const stranger = [local, ...remotes].find(({ host }) => host.includes(":") !== v6);
  if (stranger !== undefined) throw wrong(endpointText(stranger), `expected all ends to have IPv${v6 ? 6 : 4}`);
  if (!Number.isInteger(options.vni) || options.vni < 0 || options.vni > VXLAN_MAX_VNI)
    throw wrong(options.vni, `expected a vni from 0 to ${VXLAN_MAX_VNI}`);
  const mtu = options.mtu ?? MTU;
  if (!Number.isInteger(mtu) || mtu < MIN_MTU || mtu > MAX_MTU)
    throw wrong(mtu, `expected an mtu from ${MIN_MTU} to ${MAX_MTU}`);
  return { vni: options.vni, local, remotes, mtu };
}

/** The largest IP packet of guests that fits the uplink. */
export function uplinkInnerMtu({ mtu, local }: UplinkConfig): number {
  return vxlanInnerMtu(mtu, local.host.includes(":") ? 6 : 4);
}

function parse(text: string, wrong: (value: unknown, expectation: string) => ConfigError): UplinkOptions {
  const match = /^vxlan:\/\/([^/?#]+)\/?\?([^#]*)$/.exec(text);
  if (match === null) throw wrong(text, GRAMMAR);
  const given = new Map<string, string>();
  for (const pair of match[2]!.split("&")) {
    const [key = "", value] = pair.split("=", 2);
    if (!["vni", "local", "mtu"].includes(key) || value === undefined || given.has(key)) throw wrong(text, GRAMMAR);
    given.set(key, value);
  }
  const number = (key: string): number | undefined => {
    const value = given.get(key);
    // A text that is no number becomes NaN, which is refused with the field's range.
    return value === undefined ? undefined : (parseNumber(value, 0, VXLAN_MAX_VNI) ?? Number.NaN);
  };
  const vni = number("vni");
  if (vni === undefined) throw wrong(text, `expected a vni, like ${UPLINK_EXAMPLE}`);
  return { remotes: match[1]!.split(","), vni, local: given.get("local"), mtu: number("mtu") };
}

function isAny({ host }: Endpoint): boolean {
  return host === "0.0.0.0" || host === "::";
}
