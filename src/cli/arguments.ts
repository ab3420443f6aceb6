/** Reads typed arguments as the options of a network. */

import { readFileSync, readlinkSync, realpathSync, type Stats, statSync } from "node:fs";
import path from "node:path";
import { parseApiAddress } from "../api/address.ts";
import { parseAttachAddress } from "../attach/address.ts";
import type { WsAccess } from "../attach/ws-access.ts";
import { ConfigError } from "../control/errors.ts";
import { parseFrameFilter } from "../control/frame-filter.ts";
import { parseImpairment } from "../control/impairment.ts";
import { LEARNED_HEADER } from "../control/learned-rules.ts";
import { parseLimits } from "../control/limits.ts";
import { LOG_LEVELS, type LogLevel } from "../control/log-levels.ts";
import { type Netdev, parseNetdev } from "../control/netdev.ts";
import { COMMAND } from "../control/options/command.ts";
import { MAX_DGRAM_MTU, MAX_MTU, MIN_MTU, SMALLEST_MTU } from "../control/options/mtu.ts";
import type { NetworkOptions } from "../control/options/network-options.ts";
import { attribute, longFlag, NETWORK, NETWORK_FIELDS, type NetworkField } from "../control/options/table.ts";
import { resolveOptions } from "../control/options.ts";
import { parseRules } from "../control/rules.ts";
import { parseTapTarget } from "../control/tap-target.ts";
import { resolveWsAccess } from "../control/ws-access.ts";
import type { NetworkArguments, RulesFile, ServeArguments, ServeOptions, SessionOptions } from "./argument-types.ts";
import { commandNumber, number } from "./command-number.ts";
import { readPerGuest } from "./per-guest-options.ts";
import { type RuleLines, readRulesFile } from "./rules-file.ts";
import { readWorkers } from "./workers/options.ts";

/** The kind of the guests' cables, which sets the MTU if no option does. */
export type CableKind = "stream" | "udp" | "websocket" | "hub";
/**
 * Bytes that a UDP cable, an emulator's card (WebSocket), or QEMU's hub behind a stream carries for certain, as
 * Ethernet does.
 */
const CAUTIOUS_MTU = 1500;

/** Checks everything that was typed. Throws `ConfigError`, whose field is the option as the user typed it. */
export function readServeArguments(args: ServeArguments): ServeOptions {
  const netdev = args.netdev === undefined ? { id: null, options: {} } : readNetdev(args.netdev);
  const listen = checkAddresses("--listen", args.listen ?? []);
  const connect = checkAddresses("--connect", args.connect ?? []);
  const over = (scheme: string): boolean => [...listen, ...connect].some((address) => address.startsWith(scheme));
  const ws = connect.find((address) => address.startsWith("ws:"));
  if (ws !== undefined)
    throw new ConfigError(
      "--connect",
      ws,
      "expected unix:PATH, tcp:HOST:PORT or udp:HOST:PORT; guests come by --listen ws://…",
    );
  const cable = over("udp:") ? "udp" : over("ws:") ? "websocket" : "stream";
  const network = readNetworkArguments(args, { option: "--netdev", netdev }, cable);
  const tap = args.tap ?? [];
  for (const text of tap) parseTapTarget("--tap", text);
  const fd = commandNumber("fd", args.fd, "expected the number of an inherited, connected socket");
  return {
    network,
    id: netdev.id ?? "n0",
    listen,
    connect,
    fd: fd ?? null,
    tap,
    user: args.user ?? null,
    workers: readWorkers(args, netdev.options),
    ws: readWsAccess(args, listen),
    perGuest: readPerGuest(args, netdev.options),
    session: readSessionArguments(args, "info"),
  };
}

/**
 * A network's options: those of `from`, which QEMU's user typed behind `from.option`, and our own. Our own win for
 * options that can have only one value. Throws `ConfigError`, whose field is the option as the user typed it.
 */
