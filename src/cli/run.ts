/**
 * `tslirp run`: a command in namespaces of its own, whose only way out is a network of ours.
 *
 * What takes long goes side by side: the namespaces begin, and while their process starts the way to TAPs is loaded here. They
 * get their TAP, and while that process sets all up the network is opened here. Then the command starts.
 */
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { isatty } from "node:tty";
import { ConfigError } from "../control/errors.ts";
import { createLog } from "../control/log.ts";
import { resolveOptions } from "../control/options.ts";
import { standardError } from "../control/standard-error.ts";
import type { StackConfig } from "../core/config.ts";
import { sharedRegistry } from "../host/port-registry.ts";
import { needTaps } from "../host/tap-device.ts";
import { ipv6FromText, ipv6ToString } from "../wire/ipv6.ts";
import type { NetworkArguments, SessionOptions } from "./argument-types.ts";
import { readNetworkArguments, readSessionArguments } from "./arguments.ts";
import { whenLauncherEnds } from "./launcher.ts";
import { needLinux } from "./need-linux.ts";
import { environmentFor } from "./other-bytes.ts";
import { CommandNamespace, TAP_NAME } from "./run/namespace.ts";
import { OpenPorts } from "./run/open-ports.ts";
import { type Session, startSession } from "./session.ts";

const NOT_EXECUTABLE = 126;
const NOT_FOUND = 127;
const ENDING = ["SIGTERM", "SIGHUP"] as const;
/** The terminal's own, which reach the command by themselves where there is one. */
const TYPED = ["SIGINT", "SIGQUIT"] as const;
const OTHERS = ["SIGUSR1", "SIGUSR2"] as const;
/** The end of DHCPv6's first address, whose IPv4 counterpart the configuration has. */
const FIRST = 0x15;

export interface RunArguments extends NetworkArguments {
  /** commander's booleans come through `NetworkArguments`, too. */
  readonly keep?: boolean;
}

/**
 * Runs `command` in its own namespaces, `given` being the network's options. Resolves with its exit status (127 when there is
 * no such program, 126 when it cannot be executed). Rejects with `ConfigError`, or with an `Error` of one line; nothing is
 * left in any case.
 */
export async function run(given: RunArguments, command: readonly string[]): Promise<number> {
  needLinux("run");
  const [program] = command;
  if (program === undefined) throw new ConfigError("run", undefined, "expected -- and a command, like -- npm install");
  const refused = lookFor(program);
  if (refused !== 0) {
    standardError.write(`tslirp: run ${program}: ${refused === NOT_FOUND ? "not found" : "not executable"}\n`);
    return refused;
  }
  if (!fs.existsSync("/proc/self/ns/user")) throw new Error("run needs /proc with namespaces, which is not here");
  for (const tool of ["unshare", "setpriv", "ip", "mount"])
    if (lookFor(tool) !== 0) throw new Error(`run needs ${tool} (util-linux, iproute2), which is not on the PATH`);
  const automatic = given.publish?.includes("auto") ?? false;
  const publish = given.publish?.filter((rule) => rule !== "auto");
  const options = readNetworkArguments(
    { ...given, publish },
    { option: "run", netdev: { id: null, options: {} } },
    "stream",
  );
  const settings = readSessionArguments(given, "warn");
  const log = createLog(settings.log);
  using signals = new Signals(settings.hangup);
  let namespace: CommandNamespace | null = null;
  let session: Session | null = null;
  let ports: OpenPorts | null = null;
  try {
    const within = new CommandNamespace(
      {
        ...setup(resolveOptions(options).stack),
        emptied: sharedRegistry().folders(),
        keep: given.keep === true,
        env: environmentFor("run"),
      },
      command,
    );
    namespace = within;
    signals.onInsist = () => within.signal("SIGKILL");
    const taps = needTaps();
    const { fd } = await within.begin((pid, tun) => taps.take(pid, tun, TAP_NAME));
    const { network, begin } = (session = await startSession(options, settings, log));
    await begin();
    if (signals.asked !== null) return 128 + os.constants.signals[signals.asked];
    network.attachTap(fd);
    await within.start(ownSockets(settings));
    signals.passTo((signal) => within.signal(signal));
    if (automatic) ports = new OpenPorts(network, within.pid, log);
    return await within.ended;
  } finally {
    ports?.[Symbol.dispose]();
    await namespace?.kill();
    await session?.close();
  }
}

/**
 * Passes on what is for the command. Before there is one, what is to end it waits for it, and ends us if it is not to begin
 * any more. A second SIGTERM ends everything within at once.
 */
class Signals implements Disposable {
  /** What is to end us. */
  asked: NodeJS.Signals | null = null;
  /** Called when the second one comes before there is a command. */
  onInsist: () => void = () => {};
  #pass: ((signal: NodeJS.Signals) => void) | null = null;
  readonly #handlers: readonly [NodeJS.Signals, () => void][];
  readonly #forget: () => void;

