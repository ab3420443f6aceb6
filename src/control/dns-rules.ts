/**
 * The names that the DNS server itself knows, and its resolvers for zones, as users write them: `NAME=IP`,
 * `ZONE=IP[:PORT]`.
 */
import type { DnsHost, DnsZone } from "../core/config.ts";
import { parseEndpoint, parseIp } from "./addresses.ts";
import { ConfigError } from "./errors.ts";

const HOST = "expected NAME=IP, like db.example.com=10.1.2.3; IP may be gateway";
const ZONE = "expected ZONE=IP[:PORT], like corp.example.com=10.1.0.53";
const LABEL = /^[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?$/;

/** Throws `ConfigError` about `dnsHosts`. */
export function parseDnsHost(text: string): DnsHost {
  const [nameText, addressText] = halves(text);
  const name = readName(nameText);
  const address = addressText === "gateway" ? "gateway" : parseIp(addressText.replace(/^\[(.*)\]$/, "$1"));
  if (name === null || address === null) throw new ConfigError("dnsHosts", text, HOST);
  return { name, address };
}

/** Throws `ConfigError` about `dnsZones`. */
export function parseDnsZone(text: string): DnsZone {
  const [zoneText, serverText] = halves(text);
  const zone = readName(zoneText.replace(/^\./, ""));
  const server = parseEndpoint(serverText, 53);
  if (zone === null || server === null) throw new ConfigError("dnsZones", text, ZONE);
  return { zone, server };
}

function halves(text: string): readonly [string, string] {
  const at = text.indexOf("=");
  return at < 0 ? [text, ""] : [text.slice(0, at), text.slice(at + 1)];
}

/** A name in lower case without its last dot; null for an invalid one. */
function readName(text: string): string | null {
  const name = text.toLowerCase().replace(/\.$/, "");
  return name.length <= 253 && name.split(".").every((label) => LABEL.test(label)) ? name : null;
}