export function readNetworkArguments(
  args: NetworkArguments,
  from: { readonly option: string; readonly netdev: Netdev },
  cable: CableKind,
): NetworkOptions {
  const inherited = from.netdev.options;
  const flags = typedOptions(args, cable);
  // An uplink's MTU is smaller, and every cable carries it.
  if (cable !== "stream" && args.uplink === undefined) flags.mtu ??= CAUTIOUS_MTU;
  const typed = typedRules(args);
  if (args.rules !== undefined) flags.rules = readRules({ file: args.rules, typed }).lines;
  else if (typed.length > 0) flags.rules = checkRules(typed, typed.map(ruleFlag));
  const network: NetworkOptions = {
    ...inherited,
    ...flags,
    hostfwd: [...(inherited.hostfwd ?? []), ...(args.hostfwd ?? [])],
    guestfwd: [...(inherited.guestfwd ?? []), ...(args.guestfwd ?? [])],
    dnsSearch: [...(inherited.dnsSearch ?? []), ...(args.dnssearch ?? [])],
  };
  checkLearned(args);
  checkOutputs(args);
  if (args.ask === true && args.api === undefined)
    throw new ConfigError("--ask", true, "expected --api beside it, by which tslirp ctl approve answers");
  try {
    resolveOptions(network);
  } catch (error) {
    throw error instanceof ConfigError ? asTyped(error, from, flags) : error;
  }
  return network;
}

function auditBytes(text: string | undefined): number | undefined {
  const megabytes = commandNumber("auditRotateSize", text);
  return megabytes === undefined ? undefined : megabytes * 1_000_000;
}

/** The file of `--learn` must differ from that of `--rules`, and its folder must exist. Throws `ConfigError`. */
function checkLearned({ learn, rules }: NetworkArguments): void {
  if (typeof learn !== "string") return;
  if (learn === "" || isFolder("--learn", learn)) throw new ConfigError("--learn", learn, "expected a file's name");
  if (!isFolder("--learn", path.dirname(learn)))
    throw new ConfigError("--learn", learn, "expected a file in a folder that exists");
  if (!isLearned(learn))
    throw new ConfigError("--learn", learn, "expected a new file, or one that --learn has made: it is written anew");
  if (rules !== undefined && placeOf(rules) === placeOf(learn))
    throw new ConfigError("--learn", learn, "expected another file than that of --rules, which is read while it runs");
}

/** No two options may write the same file, by whatever name or link. Throws `ConfigError`. */
function checkOutputs(args: NetworkArguments): void {
  const seen = new Map<string, string>();
  for (const name of ["learn", "audit", "record", "capture"] as const) {
    const file = args[name];
    if (typeof file !== "string" || file === "") continue;
    const place = placeOf(file);
    const other = seen.get(place);
    if (other !== undefined) throw new ConfigError(`--${name}`, file, `expected another file than that of ${other}`);
    seen.set(place, `--${name}`);
  }
}

/** The options of a network that have flags of their own. */
function typedOptions(
  args: NetworkArguments,
  cable: CableKind,
): { -readonly [K in keyof NetworkOptions]: NetworkOptions[K] } {
  const typed: Partial<Record<NetworkField, unknown>> = {};
  for (const field of NETWORK_FIELDS) {
    const { flag, reading } = NETWORK[field];
    const value = flag === null ? undefined : args[attribute(flag)];
    if (value === undefined) continue;
    const long = longFlag(flag!);
    if (reading.as === "on-off" || reading.as === "flag") typed[field] = value === true || onOff(long, value as string);
    else if (field === "mtu") typed.mtu = mtu(long, value as string, args.uplink !== undefined, cable);
    else if (reading.as === "number") typed[field] = number(long, value as string, reading);
    else typed[field] = value;
  }
  if (args.recordPayload !== undefined) {
    const payload = onOff("--record-payload", args.recordPayload);
    if (typeof typed.record !== "string")
      throw new ConfigError("--record-payload", args.recordPayload, "expected --record FILE beside it");
    typed.record = { file: typed.record, payload };
  }
  if (typeof typed.audit === "string")
    typed.audit = {
      file: typed.audit,
      allowed: args.auditAllowed === true,
      rotateBytes: auditBytes(args.auditRotateSize as string | undefined),
    };
  else if (args.auditAllowed === true || args.auditRotateSize !== undefined)
    throw new ConfigError(
      args.auditAllowed === true ? "--audit-allowed" : "--audit-rotate-size",
      undefined,
      "expected --audit FILE beside it",
    );
  if (args.lease !== undefined) typed.staticLeases = staticLeases(args.lease);
  if (args.max !== undefined) typed.limits = parseLimits("--max", args.max);
  return typed as NetworkOptions;
}

