/** Port forwards as users write them: QEMU's `hostfwd=` and Docker's `--publish`. */

import type { IpText } from "../core/address.ts";
import type { ForwardRule } from "../core/config.ts";
import { UNIX_PATH_MAX } from "../host/unix-path.ts";
import { ipv4ToString } from "../wire/ipv4.ts";
import { ipv6FromText } from "../wire/ipv6.ts";
import { parseIpv4, parseIpv6, parseNumber } from "./addresses.ts";
import { ConfigError, show } from "./errors.ts";

const MAX_PORT = 65_535;
const HOSTFWD =
  "expected [tcp|udp]:[hostaddr]:hostport-[guestaddr]:guestport or unix:PATH-[guestaddr]:guestport, like tcp:127.0.0.1:2222-:22";
const PUBLISH =
  "expected [GUEST:][HOST:]PORT[-PORT]:GUESTPORT[-PORT][/tcp|/udp] (IPv6 in brackets), like 2222:22 or web:2222:22";

/** An address or nothing: IPv6 in brackets, IPv4 and names without. */
const ADDRESS = String.raw`(?:\[[^\]]*\]|[^:[\]]*)`;
const HOSTFWD_FORM = new RegExp(`^([a-z]*):(${ADDRESS}):([^:-]*)-(${ADDRESS}):([^:]*)$`);
const UNIX_GUEST_FORM = new RegExp(`^(${ADDRESS}):([^:]*)$`);
/** A guest's host name. It has a letter, so it looks like no address. */
const GUEST_NAME = /^(?=[0-9.-]*[a-z])[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?$/i;
const PUBLISH_FORM = new RegExp(`^(?:(${ADDRESS}):)?([0-9]+)(?:-([0-9]+))?:([0-9]+)(?:-([0-9]+))?(?:/([a-z]+))?$`);

/** Whether a text is a forward in QEMU's grammar. One that leaves the protocol out looks like Docker's. */
export function isHostfwd(text: string): boolean {
  return /^(?:tcp|udp|unix):/.test(text) || (text.startsWith(":") && HOSTFWD_FORM.test(text));
}

/**
 * QEMU's grammar: `[tcp|udp]:[hostaddr]:hostport-[guestaddr]:guestport`, or `unix:PATH-[guestaddr]:port`. An empty
 * protocol means tcp, an empty host address 0.0.0.0 (all), and an empty guest address the guest with the first lease.
 * Host port 0 means any free one. Throws `ConfigError`.
 */
export function parseHostfwd(text: string): ForwardRule {
  if (text.startsWith("unix:")) return parseUnix(text);
  const match = HOSTFWD_FORM.exec(text);
  if (match === null) throw new ConfigError("hostfwd", text, HOSTFWD);
  const [, protoText = "", hostText = "", hostPortText = "", guestText = "", guestPortText = ""] = match;
  const proto = protoText === "" ? "tcp" : protoText;
  if (proto !== "tcp" && proto !== "udp")
    throw new ConfigError("hostfwd", text, `expected tcp or udp, not ${quote(protoText)}`);
  const host = hostText === "" ? "0.0.0.0" : hostSide("hostfwd", text, hostText);
  const hostPort = parseNumber(hostPortText, 0, MAX_PORT);
  if (hostPort === null) {
    throw new ConfigError("hostfwd", text, `expected a host port from 0 to ${MAX_PORT}, not ${quote(hostPortText)}`);
  }
  return { proto, host: { host, port: hostPort }, guest: guestSide(text, guestText, guestPortText) };
}

function parseUnix(text: string): ForwardRule {
  const rest = text.slice("unix:".length);
  const dash = rest.lastIndexOf("-");
  const path = rest.slice(0, Math.max(dash, 0));
  const match = UNIX_GUEST_FORM.exec(rest.slice(dash + 1));
  if (path === "" || path.includes("\0") || match === null) throw new ConfigError("hostfwd", text, HOSTFWD);
  if (Buffer.byteLength(path) > UNIX_PATH_MAX) {
    throw new ConfigError("hostfwd", text, `expected a path of at most ${UNIX_PATH_MAX} bytes`);
  }
  return { proto: "tcp", host: { path }, guest: guestSide(text, match[1] ?? "", match[2] ?? "") };
}

function guestSide(text: string, hostText: string, portText: string): ForwardRule["guest"] {
  const host = hostText === "" ? null : parseLiteral(hostText);
  if (hostText !== "" && host === null) {
    throw new ConfigError(
      "hostfwd",
      text,
      `expected an IP address of the guest (IPv6 in brackets), not ${quote(hostText)}`,
    );
  }
  const port = parseNumber(portText, 1, MAX_PORT);
  if (port === null) {
    throw new ConfigError("hostfwd", text, `expected a guest port from 1 to ${MAX_PORT}, not ${quote(portText)}`);
  }
  return { host, port };
}

/**
 * Docker's grammar: `[HOST:]PORT[-PORT]:GUESTPORT[-PORT][/tcp|/udp]`, to the guest with the first lease. Returns one
 * rule for each port. The host address is 127.0.0.1 unless given, and so is `localhost`. Throws `ConfigError`.
 */
export function parsePublish(text: string): ForwardRule[] {
  const head = text.slice(0, Math.max(0, text.indexOf(":")));
  const isLocal = head.toLowerCase() === "localhost";
  const name = !isLocal && GUEST_NAME.test(head) ? head.toLowerCase() : null;
  const rest = text.slice(head.length + 1);
  const match = PUBLISH_FORM.exec(isLocal ? `127.0.0.1:${rest}` : name === null ? text : rest);
  if (match === null) throw new ConfigError("publish", text, PUBLISH);
  const [, hostText, first, last, guestFirst, guestLast, proto = "tcp"] = match;
  if (proto !== "tcp" && proto !== "udp")
    throw new ConfigError("publish", text, `expected /tcp or /udp, not ${quote(proto)}`);
  const host = hostText === undefined ? "127.0.0.1" : hostSide("publish", text, hostText);
  const ports = range(text, first, last);
  const guestPorts = range(text, guestFirst, guestLast);
  if (ports.count !== guestPorts.count) {
    throw new ConfigError(
      "publish",
      text,
      `expected ranges of equal length, not ${ports.count} and ${guestPorts.count} ports`,
    );
  }
  return Array.from({ length: ports.count }, (_, i) => ({
    proto,
    host: { host, port: ports.first + i },
    guest: { host: null, port: guestPorts.first + i, ...(name === null ? {} : { name }) },
  }));
}

function range(text: string, firstText = "", lastText = firstText): { first: number; count: number } {
  const first = parseNumber(firstText, 1, MAX_PORT);
  const last = parseNumber(lastText, 1, MAX_PORT);
  if (first === null || last === null) throw new ConfigError("publish", text, `expected ports from 1 to ${MAX_PORT}`);
  if (last < first) throw new ConfigError("publish", text, `expected a range from low to high, not ${first}-${last}`);
  return { first, count: last - first + 1 };
}

/** An address that the host can listen on. Throws `ConfigError`. */
function hostSide(field: string, text: string, hostText: string): IpText {
  const host = parseLiteral(hostText);
  if (host === null)
    throw new ConfigError(field, text, `expected an IP address of the host (IPv6 in brackets), not ${quote(hostText)}`);
  if (!host.includes(":")) return host;
  const bytes = ipv6FromText(host);
  const refuse = (why: string): never => {
    throw new ConfigError(field, text, why);
  };
  if (bytes[0] === 0xff) refuse(`expected an address of one host, not of a group: ${quote(hostText)}`);
  // fe80::/10 (RFC 4291 section 2.5.6).
  if (bytes[0] === 0xfe && (bytes[1]! & 0xc0) === 0x80)
    refuse(`expected an address that holds on all interfaces, like [::], not a link-local one: ${quote(hostText)}`);
  // ::ffff:0:0/96 (section 2.5.5.2).
  if (bytes.subarray(0, 10).every((byte) => byte === 0) && bytes[10] === 0xff && bytes[11] === 0xff) {
    const ip = ((bytes[12]! << 24) | (bytes[13]! << 16) | (bytes[14]! << 8) | bytes[15]!) >>> 0;
    refuse(`expected ${ipv4ToString(ip)}, the IPv4 address that is meant, not ${quote(hostText)}`);
  }
  return host;
}

/** An IPv4 address, or an IPv6 one in brackets. */
function parseLiteral(text: string): IpText | null {
  return text.startsWith("[") ? parseIpv6(text.slice(1, -1)) : parseIpv4(text);
}

function quote(text: string): string {
  return text === "" ? "nothing" : show(text);
}
