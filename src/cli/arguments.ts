/** What was typed, as the options of a network. */

import { readFileSync } from "node:fs";
import { parseApiAddress } from "../api/address.ts";
import { parseAttachAddress, type StreamAddress } from "../attach/address.ts";
import { parseNumber } from "../control/addresses.ts";
import type { CaptureOptions } from "../control/capture.ts";
import { ConfigError } from "../control/errors.ts";
import { parseFrameFilter } from "../control/frame-filter.ts";
import { type ImpairmentOptions, parseImpairment } from "../control/impairment.ts";
import { parseLimits } from "../control/limits.ts";
import { LOG_LEVELS, type LogLevel, type LogOptions } from "../control/log.ts";
import { type Netdev, parseNetdev } from "../control/netdev.ts";
import {
  MAX_BUSY_POLL,
  MAX_DGRAM_MTU,
  MAX_MTU,
  MIN_MTU,
  type NetworkOptions,
  resolveOptions,
} from "../control/options.ts";
import { parseRules, readRuleLines } from "../control/rules.ts";
import { IPV6_MIN_MTU } from "../wire/ipv6.ts";
import { readWorkers } from "./workers/options.ts";

/** What says what a network is like and how much is told, as commander hands it over. */
export interface NetworkArguments {
  readonly net?: string;
  readonly host?: string;
  readonly dns?: string;
  readonly dhcpstart?: string;
  readonly ipv4?: string;
  readonly ipv6?: string;
  readonly ipv6Net?: string;
  readonly ipv6Host?: string;
  readonly ipv6Dns?: string;
  readonly hostname?: string;
  readonly domainname?: string;
  readonly dnssearch?: readonly string[];
  readonly mode?: string;
  readonly uplink?: readonly string[];
  readonly lease?: readonly string[];
  readonly dhcp?: string;
  readonly isolate?: boolean;
  readonly restrict?: string | true;
  readonly bootfile?: string;
  readonly tftp?: string;
  readonly tftpServerName?: string;
  readonly smb?: string | undefined;
  readonly smbserver?: string | undefined;
  readonly hostfwd?: readonly string[] | undefined;
  readonly guestfwd?: readonly string[] | undefined;
  readonly publish?: readonly string[] | undefined;
  readonly mtu?: string;
  readonly dnsUpstream?: readonly string[];
  readonly hostLoopback?: string;
  readonly dnsRebind?: string;
  readonly outboundAddr?: string;
  readonly busyPoll?: string;
  readonly max?: readonly string[];
  /** One list, by whichever of the four it was begun: `allow …`, `deny …`, `limit …`, `default …` in their order. */
  readonly allow?: readonly string[];
  readonly deny?: readonly string[];
  readonly limit?: readonly string[];
  readonly default?: readonly string[];
  readonly rules?: string;
  readonly proxy?: readonly string[];
  readonly api?: string;
  readonly socks?: string;
  readonly capture?: string;
  readonly captureFilter?: string;
  readonly captureSnaplen?: string;
  readonly captureRotateSize?: string;
  readonly captureRotateTime?: string;
  readonly captureKeep?: string;
  readonly impair?: readonly string[];
  readonly impairSeed?: string;
  readonly logLevel?: string;
  readonly logJson?: boolean;
}

/** And where its guests are. */
export interface ServeArguments extends NetworkArguments {
  readonly listen?: readonly string[];
  readonly connect?: readonly string[];
  readonly fd?: string;
  readonly netdev?: string;
  readonly user?: string;
  readonly workers?: string;
}

/** A file of rules, and the typed ones before them. */
export interface RulesFile {
  readonly file: string;
  readonly typed: readonly string[];
}

/** What is done with a network beside serving its guests. */
export interface SessionOptions {
  /** Whose rules are read again when asked; null for no file. */
  readonly rules: RulesFile | null;
  /** Null for none. */
  readonly api: StreamAddress | null;
  readonly socks: StreamAddress | null;
  /** Null for no capture. */
  readonly capture: { readonly file: string; readonly options: CaptureOptions } | null;
  readonly impair: readonly ImpairmentOptions[];
  readonly impairSeed: number | undefined;
  readonly log: LogOptions;
}

