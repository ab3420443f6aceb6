/** Guest forwards as users write them: QEMU's `guestfwd=`, `smb=` and `smbserver=`. */
import path from "node:path";
import type { IpText } from "../core/address.ts";
import type { GuestForwardRule } from "../core/config.ts";
import { UNIX_PATH_MAX } from "../host/unix-path.ts";
import { fromNumber, parseIpv4, parseIpv6, parseNumber, prefixMask } from "./addresses.ts";
import { ConfigError, show } from "./errors.ts";
import { shellWords } from "./shell-words.ts";
import { type Addresses4, guestAddress4 } from "./subnet4.ts";

/** A folder that guests reach over SMB, and the server's address in the guests' network. */
export interface SmbOptions {
  readonly folder: string;
  readonly server: IpText;
}

const MAX_PORT = 65_535;
const GUESTFWD = "expected [tcp]:server:port-cmd:COMMAND, -tcp:HOST:PORT or -unix:PATH, like tcp:10.0.2.100:80-cmd:cat";
const RULE = /^(?:tcp)?:([^:]*):([^-]*)-(cmd|tcp|unix):(.*)$/s;
const HOST = /^(?:\[([^\]]*)\]|([^:[\]]*)):([^:]*)$/;

/**
 * Paths that Samba's configuration cannot hold: it cuts lines and outer blanks, joins lines, and replaces what
 * follows `%`.
 */
const UNFIT_FOR_SAMBA = /[\n\r%]|\\$|^\s|\s$/;
const SMB = "expected a folder that exists, whose path has no %, no line break and no backslash at its end";
const SMB_PORTS: readonly number[] = [139, 445];
/** The place in the net of SMB's server, and of a guest forward whose server is not named. */
const SERVER_OFFSET = 0x0204;

/** Reads guest forwards and SMB's server, at addresses of the net that no guest is given. Throws `ConfigError`. */
export function resolveServers(
  options: {
    readonly guestfwd?: readonly string[] | undefined;
    readonly smb?: string | undefined;
    readonly smbServer?: string | undefined;
  },
  addresses: Addresses4,
  staticLeases: ReadonlyMap<string, IpText>,
): { readonly guestForwards: readonly GuestForwardRule[]; readonly smb: SmbOptions | null } {
  const server = (field: string, text: string): IpText => {
    const ip = guestAddress4(field, text, addresses);
    const canonical = fromNumber(ip);
    if (ip === addresses.dhcpStart || [...staticLeases.values()].includes(canonical))
      throw new ConfigError(field, text, "expected an address that no guest is given");
    return canonical;
  };
  const byDefault = fromNumber((addresses.net | (SERVER_OFFSET & ~prefixMask(addresses.prefix))) >>> 0);
  const smbServer = options.smbServer ?? byDefault;
  const smb =
    options.smb === undefined ? null : { folder: checkSmbFolder(options.smb), server: server("smbServer", smbServer) };
  return { guestForwards: resolveGuestForwards(options.guestfwd ?? [], smb, byDefault, server), smb };
}

/**
 * Reads all rules and checks them against each other. `usable` returns the canonical form of a server's address, or
 * throws if no server can have that address. Throws `ConfigError`.
 */
export function resolveGuestForwards(
  rules: readonly string[],
  smb: SmbOptions | null,
  defaultServer: IpText,
  usable: (field: string, text: string) => IpText,
): GuestForwardRule[] {
  const taken = new Set(smb === null ? [] : SMB_PORTS.map((port) => `${smb.server}:${port}`));
  return rules.map((text) => {
    const rule = parseGuestfwd(text, defaultServer);
    let server: IpText;
    try {
      server = usable("guestfwd", rule.server);
    } catch (error) {
      if (!(error instanceof ConfigError)) throw error;
      const nobodys = "an address of the guests' net that nobody has";
      throw new ConfigError("guestfwd", text, error.expectation.replace("a guest's address", nobodys));
    }
    const at = `${server}:${rule.port}`;
    if (taken.has(at)) throw new ConfigError("guestfwd", text, `expected another place than ${at}, which is taken`);
    taken.add(at);
    return { ...rule, server };
  });
}

/** The folder's path, absolute. Throws `ConfigError`. */
export function checkSmbFolder(folder: string): string {
  const absolute = path.resolve(folder);
  if (UNFIT_FOR_SAMBA.test(absolute)) throw new ConfigError("smb", folder, SMB);
  return absolute;
}

/**
 * Reads `[tcp]:server:port-cmd:COMMAND`, `-tcp:HOST:PORT` or `-unix:PATH`: the target of guests that connect to
 * `server:port`. An empty server means `defaultServer`. The command is split into words as QEMU does it, not run by a
 * shell. Throws `ConfigError`.
 */
export function parseGuestfwd(text: string, defaultServer: IpText): GuestForwardRule {
  const match = RULE.exec(text);
  if (match === null) throw new ConfigError("guestfwd", text, GUESTFWD);
  const [, serverText = "", portText = "", kind, rest = ""] = match;
  const server = serverText === "" ? defaultServer : parseIpv4(serverText);
  if (server === null)
    throw new ConfigError("guestfwd", text, `expected an IPv4 address of the guests' net, not ${show(serverText)}`);
  const port = parseNumber(portText, 1, MAX_PORT);
  if (port === null)
    throw new ConfigError("guestfwd", text, `expected a port from 1 to ${MAX_PORT}, not ${show(portText)}`);
  return {
    server,
    port,
    target: kind === "cmd" ? command(text, rest) : kind === "tcp" ? tcp(text, rest) : unix(text, rest),
  };
}

function command(text: string, line: string): GuestForwardRule["target"] {
  const argv = shellWords(line);
  if (line.trim() === "") throw new ConfigError("guestfwd", text, "expected a command behind -cmd:, like cmd:cat");
  if (argv === null || argv[0] === "" || line.includes("\0"))
    throw new ConfigError("guestfwd", text, "expected a command whose quotes are closed");
  return { argv };
}

function tcp(text: string, address: string): GuestForwardRule["target"] {
  const match = HOST.exec(address);
  const host = match?.[1] === undefined ? match?.[2] : parseIpv6(match[1]);
  const port = parseNumber(match?.[3] ?? "", 1, MAX_PORT);
  // A name is looked up for each connection. A text of digits and dots that is no IPv4 address is no name either.
  const valid = host && (host.includes(":") || parseIpv4(host) !== null || /^(?![0-9.]+$)[A-Za-z0-9._-]+$/.test(host));
  if (!valid || port === null)
    throw new ConfigError("guestfwd", text, "expected tcp:HOST:PORT, like tcp:127.0.0.1:8080");
  return { host, port };
}

function unix(text: string, socket: string): GuestForwardRule["target"] {
  const length = Buffer.byteLength(socket);
  if (length === 0 || length > UNIX_PATH_MAX || socket.includes("\0"))
    throw new ConfigError("guestfwd", text, `expected unix:PATH of 1 to ${UNIX_PATH_MAX} bytes`);
  return { path: socket };
}
