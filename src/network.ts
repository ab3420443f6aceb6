/**
 * One guest network on this host's sockets: the stack, its surroundings on Node and the cables, put together.
 *
 * Order of birth: the options are checked, then the forwards listen, and only then can a guest attach.
 */
import { EventEmitter } from "node:events";
import type net from "node:net";
import type { Duplex, Writable } from "node:stream";
import type { AttachAddress } from "./attach/address.ts";
import type { CableEnv } from "./attach/attachment.ts";
import type { Arrival } from "./attach/door.ts";
import type { MemoryCable } from "./attach/memory.ts";
import { SlabPool } from "./attach/slab.ts";
import type { NullReceiver, Switch } from "./attach/switch.ts";
import { CableTap, type FrameWatcher } from "./attach/tap.ts";
import { TapCable } from "./attach/tap-cable.ts";
import type { FrameSocket } from "./attach/websocket.ts";
import { parseEndpoint } from "./control/addresses.ts";
import type { Capture, CaptureOptions } from "./control/capture.ts";
import { parseDnsHost, parseDnsZone } from "./control/dns-rules.ts";
import { ConfigError } from "./control/errors.ts";
import { parseFlow } from "./control/explain.ts";
import { resolveForwards } from "./control/forward-guests.ts";
import type { ImpairmentOptions } from "./control/impairment.ts";
import type { Flow } from "./control/on-flow.ts";
import type { ResolvedRecord } from "./control/options/record-options.ts";
import { type NetworkOptions, type ResolvedOptions, resolveOptions } from "./control/options.ts";
import { qemuArgs } from "./control/qemu-args.ts";
import { parseRules } from "./control/rules.ts";
import { type Abortable, signalOf } from "./control/shape.ts";
import { parseTapTarget } from "./control/tap-target.ts";
import { resolveUplink, type UplinkOptions } from "./control/uplink-rules.ts";
import type { Clock } from "./core/clock.ts";
import type { ForwardRule, StackConfig } from "./core/config.ts";
import type { Limits } from "./core/limits.ts";
import type { Link } from "./core/link.ts";
import { NO_TAP } from "./core/tap.ts";
import type { DropReason, Trace, TraceEvent } from "./core/trace.ts";
import { Asker, type AskVerdict, type Question } from "./embed/asker.ts";
import { AuditFile } from "./embed/audit-file.ts";
import { BadLine } from "./embed/bad-line.ts";
import { Cables, closedError, type ListenTarget, type Uplink } from "./embed/cables.ts";
import { Captures } from "./embed/captures.ts";
import { Drops } from "./embed/drops.ts";
import { FlowHook } from "./embed/flow-hook.ts";
import { GuestForwards } from "./embed/guest-forwards.ts";
import type { GuestServer } from "./embed/guest-server.ts";
import type { GuestSocket } from "./embed/guest-socket.ts";
import type { GuestUdp } from "./embed/guest-udp.ts";
import { type BindGuestUdpOptions, type ConnectOptions, Guests, type ListenGuestOptions } from "./embed/guests.ts";
import { composeLan } from "./embed/lan.ts";
import { LearnedFile } from "./embed/learned-file.ts";
import { EVENT_NAMES, type NetworkEvents } from "./embed/network-events.ts";
import { PollTimer } from "./embed/poll-timer.ts";
import { BusyPoll } from "./host/busy-poll.ts";
import { HostClock } from "./host/clock.ts";
import { NodeDns } from "./host/dns.ts";
import { NodeFiles } from "./host/files.ts";
import { whenNamespaceIsLeft } from "./host/namespace-watch.ts";
import { NodeHostNet } from "./host/net.ts";
import type { OwnPorts } from "./host/own-ports.ts";
import { portHint } from "./host/port-hint.ts";
import { ProcessNames } from "./host/process-names.ts";
import { ProxiedNet } from "./host/proxy.ts";
import { HostRandom } from "./host/random.ts";
import { openTap } from "./host/tap-namespace.ts";
import type { OpenForward } from "./nat/forwards.ts";
import type { LimitState } from "./nat/rules/meters.ts";
import type { Explanation } from "./nat/rules/rule-gate.ts";
import type { EntryName } from "./record/format.ts";
import type { Recording } from "./record/recording.ts";
import type { FlowInfo } from "./stack/flow-info.ts";
import type { StackParts } from "./stack/parts.ts";
import type { Stack } from "./stack.ts";

