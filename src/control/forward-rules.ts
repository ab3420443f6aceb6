/** Port forwards as users write them: QEMU's `hostfwd=` and Docker's `--publish`. */

import type { IpText } from "../core/address.ts";
import type { ForwardRule } from "../core/config.ts";
import { UNIX_PATH_MAX } from "../host/listen-unix.ts";
import { parseIpv4, parseIpv6, parseNumber } from "./addresses.ts";
import { ConfigError, show } from "./errors.ts";

const MAX_PORT = 65_535;
const HOSTFWD =
  "expected [tcp|udp]:[hostaddr]:hostport-[guestaddr]:guestport or unix:PATH-[guestaddr]:guestport, like tcp:127.0.0.1:2222-:22";
const PUBLISH = "expected [GUEST:][HOST:]PORT[-PORT]:GUESTPORT[-PORT][/tcp|/udp], like 2222:22 or web:2222:22";

/** An address or nothing: IPv6 in brackets, IPv4 and names without. */
const ADDRESS = String.raw`(?:\[[^\]]*\]|[^:[\]]*)`;
const HOSTFWD_FORM = new RegExp(`^([a-z]*):(${ADDRESS}):([^:-]*)-(${ADDRESS}):([^:]*)$`);
const UNIX_GUEST_FORM = new RegExp(`^(${ADDRESS}):([^:]*)$`);
/** A guest's host name: what no address looks like. */
const GUEST_NAME = /^(?=[0-9.-]*[a-z])[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?$/i;
const PUBLISH_FORM = new RegExp(`^(?:(${ADDRESS}):)?([0-9]+)(?:-([0-9]+))?:([0-9]+)(?:-([0-9]+))?(?:/([a-z]+))?$`);

/**
 * QEMU's grammar: `[tcp|udp]:[hostaddr]:hostport-[guestaddr]:guestport`. Nothing for the protocol is tcp, for the host
 * every address (0.0.0.0), for the guest the first lease; host port 0 takes a free one. Or `unix:PATH-[guestaddr]:port`.
 * Throws `ConfigError`.
 */
export function parseHostfwd(text: string): ForwardRule {
  if (text.startsWith("unix:")) return parseUnix(text);
  const match = HOSTFWD_FORM.exec(text);
  if (match === null) throw new ConfigError("hostfwd", text, HOSTFWD);
  const [, protoText = "", hostText = "", hostPortText = "", guestText = "", guestPortText = ""] = match;
  const proto = protoText === "" ? "tcp" : protoText;
  if (proto !== "tcp" && proto !== "udp")
    throw new ConfigError("hostfwd", text, `expected tcp or udp, not ${quote(protoText)}`);
  const host = hostText === "" ? "0.0.0.0" : parseLiteral(hostText);
  if (host === null) {
    throw new ConfigError(
      "hostfwd",
      text,
      `expected an IP address of the host (IPv6 in brackets), not ${quote(hostText)}`,
    );
  }
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
 * Docker's grammar: `[HOST:]PORT[-PORT]:GUESTPORT[-PORT][/tcp|/udp]`, to the first lease, one rule for each port. The
 * host address is 127.0.0.1 unless given, and `localhost` is that. Throws `ConfigError`.
 */
export function parsePublish(text: string): ForwardRule[] {
  const head = text.slice(0, Math.max(0, text.indexOf(":")));
  if (head.toLowerCase() === "localhost") return parsePublish(`127.0.0.1${text.slice(head.length)}`);
  const name = GUEST_NAME.test(head) ? head.toLowerCase() : null;
  const match = PUBLISH_FORM.exec(name === null ? text : text.slice(head.length + 1));
  if (match === null) throw new ConfigError("publish", text, PUBLISH);
  const [, hostText, first, last, guestFirst, guestLast, proto = "tcp"] = match;
  if (proto !== "tcp" && proto !== "udp")
    throw new ConfigError("publish", text, `expected /tcp or /udp, not ${quote(proto)}`);
  const host = hostText === undefined ? "127.0.0.1" : parseLiteral(hostText);
  if (host === null) {
    throw new ConfigError(
      "publish",
      text,
      `expected an IP address of the host (IPv6 in brackets), not ${quote(hostText ?? "")}`,
    );
  }
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

/** An IPv4 address, or an IPv6 one in brackets. */
function parseLiteral(text: string): IpText | null {
  return text.startsWith("[") ? parseIpv6(text.slice(1, -1)) : parseIpv4(text);
}

function quote(text: string): string {
  return text === "" ? "nothing" : show(text);
}