export interface ServeOptions {
  readonly network: NetworkOptions;
  /** Name of QEMU's netdev. */
  readonly id: string;
  readonly listen: readonly string[];
  readonly connect: readonly string[];
  readonly fd: number | null;
  /** Who to become, as typed. */
  readonly user: string | null;
  /** How many networks share the guests; null for one, in this process. */
  readonly workers: number | null;
  readonly session: SessionOptions;
}

/** By which name each option of a network is given: as an option of ours, and within --netdev. */
const NAMES: Readonly<Record<string, { readonly flag: string; readonly netdev?: string }>> = {
  subnet: { flag: "--net", netdev: "net" },
  host: { flag: "--host", netdev: "host" },
  dns: { flag: "--dns", netdev: "dns" },
  dhcpStart: { flag: "--dhcpstart", netdev: "dhcpstart" },
  ipv4: { flag: "--ipv4", netdev: "ipv4" },
  ipv6: { flag: "--ipv6", netdev: "ipv6" },
  subnet6: { flag: "--ipv6-net", netdev: "ipv6-net" },
  host6: { flag: "--ipv6-host", netdev: "ipv6-host" },
  dns6: { flag: "--ipv6-dns", netdev: "ipv6-dns" },
  mode: { flag: "--mode" },
  uplink: { flag: "--uplink" },
  staticLeases: { flag: "--lease" },
  mtu: { flag: "--mtu" },
  hostname: { flag: "--hostname", netdev: "hostname" },
  domainname: { flag: "--domainname", netdev: "domainname" },
  dnsSearch: { flag: "--dnssearch", netdev: "dnssearch" },
  bootfile: { flag: "--bootfile", netdev: "bootfile" },
  tftp: { flag: "--tftp", netdev: "tftp" },
  tftpServerName: { flag: "--tftp-server-name", netdev: "tftp-server-name" },
  smb: { flag: "--smb", netdev: "smb" },
  smbServer: { flag: "--smbserver", netdev: "smbserver" },
  hostfwd: { flag: "--hostfwd", netdev: "hostfwd" },
  guestfwd: { flag: "--guestfwd", netdev: "guestfwd" },
  publish: { flag: "--publish" },
  dnsUpstream: { flag: "--dns-upstream" },
  outboundAddr: { flag: "--outbound-addr" },
  proxy: { flag: "--proxy" },
  dnsRebind: { flag: "--dns-rebind" },
};

/** What the guests' cables run over: it sets the MTU when nobody else does. */
export type CableKind = "stream" | "udp" | "hub";
/** What a UDP cable, or QEMU's hub behind a stream, can do without asking: the size every Ethernet has. */
const CAUTIOUS_MTU = 1500;

/** Checks everything that was typed. Throws `ConfigError`, whose field is the option as the user typed it. */
export function readServeArguments(args: ServeArguments): ServeOptions {
  const netdev = args.netdev === undefined ? { id: null, options: {} } : readNetdev(args.netdev);
  const listen = checkAddresses("--listen", args.listen ?? []);
  const connect = checkAddresses("--connect", args.connect ?? []);
  const overUdp = [...listen, ...connect].some((address) => address.startsWith("udp:"));
  const network = readNetworkArguments(args, { option: "--netdev", netdev }, overUdp ? "udp" : "stream");
  const fd = number("--fd", args.fd, 0, 65_535, "expected the number of an inherited, connected socket");
  return {
    network,
    id: netdev.id ?? "n0",
    listen,
    connect,
    fd: fd ?? null,
    user: args.user ?? null,
    workers: readWorkers(args, netdev.options),
    session: readSessionArguments(args, "info"),
  };
}

/**
 * A network's options: those of `from`, which QEMU's user typed behind `from.option`, and our own, which win where there
 * can be but one. Throws `ConfigError`, whose field is the option as the user typed it.
 */