export interface NetworkStats {
  /** From guests to the network. */
  readonly framesIn: number;
  readonly bytesIn: number;
  /** To guests. */
  readonly framesOut: number;
  readonly bytesOut: number;
  /** What is held now. */
  readonly tcpFlows: number;
  readonly udpFlows: number;
  /** Echo identifiers that guests ping with. */
  readonly icmpFlows: number;
  readonly timers: number;
  /** Bytes sent to guests or waiting, not yet acknowledged. */
  readonly sendBytes: number;
  /** Bytes from guests that hosts have not taken yet. */
  readonly receiveBytes: number;
  /** Bytes from guests that came before their turn. */
  readonly outOfOrderBytes: number;
  /** Packets and connections dropped since the start, by reason. */
  readonly drops: Readonly<Record<DropReason, number>>;
}

/** An address that a guest has by DHCP. */
export interface Lease {
  readonly ip: string;
  readonly mac: string;
  /** What the guest calls itself, fit for use as a DNS name; null if it did not say. */
  readonly hostname: string | null;
  /** When it ends unless the guest renews it; null when it does not (BOOTP). In JSON: ISO 8601. */
  readonly expires: Date | null;
}

/** The time in so many milliseconds; null for one that never comes. */
function wallClock(inMillis: number): Date | null {
  return Number.isFinite(inMillis) ? new Date(Date.now() + inMillis) : null;
}

/** What rules say about a flow; `dns` about the query for its name, null where there is none. */
export interface FlowExplanation extends Explanation {
  readonly flow: string;
  readonly dns: Explanation | null;
}

/** Checks the options, opens the forwards. Rejects with `ConfigError`, or with an `Error` of one line when the host refuses a forward. */
export async function createNetwork(options: NetworkOptions = {}): Promise<Network> {
  const resolved = resolveOptions(options);
  const { signal } = options;
  const recording = resolved.record === null ? null : await beginRecording(resolved.record, resolved);
  const network = new Network(resolved, recording);
  try {
    signal?.throwIfAborted();
    await network.open();
    signal?.throwIfAborted();
  } catch (error) {
    await network.close();
    throw error;
  }
  return network;
}

/** Loaded only when asked for: it is much code. */
async function beginRecording(record: ResolvedRecord, options: ResolvedOptions): Promise<Recording> {
  const { Recording } = await import("./record/recording.ts");
  return Recording.begin(record, options);
}

const FORWARDS_A_TURN = 16;