/** An uplink's tunnel takes a part of each packet; over UDP a frame is one datagram. */
function mtu(flag: string, text: string, uplink: boolean, cable: CableKind): number | undefined {
  return number(flag, text, {
    min: uplink ? SMALLEST_MTU : MIN_MTU,
    max: cable === "udp" ? MAX_DGRAM_MTU : MAX_MTU,
  });
}

/** Reads the options for the work beside serving guests. Throws `ConfigError`. */
export function readSessionArguments(args: NetworkArguments, level: LogLevel): SessionOptions {
  return {
    rules: args.rules === undefined ? null : { file: args.rules, typed: typedRules(args) },
    hangup: args.rules !== undefined || args.audit !== undefined,
    api: args.api === undefined ? null : parseApiAddress("--api", args.api),
    socks: args.socks === undefined ? null : parseApiAddress("--socks", args.socks),
    capture: capture(args),
    impair: (args.impair ?? []).map((text) => parseImpairment("--impair", text)),
    impairSeed: commandNumber("impairSeed", args.impairSeed),
    log: { level: logLevel(args.logLevel ?? level), json: args.logJson ?? false },
  };
}

function typedRules({ allow, deny, limit, default: rest }: NetworkArguments): readonly string[] {
  return allow ?? deny ?? limit ?? rest ?? [];
}

/**
 * All rules of a network: the typed ones, then those of the file. `before` is given when the file is read again: the
 * last time's `counts`. Throws `ConfigError`.
 */
export function readRules(
  { file, typed }: RulesFile,
  before: RuleLines["counts"] | null = null,
): Pick<RuleLines, "lines" | "counts"> {
  const read = readRulesFile("--rules", file, before);
  if (typed.length + read.lines.length === 0)
    throw new ConfigError("--rules", file, "expected a rule in it at least: without any all is allowed");
  const lines = checkRules([...typed, ...read.lines], [...typed.map(ruleFlag), ...read.fields]);
  return { lines, counts: read.counts };
}

function checkRules(lines: readonly string[], fields: readonly string[]): readonly string[] {
  parseRules(lines, fields);
  return lines;
}

/** The flag behind which a rule was typed: `--allow` for "allow tcp any". */
function ruleFlag(line: string): string {
  return `--${line.slice(0, line.indexOf(" "))}`;
}

function capture(args: NetworkArguments): SessionOptions["capture"] {
  const megabytes = commandNumber("captureRotateSize", args.captureRotateSize);
  const options = {
    filter: args.captureFilter,
    snapLength: commandNumber("captureSnaplen", args.captureSnaplen),
    rotateBytes: megabytes === undefined ? undefined : megabytes * 1_000_000,
    rotateSeconds: commandNumber("captureRotateTime", args.captureRotateTime),
    keepFiles: commandNumber("captureKeep", args.captureKeep),
  };
  if (args.captureFilter !== undefined) parseFrameFilter("--capture-filter", args.captureFilter);
  if (args.capture !== undefined) {
    checkCaptureFile(args.capture);
    return { file: args.capture, options };
  }
  for (const name of [
    "captureFilter",
    "captureSnaplen",
    "captureRotateSize",
    "captureRotateTime",
    "captureKeep",
  ] as const)
    if (args[name] !== undefined)
      throw new ConfigError(longFlag(COMMAND[name].flag as string), args[name], "expected --capture FILE beside it");
  return null;
}