export function readNetworkArguments(
  args: NetworkArguments,
  from: { readonly option: string; readonly netdev: Netdev },
  cable: CableKind,
): NetworkOptions {
  const inherited = from.netdev.options;
  const minMtu = args.uplink === undefined ? MIN_MTU : IPV6_MIN_MTU;
  const maxMtu = cable === "udp" ? MAX_DGRAM_MTU : MAX_MTU;
  const flags: { -readonly [K in keyof NetworkOptions]: NetworkOptions[K] } = defined({
    subnet: args.net,
    host: args.host,
    dns: args.dns,
    dhcpStart: args.dhcpstart,
    ipv4: onOff("--ipv4", args.ipv4),
    ipv6: onOff("--ipv6", args.ipv6),
    subnet6: args.ipv6Net,
    host6: args.ipv6Host,
    dns6: args.ipv6Dns,
    hostname: args.hostname,
    domainname: args.domainname,
    bootfile: args.bootfile,
    tftp: args.tftp,
    tftpServerName: args.tftpServerName,
    smb: args.smb,
    smbServer: args.smbserver,
    publish: args.publish,
    dnsUpstream: args.dnsUpstream,
    outboundAddr: args.outboundAddr,
    mode: args.mode as NetworkOptions["mode"],
    uplink: args.uplink,
    staticLeases: staticLeases(args.lease),
    dhcp: onOff("--dhcp", args.dhcp),
    isolate: args.isolate,
    proxy: args.proxy,
    busyPoll: number(
      "--busy-poll",
      args.busyPoll,
      0,
      MAX_BUSY_POLL,
      `expected a whole number of microseconds up to ${MAX_BUSY_POLL}`,
    ),
    limits: args.max === undefined ? undefined : parseLimits("--max", args.max),
    restrict: args.restrict === true ? true : onOff("--restrict", args.restrict),
    hostLoopback: onOff("--host-loopback", args.hostLoopback),
    dnsRebind: args.dnsRebind as NetworkOptions["dnsRebind"],
    mtu: number("--mtu", args.mtu, minMtu, maxMtu, `expected a whole number from ${minMtu} to ${maxMtu}`),
  });
  // What an uplink takes fits there, too.
  if (cable !== "stream" && args.uplink === undefined) flags.mtu ??= CAUTIOUS_MTU;
  const typed = typedRules(args);
  if (args.rules !== undefined) flags.rules = readRules({ file: args.rules, typed });
  else if (typed.length > 0) flags.rules = checkRules(typed, typed.map(ruleFlag));
  const network: NetworkOptions = {
    ...inherited,
    ...flags,
    hostfwd: [...(inherited.hostfwd ?? []), ...(args.hostfwd ?? [])],
    guestfwd: [...(inherited.guestfwd ?? []), ...(args.guestfwd ?? [])],
    dnsSearch: [...(inherited.dnsSearch ?? []), ...(args.dnssearch ?? [])],
  };
  try {
    resolveOptions(network);
  } catch (error) {
    throw error instanceof ConfigError ? asTyped(error, from, flags) : error;
  }
  return network;
}

/** What is done beside serving the guests. Throws `ConfigError`. */
export function readSessionArguments(args: NetworkArguments, level: LogLevel): SessionOptions {
  return {
    rules: args.rules === undefined ? null : { file: args.rules, typed: typedRules(args) },
    api: args.api === undefined ? null : parseApiAddress("--api", args.api),
    socks: args.socks === undefined ? null : parseApiAddress("--socks", args.socks),
    capture: capture(args),
    impair: (args.impair ?? []).map((text) => parseImpairment("--impair", text)),
    impairSeed: number("--impair-seed", args.impairSeed, 0, 999_999_999, "expected a whole number up to 999999999"),
    log: { level: logLevel(args.logLevel ?? level), json: args.logJson ?? false },
  };
}

function typedRules({ allow, deny, limit, default: rest }: NetworkArguments): readonly string[] {
  return allow ?? deny ?? limit ?? rest ?? [];
}

/** All rules of a network with a file of them: the typed ones come first. Throws `ConfigError`. */
export function readRules({ file, typed }: RulesFile): readonly string[] {
  let text: string;
  try {
    text = readFileSync(file, "utf8");
  } catch (error) {
    throw new ConfigError(
      "--rules",
      file,
      `expected a file that can be read (${(error as NodeJS.ErrnoException).code})`,
    );
  }
  const read = readRuleLines(file, text);
  return checkRules([...typed, ...read.lines], [...typed.map(ruleFlag), ...read.fields]);
}

