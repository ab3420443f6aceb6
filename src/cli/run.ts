/**
 * `tslirp run`: runs a command in namespaces of its own, whose only way out is a network of ours.
 *
 * Slow steps run side by side. The process of the new namespaces starts before this file is loaded (`run/early`), and
 * sets up what needs no options meanwhile. Once the namespaces have their TAP, that process does the rest while the
 * network is opened here. Then the command starts.
 */
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { setTimeout } from "node:timers/promises";
import { isatty } from "node:tty";
import { ConfigError } from "../control/errors.ts";
import { createLog } from "../control/log.ts";
import { resolveOptions } from "../control/options.ts";
import { standardError } from "../control/standard-error.ts";
import type { StackConfig } from "../core/config.ts";
import { needTaps } from "../host/tap-device.ts";
import { ipv6FromText, ipv6ToString } from "../wire/ipv6.ts";
import type { NetworkArguments, SessionOptions } from "./argument-types.ts";
import { readNetworkArguments, readSessionArguments } from "./arguments.ts";
import { whenLauncherEnds } from "./launcher.ts";
import { needLinux } from "./need-linux.ts";
import { environmentFor } from "./other-bytes.ts";
import { registryFolders, takeEarly } from "./run/early.ts";
import { CommandNamespace, TAP_NAME } from "./run/namespace.ts";
import { OpenPorts } from "./run/open-ports.ts";
import { pathsTo } from "./run/paths-to.ts";
import { type Session, startSession } from "./session.ts";

/** Milliseconds after which a signal that came before something failed has been heard. */
const SIGNAL_MILLIS = 50;
const NOT_EXECUTABLE = 126;
const NOT_FOUND = 127;
const ENDING = ["SIGTERM", "SIGHUP"] as const;
/** Signals that the terminal sends. If there is a terminal, they reach the command without us. */
const TYPED = ["SIGINT", "SIGQUIT"] as const;
const OTHERS = ["SIGUSR1", "SIGUSR2"] as const;
/** The last byte of DHCPv6's first address. The IPv4 counterpart is in the configuration. */
const FIRST = 0x15;

export interface RunArguments extends NetworkArguments {
  /** Among `NetworkArguments` because commander's booleans come through it, too. */
  readonly keep?: boolean;
}

/**
 * Runs `command` in its own namespaces; `given` are the options of the network. Resolves with the command's exit
 * status, 127 if there is no such program, 126 if it cannot be executed. Rejects with `ConfigError`, or with an
 * `Error` of one line. In every case no process, socket or file is left.
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
  const wanted = readSessionArguments(given, "warn");
  const log = createLog(wanted.log);
  using signals = new Signals(wanted.hangup);
  let namespace: CommandNamespace | null = null;
  let session: Session | null = null;
  let ports: OpenPorts | null = null;
  try {
    const within = takeEarly(command) ?? new CommandNamespace(command, registryFolders(), environmentFor("run"));
    namespace = within;
    signals.onInsist = () => within.signal("SIGKILL");
    const { stack } = resolveOptions(options);
    const settings = { ip: ipCommands(stack), resolver: resolvConf(stack), keep: given.keep === true };
    const taps = needTaps();
    const { fd } = await within.begin(settings, (pid, tun) => taps.take(pid, tun, TAP_NAME));
    const { network, begin } = (session = await startSession(options, wanted, log));
    await begin();
    // Signals that were held since the start are delivered in a turn of their own, and there may have been none yet.
    await new Promise(setImmediate);
    if (signals.asked !== null) return 128 + os.constants.signals[signals.asked];
    network.attachTap(fd);
    await within.start(ownSockets(wanted));
    signals.passTo((signal) => within.signal(signal));
    if (automatic) ports = new OpenPorts(network, within.pid, log);
    return await within.ended;
  } catch (error) {
    // A signal that the terminal sends reaches the processes that set the namespaces up, too. Their end may be heard first.
    await setTimeout(SIGNAL_MILLIS);
    if (signals.asked !== null) return 128 + os.constants.signals[signals.asked];
    throw error;
  } finally {
    ports?.[Symbol.dispose]();
    await namespace?.kill();
    await session?.close();
  }
}

/**
 * Passes signals on to the command. A signal that would end the command, but comes before the command has started,
 * waits for it, or ends us if the command will not start. A second SIGTERM ends everything in the namespaces at once.
 */
class Signals implements Disposable {
  /** The signal that is to end us. */
  asked: NodeJS.Signals | null = null;
  /** Called when a second such signal comes before the command has started. */
  onInsist: () => void = () => {};
  #pass: ((signal: NodeJS.Signals) => void) | null = null;
  readonly #handlers: readonly [NodeJS.Signals, () => void][];
  readonly #forget: () => void;

  constructor(rereads: boolean) {
    // Asks the descriptors directly: Node's streams take longer to load.
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

  /** The command has started. `pass` sends it signals, beginning with one that has waited. */
  passTo(pass: (signal: NodeJS.Signals) => void): void {
    this.#pass = pass;
    if (this.asked !== null) pass(this.asked);
  }

  [Symbol.dispose](): void {
    this.#forget();
    for (const [signal, handler] of this.#handlers) process.off(signal, handler);
  }

  #end(signal: NodeJS.Signals): void {
    // Many daemons take SIGHUP for "read your settings again".
    if (this.#pass !== null && signal === "SIGHUP") return this.#pass(signal);
    const again = this.#pass === null ? this.asked !== null : this.asked === "SIGTERM";
    this.asked = signal;
    if (this.#pass !== null) this.#pass(again ? "SIGKILL" : signal);
    else if (again) this.onInsist();
  }
}

/** 0 if the program exists and may be executed, else the exit status that says why not. */
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
      // There is no such file, or this user may not search the folder.
      continue;
    }
    try {
      fs.accessSync(place, fs.constants.X_OK);
      return 0;
    } catch {
      // Another folder may have a file that can be executed.
      found = NOT_EXECUTABLE;
    }
  }
  return found;
}

/**
 * Commands for `ip -batch`. Everything is set before the command begins, so it need not wait for DHCP or an
 * advertisement.
 */
function ipCommands(config: StackConfig): string[] {
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
  return lines;
}

/**
 * The paths of our sockets, as bytes, which are hidden from the command. It has our user, so their mode does not keep it from
 * them, and by the API it could change its own rules.
 */
function ownSockets({ api, socks }: SessionOptions): string[] {
  return [api, socks].flatMap((address) =>
    address?.kind === "unix" ? pathsTo(fs.realpathSync.native(address.path, "latin1")) : [],
  );
}

/** The lines of the command's /etc/resolv.conf. */
function resolvConf(config: StackConfig): string[] {
  const search = [config.domainname, ...config.dnssearch].filter((name) => name !== null);
  const servers = [config.ipv4 ? config.dns : null, config.ipv6 ? config.dns6 : null].filter((ip) => ip !== null);
  return [
    ...(search.length > 0 ? [`search ${search.join(" ")}`] : []),
    ...servers.map((server) => `nameserver ${server}`),
  ];
}