/** Made by `createNetwork`. */
export class Network extends EventEmitter<NetworkEvents> implements AsyncDisposable {
  readonly config: StackConfig;
  readonly #options: ResolvedOptions;
  readonly #stack: Stack;
  readonly #guestForwards: GuestForwards;
  readonly #guests: Guests;
  readonly #gate: FlowHook | null;
  readonly #dns: NodeDns;
  readonly #clock: Clock = new HostClock();
  readonly #drops: Drops = new Drops(
    () => this.listenerCount("drop") > 0,
    (drop) => this.emit("drop", drop),
  );
  readonly #env: CableEnv;
  readonly #switch: Switch;
  /** Whoever frames that guests do not say to each other end at. */
  readonly #frames: Stack | NullReceiver;
  readonly #ownPorts: OwnPorts;
  readonly #tap: CableTap = new CableTap();
  readonly #captures: Captures;
  readonly #badLine: BadLine;
  readonly #learned: LearnedFile | null;
  readonly #processes: ProcessNames = new ProcessNames();
  readonly #audit: AuditFile | null;
  readonly #asker: Asker | null;
  /** Rules that answers have made. */
  readonly #answered: Set<string> = new Set();
  #rules: readonly string[];
  #dnsHosts: readonly string[];
  #dnsZones: readonly string[];
  readonly #cables: Cables;
  readonly #timer: PollTimer;
  readonly #recording: Recording | null;
  #closing: Promise<void> | null = null;
  /** Aborted when the network closes. */
  readonly #ended: AbortController = new AbortController();

  constructor(options: ResolvedOptions, recording: Recording | null = null) {
    super();
    this.#recording = recording;
    this.config = options.stack;
    this.#captures = new Captures(this.#tap, options.stack.limits, (text) => this.#report({ type: "notice", text }));
    this.#rules = options.ruleLines;
    this.#asker = options.ask ? this.#makeAsker(options.stack.limits) : null;
    const { audit } = options;
    this.#audit =
      audit === null
        ? null
        : new AuditFile(audit, options.stack.limits.auditBytes, {
            full: () => this.#drops.add("audit-full"),
            failed: (text) => this.#report({ type: "notice", text }),
          });
    this.#learned =
      options.learn === null
        ? null
        : new LearnedFile(options.learn, options.stack.limits, () => this.#rules, {
            full: () => this.#drops.add("learned-full"),
            failed: (text) => this.#report({ type: "notice", text }),
          });
    this.#dnsHosts = options.dnsHostLines;
    this.#dnsZones = options.dnsZoneLines;
    const trace: Trace = {
      drop: (reason) => this.#drops.add(reason),
      event: (event) => this.#report(event),
    };
    const random = new HostRandom();
    const { outboundAddr, proxies } = options;
    const notice = (text: string): void => trace.event({ type: "notice", text });
    const host = new NodeHostNet({ random, notice, ...(outboundAddr === null ? {} : { outboundAddr }) });
    this.#ownPorts = host.ownPorts;
    const { dnsInFlight, dnsTcpInFlight } = options.stack.limits;
    this.#dns = new NodeDns({ upstreams: options.dnsUpstream, maxInFlight: dnsInFlight, maxTcp: dnsTcpInFlight });
    const clock = this.#clock;
    const files = options.tftp === null ? null : new NodeFiles(options.tftp);
    this.#gate = this.#flowHook(options);
    const poll = new BusyPoll(options.busyPoll, () => this.#stack.bytesIn + this.#env.sent.bytes);
    const parts: StackParts = {
      host: proxies.length === 0 ? host : new ProxiedNet(host, proxies, notice),
      dns: this.#dns,
      files,
      clock,
      random,
      trace,
      gate: this.#gate,
      rules: options.rules,
      asker: this.#asker,
      protectPort: (port) => this.#ownPorts.protect(port),
      endOfTurn: (run) => void setImmediate(run),
      stirred: () => poll.stir(),
    };
    // Impairment is outside of what is recorded: what it lets through comes in.
    const lan =
      recording === null
        ? composeLan(options.stack, parts, this.#tap)
        : composeLan(options.stack, recording.parts(parts), NO_TAP);
    this.#stack = lan.stack;
    this.#frames = lan.frames;
    this.#switch = lan.switch;
    const receiver = recording?.receiver(lan.switch, this.#tap) ?? lan.switch;
    if (recording !== null) recording.onEnd = notice;
    const local = recording?.local(this.#stack.localServices) ?? this.#stack.localServices;
    this.#timer = new PollTimer(recording?.polled(this.#stack) ?? this.#stack, clock);
    this.#options = options;
    const { limits } = options.stack;
    this.#guestForwards = new GuestForwards(local, (guest) => this.#stack.cableOf(guest), host, {
      limits,
      onOutput: (program, pid, line) => trace.event({ type: "program-output", program, pid, line }),
      onRefused: () => trace.drop("programs-full"),
    });
    this.#guests = new Guests(options.stack, local, this.#stack.policy, () => this.#stack.firstGuest().text);
    this.#env = {
      receiver,
      pool: new SlabPool(),
      trace,
      clock,
      tap: this.#tap,
      limits,
      sent: { frames: 0, bytes: 0 },
    };
    this.#badLine = new BadLine(this.#tap, { target: receiver, clock, trace });
    const { signal } = options;
    if (signal !== null) whenAborted(signal, () => void this.close(), this.#ended.signal);
    this.#cables = new Cables(this.#env, options.stack, host.ownPorts);
  }

  /** Opens the configured forwards; `createNetwork` has done so. */
  async open(): Promise<void> {
    await this.#learned?.open();
    await this.#audit?.open();
    this.#guestForwards.open(this.#options.guestForwards, this.#options.smb);
    try {
      this.#told("open");
      await this.#stack.open();
    } catch (error) {
      throw forwardError(error);
    }
    for (const uplink of this.#options.uplinks) await this.#cables.uplink(uplink);
  }

  /**
   * Joins the guests' cables to a segment of other machines, by VXLAN; closing what it resolves with ends that. Rejects
   * with `ConfigError`, or with an `Error` of one line when the host refuses.
   */
  async uplink(target: string | UplinkOptions): Promise<Uplink> {
    this.#refuseWhenClosed();
    return this.#cables.uplink(resolveUplink("uplink", target));
  }

  /** The segments that guests' cables are joined to. */
  uplinks(): Uplink[] {
    return this.#cables.uplinks();
  }

  /**
   * Waits for guests. Resolves, once they can come, with the arguments to append to QEMU's, whose netdev is called
   * `id`; without any for WebSockets, by which no QEMU comes. Rejects with `ConfigError`, or with an `Error` of one line when the host refuses (EADDRINUSE…).
   */
  async listen(target: ListenTarget, id = "n0"): Promise<string[]> {
    if (typeof id !== "string")
      throw new ConfigError("id", id, "expected a netdev's name like n0; a signal is { path, signal }");
    return qemuArgs(id, await this.listenAt(target));
  }

  /** As `listen`, and resolves with the address: a port that was 0 is the one taken. */
  async listenAt(target: ListenTarget): Promise<AttachAddress> {
    this.#refuseWhenClosed();
    return this.#cables.listen(target);
  }

  /** Dials a QEMU that listens (`server=on`), and again whenever it is gone. */
  async dial(target: ListenTarget): Promise<void> {
    this.#refuseWhenClosed();
    await this.#cables.dial(target);
  }

  /**
   * Serves the guest behind an inherited, connected socket, or a TAP. Resolves when that guest is gone; aborting `signal`
   * ends it. Throws if `fd` is neither.
   */
  attachFd(fd: number, options: Abortable = {}): Promise<void> {
    this.#refuseWhenClosed();
    return this.#cables.inherit(fd, options);
  }

  /**
   * Serves the network namespace behind a TAP that has been opened (`/dev/net/tun`, TUNSETIFF with IFF_TAP; with IFF_VNET_HDR
   * frames pass unfinished, which is faster). The descriptor is the network's from now on. Resolves when the device is gone;
   * aborting `signal` ends it. Throws an `Error` of one line if `fd` is no TAP, or where there is no koffi (Linux only).
   */
  attachTap(fd: number, options: Abortable = {}): Promise<void> {
    this.#refuseWhenClosed();
    return this.#cables.attachTap(fd, options).detached;
  }

  /** Makes a TAP and serves what is behind it: `NAME`, or `NAME@PID`, `NAME@PATH` in another network namespace. */
  async makeTap(target: string, options: Abortable = {}): Promise<{ readonly closed: Promise<void> }> {
    this.#refuseWhenClosed();
    const { name, where } = parseTapTarget("tap", target);
    const device = await openTap(name, where);
    this.#refuseWhenClosed();
    const { link, detached } = this.#cables.attachTap(device, options);
    if (where !== null && "pid" in where && device.namespace !== null) {
      const forget = whenNamespaceIsLeft(device.namespace, where.pid, () => link.close());
      void detached.then(forget);
    }
    return { closed: detached };
  }

  /** Serves the guest behind a stream of length-prefixed frames. Aborting `signal` ends it, and so does the network's end. */
  attach(duplex: Duplex, options: Abortable = {}): Link {
    this.#refuseWhenClosed();
    if (typeof duplex?.write !== "function" || typeof duplex.on !== "function")
      throw new ConfigError("attach", duplex, "expected a Duplex of length-prefixed frames");
    return this.#cables.attach(duplex, options);
  }

  /**
   * Serves the guest behind a socket that a server of yours has accepted, unread (`pauseOnConnect`), or another process
   * has and sent here: as fast as one of `listen`. The connection is the network's from now on. Resolves when that guest is
   * gone; aborting `signal` ends it.
   */
  attachAccepted(socket: net.Socket, options: Abortable = {}): Promise<void> {
    this.#refuseWhenClosed();
    return this.#cables.attachAccepted(socket, options);
  }

  /**
   * Serves the guest behind a WebSocket, of the `ws` package or a standard one: a binary message is an Ethernet frame, both
   * ways. The socket is the network's from now on: it ends with the network, and by aborting `signal`. Who may have it is for
   * you to say, and that no message is longer than 65,553 bytes (`maxPayload`): a longer one ends the cable.
   */
  attachWebSocket(socket: FrameSocket, options: Abortable = {}): Link {
    this.#refuseWhenClosed();
    return this.#cables.attachWebSocket(socket, options);
  }

  /** Serves a guest that has come to a door of somebody else's (`GuestNetworks`). @internal */
  attachArrival(arrival: Arrival, name: string): { readonly link: Link; readonly detached: Promise<void> } {
    this.#refuseWhenClosed();
    return this.#cables.arrival(arrival, name);
  }

  /** A cable within the process: Ethernet frames in by `send`, out by `onFrame`. */
  cable(onFrame?: (frame: Uint8Array) => void): MemoryCable {
    this.#refuseWhenClosed();
    return this.#cables.inMemory(onFrame);
  }

  /**
   * Begins to write all frames that pass, as pcapng, into a file or a stream. Ended by the capture's `stop`, by the
   * network's end, or by an error of the writer's, which `Capture.closed` tells. Throws `ConfigError` about a filter.
   */
  capture(target: string | Writable, options: CaptureOptions = {}): Capture {
    this.#refuseWhenClosed();
    if (typeof target !== "string" && typeof target?.write !== "function")
      throw new ConfigError("capture", target, "expected a file's path or a stream to write to");
    return this.#captures.begin(target, options);
  }

  /** Cables that are plugged in, by name. */
  cables(): string[] {
    return this.#switch.cables();
  }

  /** Closes a TCP or UDP port of this machine to guests, whatever address they dial. Returns what opens it again. */
  protectPort(port: number): () => void {
    return this.#ownPorts.protect(port);
  }

  /** Counts a client of a server beside the network, its API or SOCKS, that was turned away: "clients-full" among the drops. */
  refusedClient(): void {
    this.#drops.add("clients-full");
  }

  /** Lets `watcher` see every frame from now on, on all cables. Returns what ends that. */
  watch(watcher: FrameWatcher): () => void {
    this.#refuseWhenClosed();
    this.#tap.watch(watcher);
    return () => this.#tap.unwatch(watcher);
  }

  /** The captures that run. */
  captures(): Capture[] {
    return this.#captures.list();
  }

  /**
   * Makes guests' lines bad from now on, by these rules instead of those before; none makes them good again. The same
   * `seed` (a 32-bit number; random unless given) and traffic suffer alike. Throws `ConfigError`.
   */
  impair(rules: readonly ImpairmentOptions[], seed?: number): void {
    this.#refuseWhenClosed();
    if (!Array.isArray(rules)) throw new ConfigError("impair", rules, "expected a list of rules like [{ delay: 50 }]");
    this.#badLine.impair(rules, seed);
  }

  /** The rules in force. */
  impairment(): readonly ImpairmentOptions[] {
    return this.#badLine.rules;
  }

  /**
   * Dials a guest. Resolves, once the connection stands, with a socket that `http`, `tls`, undici and ssh2 take as one of
   * their own; rejects with Node's errors (ECONNREFUSED, ETIMEDOUT), the signal's reason or `ConfigError`.
   */
  async connect(options: ConnectOptions): Promise<GuestSocket> {
    this.#refuseWithoutGateway();
    return this.#guests.connect(options);
  }

  /** As `net.createConnection`: a socket that is still connecting. */
  createConnection(options: ConnectOptions): GuestSocket {
    this.#refuseWithoutGateway();
    return this.#guests.createConnection(options);
  }

  /**
   * Listens where guests find it: on an address of their net that none of them has, or on any outside, whose connections
   * are then taken over. Rejects with `ConfigError` or EADDRINUSE.
   */
  async listenGuest(options: ListenGuestOptions, onSocket?: (socket: GuestSocket) => void): Promise<GuestServer> {
    this.#refuseWithoutGateway();
    return this.#guests.listen(options, onSocket);
  }

  /** Receives and sends datagrams at an address as `listenGuest` listens on one. */
  async bindGuestUdp(options: BindGuestUdpOptions): Promise<GuestUdp> {
    this.#refuseWithoutGateway();
    return this.#guests.bindUdp(options);
  }

  /**
   * Opens forwards: a rule, or text in Docker's (`2222:22`) or QEMU's grammar (`tcp::2222-:22`). All of them, or none.
   * Aborting `signal` closes them.
   */
  async publish(rule: ForwardRule | string, options: Abortable = {}): Promise<OpenForward[]> {
    this.#refuseWithoutGateway();
    const signal = signalOf(options);
    signal?.throwIfAborted();
    if (typeof rule !== "string" && typeof rule?.guest !== "object")
      throw new ConfigError("publish", rule, "expected a rule like 2222:22");
    const rules = typeof rule === "string" ? resolveForwards(rule, this.config) : [rule];
    const open: OpenForward[] = [];
    try {
      for (const each of rules) {
        this.#told("addForward", each);
        open.push(await this.#stack.forwards.add(each));
        // Listening is done before anything else has its turn: a range of thousands would hold up all packets.
        if (open.length % FORWARDS_A_TURN === 0) await nextTurn();
      }
    } catch (error) {
      for (const forward of open) this.unpublish(forward);
      throw forwardError(error);
    }
    const close = (): void => {
      for (const forward of open) this.unpublish(forward);
    };
    if (signal?.aborted) close();
    signal?.throwIfAborted();
    if (signal !== undefined) whenAborted(signal, close, this.#ended.signal);
    return open;
  }

  /** Closes a forward; its connections go on. False when it was not open. */
  unpublish(forward: OpenForward): boolean {
    this.#told("removeForward", forward.rule);
    return this.#stack.forwards.remove(forward);
  }

  forwards(): readonly OpenForward[] {
    return this.#stack.forwards.list();
  }

  /** The name of the cable that the guest with this address is on; null when nobody has been heard there. */
  cableOf(ip: string): string | null {
    return this.#stack.cableOf(ip)?.name ?? null;
  }

  /** The address of the guest that calls itself so by DHCP, `NAME` or `NAME.internal`; null for nobody. */
  guestNamed(name: string): string | null {
    return this.#aside(() => this.#stack.guestNamed(name));
  }

  leases(): Lease[] {
    const now = this.#clock.now();
    const leases = this.#aside(() => this.#stack.leases());
    return leases.map(({ expires, ...lease }) => ({ ...lease, expires: wallClock(expires - now) }));
  }

  /**
   * Other rules from now on, in place of all there were; none allows everything. Flows that they allow go on undisturbed,
   * others end. Throws `ConfigError`, and then nothing has changed.
   */
  setRules(rules: readonly string[]): void {
    this.#refuseWhenClosed();
    const parsed = parseRules(textList("rules", rules));
    this.#told("rules", rules);
    this.#stack.setRules(parsed);
    this.#rules = [...rules];
  }

  /** The audit's file has been moved away (logrotate): what follows goes into a new one. */
  reopenAudit(): void {
    this.#audit?.reopen();
  }

  /** Questions that wait for an answer (`ask`). */
  asks(): Question[] {
    return this.#asker?.list() ?? [];
  }

  /**
   * Answers a question: "allow" and "deny" are about the flows that wait, "always" and "never" become rules as well, the last
   * ones. False when there is no such question: it has been answered, or nobody has for 30 seconds.
   */
  answer(id: string, verdict: AskVerdict): boolean {
    if (!["allow", "always", "deny", "never"].includes(verdict))
      throw new ConfigError("answer", verdict, "expected allow, always, deny or never");
    const rule = this.#asker?.ruleOf(id) ?? null;
    if (this.#asker === null || rule === null) return false;
    if (verdict === "always" || verdict === "never") {
      const made = verdict === "always" ? rule : rule.replace(/^allow/, "deny").replace(/ [a-z]+=allow/g, "");
      this.#answered.add(made);
      this.setRules(this.#rules.includes(made) ? this.#rules : [...this.#rules, made]);
    }
    this.#asker.answer(id, verdict === "allow" ? "once" : verdict === "always" ? "again" : "no");
    return true;
  }

  /** The rules that answers have made, for whoever reads a file of rules again. */
  answeredRules(): readonly string[] {
    return [...this.#answered];
  }

  /** The rules in force. */
  rules(): readonly string[] {
    return this.#rules;
  }

  /**
   * What the DNS server answers by itself from now on: `["db.example.com=10.1.2.3"]`. Throws `ConfigError`, and then nothing
   * has changed.
   */
  setDnsHosts(hosts: readonly string[]): void {
    this.#refuseWhenClosed();
    const parsed = textList("dnsHosts", hosts).map(parseDnsHost);
    this.#told("dnsHosts", hosts);
    this.#stack.setDnsHosts(parsed);
    this.#dnsHosts = [...hosts];
  }

  dnsHosts(): readonly string[] {
    return this.#dnsHosts;
  }

  /**
   * Which zones have resolvers of their own from now on: `["corp.example.com=10.1.0.53"]`. Throws `ConfigError`, and then
   * nothing has changed.
   */
  setDnsZones(zones: readonly string[]): void {
    this.#refuseWhenClosed();
    const parsed = textList("dnsZones", zones).map(parseDnsZone);
    this.#told("dnsZones", zones);
    this.#stack.setDnsZones(parsed);
    this.#dnsZones = [...zones];
  }

  dnsZones(): readonly string[] {
    return this.#dnsZones;
  }

  /**
   * What the rules would say about a flow, without one: `tcp api.example.org:443`, `icmp 192.0.2.1`, `dns example.org`, with
   * `guest IP|MAC|cable:NAME` behind it where that matters; without it the first guest's address asks. What is known of that guest now
   * (its MAC, its cable) counts for rules that name it so. A name is taken to lead to a public address. `onFlow` is not asked. Throws
   * `ConfigError`.
   */
  explain(flow: string): FlowExplanation {
    const { firstGuest } = this.config;
    const subject = parseFlow(flow, firstGuest, this.#stack.policy.dns);
    const [name] = subject.names;
    const query =
      subject.proto === "dns" || name === undefined
        ? null
        : parseFlow(`dns ${name}`, firstGuest, this.#stack.policy.dns);
    const dns =
      query === null ? null : this.#stack.explain({ ...subject, ...query, guest: subject.guest, mac: subject.mac });
    return { flow, ...this.#stack.explain(subject), dns };
  }

  /** What each guest has used of the limits that rules set (`conns=50`, `limit rate=10mbit`), once it has begun something under them. */
  limits(): LimitState[] {
    return this.#aside(() => this.#stack.limits());
  }

  flows(): FlowInfo[] {
    return this.#aside(() => this.#stack.flows());
  }

  stats(): NetworkStats {
    const { framesIn, bytesIn } = this.#frames;
    const { frames: framesOut, bytes: bytesOut } = this.#env.sent;
    return { framesIn, bytesIn, framesOut, bytesOut, ...this.#stack.gauges(), drops: this.#drops.counts() };
  }

  /** Ends cables, connections and forwards. Resolves when all sockets are gone; may be called again. */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #close(): Promise<void> {
    this.#ended.abort();
    this.#gate?.close();
    this.#asker?.close();
    this.#guests.close();
    // Connections first: their resets still reach the guests.
    this.#told("close");
    this.#stack.close();
    await Promise.all([this.#cables.close(), this.#guestForwards.close()]);
    this.#badLine.close();
    await this.#captures.close();
    this.#dns.close();
    this.#timer.close();
    this.#drops.flush();
    await this.#learned?.close();
    await this.#audit?.close();
    await this.#recording?.close();
  }

  /** Something comes in that is no frame and nothing of the host's. */
  #told(name: EntryName, ...values: readonly unknown[]): void {
    this.#recording?.recorder.told(name, ...values);
  }

  /** A look that is not recorded. */
  #aside<T>(look: () => T): T {
    return this.#recording === null ? look() : this.#recording.recorder.aside(look);
  }

  #refuseWhenClosed(): void {
    if (this.#closing !== null) throw closedError();
  }

  /** What takes an address of ours on the guests' cables. */
  #refuseWithoutGateway(): void {
    this.#refuseWhenClosed();
    if (!this.config.gateway)
      throw new ConfigError("mode", "bridged", "expected another mode, or dhcp on: this takes a gateway of ours");
  }

  #makeAsker(limits: Limits): Asker {
    return new Asker({
      limits,
      cableOf: (host) => this.#stack.cableOf(host),
      asked: (question) => process.nextTick(() => this.emit("ask", question)),
      full: () => this.#drops.add("asks-full"),
    });
  }

  #flowHook({ onFlow, onFlowTimeout: timeout, stack }: ResolvedOptions): FlowHook | null {
    if (onFlow === null) return null;
    const failed = (error: Error, flow: Flow): void => {
      process.nextTick(() => this.emit("flowError", error, flow));
    };
    const busy = (): void => {
      this.#drops.add("gate-busy");
    };
    const cableOf = (host: string): Link | null => this.#stack.cableOf(host);
    return new FlowHook({ onFlow, timeout, limits: stack.limits, cableOf, failed, busy });
  }

  #report(event: TraceEvent): void {
    this.#captures.event(event);
    if (event.type === "flow-allowed" || event.type === "flow-refused") return this.#reportRuled(event);
    this.#tell(event);
  }

  /** What rules have decided, with the process where it is known. */
  #reportRuled(event: Ruled): void {
    const named = this.#learned === null && this.#audit === null && !this.#heard(event) ? event : this.#named(event);
    if (named.type === "flow-allowed") this.#learned?.allowed(named);
    this.#audit?.add(named);
    this.#tell(named);
  }

  #heard({ type }: TraceEvent): boolean {
    return this.listenerCount(EVENT_NAMES[type]) > 0;
  }

  #tell(event: TraceEvent): void {
    const name = EVENT_NAMES[event.type];
    if (!this.#heard(event)) return;
    const { type: _, ...rest } = event;
    process.nextTick(() => this.emit(name, rest as never));
  }

  /** A refusal with its process. Its socket is there only until the guest hears of the refusal. */
  #named<T extends Ruled>(refusal: T): T {
    const { proto, direction } = refusal;
    if (proto === "icmp" || direction === "in") return refusal;
    const guest = parseEndpoint(refusal.guest, 0);
    const link = guest === null ? null : this.#stack.cableOf(guest.host);
    if (guest === null || !(link instanceof TapCable) || link.namespace === null) return refusal;
    const transports = proto === "dns" ? (["udp", "tcp"] as const) : [proto];
    for (const transport of transports) {
      const process = this.#processes.find(link.namespace, transport, guest);
      if (process !== null) return { ...refusal, process };
    }
    return refusal;
  }
}

type Ruled = Extract<TraceEvent, { type: "flow-refused" | "flow-allowed" }>;

/** The list, whose members are texts. Throws `ConfigError` about the field. */
function textList(field: string, list: readonly string[]): readonly string[] {
  if (Array.isArray(list) && list.every((each) => typeof each === "string")) return list;
  throw new ConfigError(field, list, "expected a list of texts");
}

/** When all that waits now has had its turn. */
function nextTurn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

/** Does something when `signal` is aborted, unless `over` is before. */
function whenAborted(signal: AbortSignal, act: () => void, over: AbortSignal): void {
  signal.addEventListener("abort", act, { once: true, signal: over });
}

/** One line for a forward that the host refuses; `code` is the system's. */
function forwardError(cause: unknown): Error {
  const { code, message } = cause as NodeJS.ErrnoException;
  const error: NodeJS.ErrnoException = new Error(`cannot open a forward: ${message}${portHint(cause)}`, { cause });
  if (code !== undefined) error.code = code;
  return error;
}