function checkRules(lines: readonly string[], fields: readonly string[]): readonly string[] {
  parseRules(lines, fields);
  return lines;
}

/** "allow tcp any" was typed behind --allow. */
function ruleFlag(line: string): string {
  return `--${line.slice(0, line.indexOf(" "))}`;
}

function capture(args: NetworkArguments): SessionOptions["capture"] {
  const count = (flag: string, text: string | undefined, max: number): number | undefined =>
    number(flag, text, 1, max, `expected a whole number from 1 to ${max}`);
  const megabytes = count("--capture-rotate-size", args.captureRotateSize, 1_000_000);
  const options = {
    filter: args.captureFilter,
    snapLength: count("--capture-snaplen", args.captureSnaplen, 65_553),
    rotateBytes: megabytes === undefined ? undefined : megabytes * 1_000_000,
    rotateSeconds: count("--capture-rotate-time", args.captureRotateTime, 31_536_000),
    keepFiles: count("--capture-keep", args.captureKeep, 1_000_000),
  };
  if (args.captureFilter !== undefined) parseFrameFilter("--capture-filter", args.captureFilter);
  if (args.capture === "") throw new ConfigError("--capture", "", "expected the file to write to");
  return args.capture === undefined ? null : { file: args.capture, options };
}

function readNetdev(text: string): Netdev {
  try {
    return parseNetdev(text);
  } catch (error) {
    throw error instanceof ConfigError ? error.named(`--${error.field}`) : error;
  }
}

/** The same error under the name that the user gave the option by. */
function asTyped(
  error: ConfigError,
  { option, netdev }: { readonly option: string; readonly netdev: Netdev },
  flags: NetworkOptions,
): ConfigError {
  const [field, cap] = error.field.split(".") as [keyof NetworkOptions, string | undefined];
  if (field === "limits") return error.named(`--max ${cap}`);
  const name = NAMES[field];
  if (name === undefined) return error;
  const fromNetdev = netdev.options[field];
  const typedThere = Array.isArray(fromNetdev)
    ? fromNetdev.includes(error.value)
    : fromNetdev !== undefined && flags[field] === undefined;
  return error.named(typedThere ? `${option} ${name.netdev}` : name.flag);
}

function checkAddresses(flag: string, addresses: readonly string[]): readonly string[] {
  for (const text of addresses) {
    try {
      parseAttachAddress(text);
    } catch (error) {
      throw new ConfigError(flag, text, (error as Error).message);
    }
  }
  return addresses;
}

function staticLeases(leases: readonly string[] | undefined): NetworkOptions["staticLeases"] {
  if (leases === undefined) return undefined;
  const byMac: Record<string, string> = {};
  for (const text of leases) {
    const [mac = "", ip = "", ...more] = text.split("=");
    if (mac === "" || ip === "" || more.length > 0)
      throw new ConfigError("--lease", text, "expected MAC=IP, like 52:54:00:12:34:56=10.0.2.20");
    if (Object.hasOwn(byMac, mac)) throw new ConfigError("--lease", text, "expected each MAC address once");
    byMac[mac] = ip;
  }
  return byMac;
}

function onOff(flag: string, text: string | undefined): boolean | undefined {
  if (text !== undefined && text !== "on" && text !== "off") throw new ConfigError(flag, text, "expected on or off");
  return text === undefined ? undefined : text === "on";
}

function number(
  flag: string,
  text: string | undefined,
  min: number,
  max: number,
  expectation: string,
): number | undefined {
  if (text === undefined) return undefined;
  const value = parseNumber(text, min, max);
  if (value === null) throw new ConfigError(flag, text, expectation);
  return value;
}

function logLevel(text: string): LogLevel {
  const level = LOG_LEVELS.find((each) => each === text);
  if (level === undefined) throw new ConfigError("--log-level", text, `expected ${LOG_LEVELS.join(", ")}`);
  return level;
}

/** Without the fields that were not given, so that a spread leaves them alone. */
function defined<T extends object>(object: T): { [K in keyof T]?: Exclude<T[K], undefined> } {
  return Object.fromEntries(Object.entries(object).filter(([, value]) => value !== undefined)) as never;
}