  constructor(rereads: boolean) {
    // Node's streams would take longer to load than the answer is worth.
    const terminal = [0, 1, 2].some(isatty);
    const end = (signal: NodeJS.Signals) => (): void => this.#end(signal);
    const typed = (signal: NodeJS.Signals) => (): void => {
      if (this.#pass === null) this.#end(signal);
      else if (!terminal) this.#pass(signal);
    };
    const on = (signal: NodeJS.Signals) => (): void => this.#pass?.(signal);
    this.#handlers = [
      ...ENDING.filter((signal) => signal !== "SIGHUP" || !rereads).map((signal) => [signal, end(signal)] as const),
      ...TYPED.map((signal) => [signal, typed(signal)] as const),
      ...OTHERS.map((signal) => [signal, on(signal)] as const),
    ].map(([signal, handler]) => [signal, handler]);
    for (const [signal, handler] of this.#handlers) process.on(signal, handler);
    this.#forget = whenLauncherEnds(end("SIGTERM"));
  }

  /** There is a command, which is told what has come for it. */
  passTo(pass: (signal: NodeJS.Signals) => void): void {
    this.#pass = pass;
    if (this.asked !== null) pass(this.asked);
  }

  [Symbol.dispose](): void {
    this.#forget();
    for (const [signal, handler] of this.#handlers) process.off(signal, handler);
  }

  #end(signal: NodeJS.Signals): void {
    // Many a daemon takes SIGHUP for "read your settings again".
    if (this.#pass !== null && signal === "SIGHUP") return this.#pass(signal);
    const again = this.#pass === null ? this.asked !== null : this.asked === "SIGTERM";
    this.asked = signal;
    if (this.#pass !== null) this.#pass(again ? "SIGKILL" : signal);
    else if (again) this.onInsist();
  }
}

/** 0 when it is there and may be executed, else the exit status that says why not. */
function lookFor(program: string): number {
  const places = program.includes("/")
    ? [program]
    : (process.env.PATH ?? "/usr/bin:/bin").split(":").map((folder) => path.join(folder || ".", program));
  let found = NOT_FOUND;
  for (const place of program.includes("/") ? places : [...places, `/usr/sbin/${program}`, `/sbin/${program}`]) {
    try {
      if (!fs.statSync(place).isFile()) {
        if (program.includes("/")) found = NOT_EXECUTABLE;
        continue;
      }
    } catch {
      // Not there, or in a folder that this user may not look into.
      continue;
    }
    try {
      fs.accessSync(place, fs.constants.X_OK);
      return 0;
    } catch {
      // It may stand elsewhere, too.
      found = NOT_EXECUTABLE;
    }
  }
  return found;
}

/** For `ip -batch`: all before the command begins, so that it need not wait for DHCP or an advertisement. */
function ipCommands(config: StackConfig): string {
  const lines = ["link set lo up", `link set dev ${TAP_NAME} mtu ${config.mtu} up`];
  const out = !config.restrict;
  if (config.ipv4) {
    lines.push(`addr add ${config.dhcpStart}/${config.prefix} dev ${TAP_NAME}`);
    if (out) lines.push(`route add default via ${config.host}`);
  }
  if (config.ipv6) {
    const address = ipv6FromText(config.net6);
    address[15] = FIRST;
    lines.push(`addr add ${ipv6ToString(address)}/${config.prefix6} dev ${TAP_NAME} nodad`);
    if (out) lines.push(`route add default via ${config.host6}`);
  }
  return `${lines.join("\n")}\n`;
}

/** What the command finds in place of the host's. */
function setup(config: StackConfig): { ip: string; resolver: string; hosts: string } {
  return { ip: ipCommands(config), resolver: resolvConf(config), hosts: hosts() };
}

/**
 * Our sockets that have a path. The command has our user, so their mode keeps it from none of them, and by the API it could
 * change its own rules.
 */
function ownSockets({ api, socks }: SessionOptions): string[] {
  return [api, socks].flatMap((address) => (address?.kind === "unix" ? [fs.realpathSync(address.path)] : []));
}

function resolvConf(config: StackConfig): string {
  const search = [config.domainname, ...config.dnssearch].filter((name) => name !== null);
  const servers = [config.ipv4 ? config.dns : null, config.ipv6 ? config.dns6 : null].filter((ip) => ip !== null);
  return [
    ...(search.length > 0 ? [`search ${search.join(" ")}`] : []),
    ...servers.map((server) => `nameserver ${server}`),
    "",
  ].join("\n");
}

/** Only what every host has: the host's own entries may lead to its loopback, or past the rules about names. */
function hosts(): string {
  const name = os.hostname();
  return `127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n127.0.1.1 ${name}\n`;
}