function checkCaptureFile(file: string): void {
  if (file === "") throw new ConfigError("--capture", "", "expected the file to write to");
  if (["-", "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"].includes(file))
    throw new ConfigError(
      "--capture",
      file,
      "expected a file: what is printed would stand in it (ctl capture start - is for pipes)",
    );
  if (isFolder("--capture", file)) throw new ConfigError("--capture", file, "expected a file, not a folder");
  if (!isFolder("--capture", path.dirname(file)))
    throw new ConfigError("--capture", file, "expected a file in a folder that exists");
}

/** Whether `--learn` may write the file without a loss: it does not exist, is empty, or was written by `--learn`. */
function isLearned(file: string): boolean {
  const stat = statOf("--learn", file);
  // Other kinds of files are refused when the file is opened.
  if (stat === undefined || !stat.isFile() || stat.size === 0) return true;
  return readFileSync(file, "utf8").startsWith(LEARNED_HEADER);
}

/** The file at a path, if there is one. Throws `ConfigError` about a path at which there can be none. */
function statOf(flag: string, name: string): Stats | undefined {
  try {
    return statSync(name, { throwIfNoEntry: false });
  } catch (error) {
    const { code = "" } = error as NodeJS.ErrnoException;
    const longest = code === "ENAMETOOLONG" ? ": 255 bytes at most" : ` (${code})`;
    throw new ConfigError(flag, name, `expected a name that the system takes for a file${longest}`);
  }
}

function isFolder(flag: string, name: string): boolean {
  return statOf(flag, name)?.isDirectory() ?? false;
}

const MOST_LINKS = 40;

/** The path of a file by which all its names compare equal. The file need not exist. */
function placeOf(file: string, links = 0): string {
  try {
    const { dev, ino } = statSync(file, { bigint: true });
    return `${dev}:${ino}`;
  } catch {
    // The file does not exist. Its folder's real path counts.
  }
  try {
    const to = readlinkSync(file);
    if (links < MOST_LINKS) return placeOf(path.resolve(path.dirname(file), to), links + 1);
  } catch {
    // The path is not a link.
  }
  try {
    return path.join(realpathSync(path.dirname(file)), path.basename(file));
  } catch {
    return path.resolve(file);
  }
}

function readNetdev(text: string): Netdev {
  try {
    return parseNetdev(text);
  } catch (error) {
    throw error instanceof ConfigError ? error.named(`--${error.field}`) : error;
  }
}

/** The same error, with the name of the option as the user gave it. */
function asTyped(
  error: ConfigError,
  { option: typed, netdev }: { readonly option: string; readonly netdev: Netdev },
  flags: NetworkOptions,
): ConfigError {
  const [field, cap] = error.field.split(".") as [NetworkField, string | undefined];
  if (field === "limits") return error.named(`--max ${cap}`);
  const option = NETWORK[field];
  if (option === undefined || option.flag === null) return error;
  const fromNetdev = netdev.options[field];
  const typedThere = Array.isArray(fromNetdev)
    ? fromNetdev.includes(error.value)
    : fromNetdev !== undefined && flags[field] === undefined;
  return error.named(typedThere ? `${typed} ${option.netdev}` : longFlag(option.flag));
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

function readWsAccess({ wsOrigin, wsToken }: ServeArguments, listen: readonly string[]): WsAccess {
  const access = resolveWsAccess(
    { origins: wsOrigin, token: wsToken },
    { origins: "--ws-origin", token: "--ws-token" },
  );
  if (listen.some((address) => address.startsWith("ws:"))) return access;
  const expected = "expected --listen ws://HOST:PORT beside it";
  if (wsOrigin !== undefined) throw new ConfigError("--ws-origin", wsOrigin[0], expected);
  if (wsToken !== undefined) throw new ConfigError("--ws-token", wsToken, expected);
  return access;
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

function onOff(flag: string, text: string): boolean {
  if (text !== "on" && text !== "off") throw new ConfigError(flag, text, "expected on or off");
  return text === "on";
}

function logLevel(text: string): LogLevel {
  const level = LOG_LEVELS.find((each) => each === text);
  if (level === undefined) throw new ConfigError("--log-level", text, `expected ${LOG_LEVELS.join(", ")}`);
  return level;
}
