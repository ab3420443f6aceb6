/**
 * One guest network on this host's sockets, with the methods that its user calls. `network/compose` puts the parts
 * together; a method's work is done in the part that it calls.
 *
 * A network starts in this order: the options are checked, then the forwards listen, and only then can a guest attach.
 */
import { EventEmitter } from "node:events";
import type net from "node:net";
import type { Duplex, Writable } from "node:stream";
import type { AttachAddress } from "./attach/address.ts";
import type { Arrival } from "./attach/door.ts";
import type { MemoryCable } from "./attach/memory.ts";
import type { FrameWatcher } from "./attach/tap.ts";
import type { FrameSocket } from "./attach/websocket.ts";
import { type Abortable, whenAborted } from "./control/abortable.ts";
import { parseIp } from "./control/addresses.ts";
import type { Capture, CaptureOptions } from "./control/capture.ts";
import { ConfigError } from "./control/errors.ts";
import type { AskVerdict, Question } from "./control/on-ask.ts";
import type { ImpairmentOptions } from "./control/options/impairment-options.ts";
import type { RecordOptions } from "./control/options/record-options.ts";
import { type NetworkOptions, type ResolvedOptions, resolveOptions } from "./control/options.ts";
import { qemuArgs } from "./control/qemu-args.ts";
import { checkPort } from "./control/shape.ts";
import type { UplinkOptions } from "./control/uplink-rules.ts";
import { type ByteShare, unshared } from "./core/byte-budget.ts";
import { closedError } from "./core/closed.ts";
import type { ForwardRule, StackConfig } from "./core/config.ts";
import type { Link } from "./core/link.ts";
import type { ListenTarget, Uplink } from "./embed/cables.ts";
import type { GuestServer } from "./embed/guest-server.ts";
import type { GuestSocket } from "./embed/guest-socket.ts";
import type { GuestUdp } from "./embed/guest-udp.ts";
import type { BindGuestUdpOptions, ConnectOptions, ListenGuestOptions } from "./embed/guests.ts";
import type { NetworkEvents } from "./embed/network-events.ts";
import type { OpenForward } from "./nat/forwards.ts";
import type { LimitState } from "./nat/rules/meters.ts";
import type { ComposedNetwork } from "./network/compose.ts";
import { type FlowExplanation, type Lease, type NetworkStats, wallLease } from "./network/info.ts";
import { loadCode, loadedCode } from "./network/load.ts";
import type { EndFlows } from "./network/recordings.ts";
import { beginRecording } from "./network/tape.ts";
import type { Recording, RecordingState } from "./record/recording.ts";
import type { FlowInfo } from "./stack/flow-info.ts";

/**
 * Makes a network: checks the options and opens the forwards. Rejects with `ConfigError`, or with an `Error` of one
 * line when the host refuses a forward.
 */
export async function createNetwork(options: NetworkOptions = {}): Promise<Network> {
  const resolved = resolveOptions(options);
  const { signal } = options;
  await loadCode();
  const recording = resolved.record === null ? null : await beginRecording(resolved.record, resolved);
  const network = new Network(resolved, recording);
  try {
    signal?.throwIfAborted();
    await network.open();
    signal?.throwIfAborted();
  } catch (error) {
    await network.close();
    // If the signal is aborted, the error came from closing the network, so the signal's reason counts.
    signal?.throwIfAborted();
    throw error;
  }
  return network;
}

/** A guest network, made by `createNetwork`. Its events are those of `NetworkEvents`. */
export class Network extends EventEmitter<NetworkEvents> implements AsyncDisposable {
  readonly config: StackConfig;
  readonly #options: ResolvedOptions;
  readonly #made: ComposedNetwork;
  #closing: Promise<void> | null = null;
  /** Aborted when the network closes. */
  readonly #ended: AbortController = new AbortController();

  /** `bytes` is the network's share where several networks share a budget of bytes. */
  constructor(options: ResolvedOptions, recording: Recording | null = null, bytes: ByteShare = unshared()) {
    super();
    this.config = options.stack;
    this.#options = options;
    this.#made = loadedCode().composeNetwork(options, recording, bytes, this, this.#ended.signal);
    if (options.signal !== null) whenAborted(options.signal, () => void this.close(), this.#ended.signal);
  }

  /** Opens the configured forwards; `createNetwork` has already done so. Rejects when the network closes meanwhile. */
  async open(): Promise<void> {
    const { guestForwards, smb, uplinks } = this.#options;
    await this.#open.reports.open();
    this.#open.guestForwards.open(guestForwards, smb);
    await this.#open.published.open();
    for (const uplink of uplinks) await this.#open.cables.uplink(uplink);
  }

  /**
   * Joins the guests' cables to a segment of other machines, by VXLAN. Resolves with the uplink, whose `close` ends
   * that. Rejects with `ConfigError`, or with an `Error` of one line when the host refuses.
   */
  async uplink(target: string | UplinkOptions): Promise<Uplink> {
    return this.#open.cables.uplink(loadedCode().resolveUplink("uplink", target));
  }

  /** The uplinks to segments that the guests' cables are joined to. */
  uplinks(): Uplink[] {
    return this.#made.cables.uplinks();
  }

  /**
   * Listens for guests. Resolves once guests can come, with the arguments to append to QEMU's, whose netdev is called
   * `id`; with no arguments for WebSockets, which QEMU does not speak. Rejects with `ConfigError`, or with an `Error`
   * of one line when the host refuses (EADDRINUSE…).
   */
  async listen(target: ListenTarget, id = "n0"): Promise<string[]> {
    if (typeof id !== "string")
      throw new ConfigError("id", id, "expected a netdev's name like n0; a signal is { path, signal }");
    return qemuArgs(id, await this.listenAt(target));
  }

  /**
   * Listens for guests as `listen` does, and resolves with the address. If its port was 0, it has the port that was
   * taken.
   */
  async listenAt(target: ListenTarget): Promise<AttachAddress> {
    return this.#open.cables.listen(target);
  }

  /** The addresses at which guests may come, with the ports that were taken where a port was 0. */
  listening(): AttachAddress[] {
    return this.#made.cables.listening();
  }

  /** Dials a QEMU that listens (`server=on`), and dials again whenever it is gone. */
  async dial(target: ListenTarget): Promise<void> {
    await this.#open.cables.dial(target);
  }

  /**
   * Serves the guest behind the descriptor `fd` of an inherited, connected socket or a TAP. Resolves when the guest is
   * gone; aborting `signal` ends it. Throws an `Error` of one line if `fd` is neither.
   */
  attachFd(fd: number, options: Abortable = {}): Promise<void> {
    return this.#open.cables.inherit(fd, options);
  }

  /**
   * Serves the network namespace behind a TAP that has been opened (`/dev/net/tun`, TUNSETIFF with IFF_TAP; with
   * IFF_VNET_HDR frames pass unfinished, which is faster). The descriptor belongs to the network from now on. Resolves
   * when the device is gone; aborting `signal` ends it. Throws an `Error` of one line if `fd` is no TAP, or if koffi is
   * missing (Linux only).
   */
  attachTap(fd: number, options: Abortable = {}): Promise<void> {
    return this.#open.cables.attachTap(fd, options).detached;
  }

  /**
   * Makes a TAP and serves the guest behind it. `target` is `NAME`; or `NAME@PID` or `NAME@PATH` for a TAP in another
   * network namespace.
   */
  async makeTap(target: string, options: Abortable = {}): Promise<{ readonly closed: Promise<void> }> {
    return this.#open.cables.makeTap(target, options);
  }

  /**
   * Serves the guest behind a stream of frames, each preceded by its length (32 bits, big-endian). Aborting `signal`
   * ends the cable, and so does closing the network.
   */
  attach(duplex: Duplex, options: Abortable = {}): Link {
    return this.#open.cables.attach(duplex, options);
  }

  /**
   * Serves the guest behind a socket that a server of yours has accepted and not read from (`pauseOnConnect`), or that
   * another process has accepted and sent here. It is as fast as a guest of `listen`. The connection belongs to the
   * network from now on. Resolves when that guest is gone; aborting `signal` ends it.
   */
  attachAccepted(socket: net.Socket, options: Abortable = {}): Promise<void> {
    return this.#open.cables.attachAccepted(socket, options);
  }

  /**
   * Serves the guest behind a WebSocket, of the `ws` package or a standard one: a binary message is an Ethernet frame,
   * in both directions. The socket belongs to the network from now on: closing the network or aborting `signal` ends
   * it. You decide who may connect, and must limit messages to 65,553 bytes (`maxPayload`): a longer one ends the
   * cable.
   */
  attachWebSocket(socket: FrameSocket, options: Abortable = {}): Link {
    return this.#open.cables.attachWebSocket(socket, options);
  }

  /** Serves a guest that has connected to a door of `GuestNetworks`. @internal */
  attachArrival(arrival: Arrival, name: string): { readonly link: Link; readonly detached: Promise<void> } {
    return this.#open.cables.arrival(arrival, name);
  }

  /** Releases memory kept for later, while the guest sends nothing. @internal */
  rest(): void {
    this.#made.lan.stack.rest();
  }

  /**
   * A cable within the process. `send` takes Ethernet frames from the guest; `onFrame` receives those for the guest.
   */
  cable(onFrame?: (frame: Uint8Array) => void): MemoryCable {
    return this.#open.cables.inMemory(onFrame);
  }

  /**
   * Begins to write all passing frames, as pcapng, into a file or a stream. The capture ends by its `stop`, when the
   * network closes, or by an error of the writer, which `Capture.closed` resolves with. Throws `ConfigError` about a
   * filter.
   */
  capture(target: string | Writable, options: CaptureOptions = {}): Capture {
    return this.#open.reports.captures.begin(target, options);
  }

  /** The names of the cables that are attached. */
  cables(): string[] {
    return this.#made.lan.cables();
  }

  /**
   * Closes a TCP or UDP port of this machine to guests, whatever address they dial. Returns a function that opens it
   * again. Throws `ConfigError`.
   */
  protectPort(port: number): () => void {
    checkPort("protectPort", port, 1);
    return this.#made.ownPorts.protect(port);
  }

  /**
   * Counts a client that a server beside the network (its API or SOCKS) has turned away: "clients-full" among the
   * drops.
   */
  refusedClient(): void {
    this.#made.reports.drop("clients-full");
  }

  /** Lets `watcher` see every frame from now on, on all cables. Returns a function that ends this. */
  watch(watcher: FrameWatcher): () => void {
    if (typeof watcher?.frame !== "function")
      throw new ConfigError("watch", watcher, "expected an object like { frame(link, direction, bytes, at, len) {} }");
    this.#open.tap.watch(watcher);
    return () => this.#made.tap.unwatch(watcher);
  }

  /** The running captures. */
  captures(): Capture[] {
    return this.#made.reports.captures.list();
  }

  /**
   * Begins to record in a new file, as the option `record` does from the start. A recording needs a network that has
   * just been made, so a new one takes this one's place: it has the same cables, rules, names, forwards and services,
   * and knows the guests' addresses and leases. Open flows would be lost. Rejects with `ConfigError` if there are flows
   * (unless `endFlows` ends them) or if another recording runs, and with an `Error` of one line when the file cannot be
   * made.
   */
  async record(target: string | RecordOptions, options: EndFlows = {}): Promise<RecordingState> {
    return this.#open.recordings.begin(target, options);
  }

  /** The running recording; null for none. */
  recording(): RecordingState | null {
    return this.#made.tape.state();
  }

  /** Ends the running recording, however it was begun. Resolves when its file is complete; with null when none ran. */
  async stopRecording(): Promise<RecordingState | null> {
    return this.#made.tape.stop();
  }

  /**
   * Impairs the guests' cables from now on, by these rules in place of the rules before; an empty list impairs nothing.
   * The same `seed` (a 32-bit number; random unless given) impairs the same traffic in the same way. Throws
   * `ConfigError`.
   */
  impair(rules: readonly ImpairmentOptions[], seed?: number): void {
    this.#open.badLine.impair(rules, seed);
  }

  /** The impairment rules in force. */
  impairment(): readonly ImpairmentOptions[] {
    return this.#made.badLine.rules;
  }

  /**
   * Dials a guest. Resolves, once the connection is established, with a socket that `http`, `tls`, undici and ssh2
   * accept as one of Node's. Rejects with Node's errors (ECONNREFUSED, ETIMEDOUT), the signal's reason or
   * `ConfigError`.
   */
  async connect(options: ConnectOptions): Promise<GuestSocket> {
    return this.#served.guests.connect(options);
  }

  /** Dials a guest as `net.createConnection` does: returns a socket that is still connecting. */
  createConnection(options: ConnectOptions): GuestSocket {
    return this.#served.guests.createConnection(options);
  }

  /**
   * Listens on an address where guests can reach it: a free address of their net; or any outside address, whose
   * connections then come here instead. Rejects with `ConfigError` or EADDRINUSE.
   */
  async listenGuest(options: ListenGuestOptions, onSocket?: (socket: GuestSocket) => void): Promise<GuestServer> {
    return this.#served.guests.listen(options, onSocket);
  }

  /** Receives and sends datagrams at an address, chosen as for `listenGuest`. */
  async bindGuestUdp(options: BindGuestUdpOptions): Promise<GuestUdp> {
    return this.#served.guests.bindUdp(options);
  }

  /**
   * Opens forwards: for a rule, or for a text in Docker's (`2222:22`) or QEMU's grammar (`tcp::2222-:22`). Opens all of
   * them, or none. Aborting `signal` closes them. Rejects with `ConfigError`, or with an `Error` of one line when the
   * host refuses.
   */
  async publish(rule: ForwardRule | string, options: Abortable = {}): Promise<OpenForward[]> {
    return this.#served.published.add(rule, options);
  }

  /** Closes a forward; its connections go on. False when it was not open. */
  unpublish(forward: OpenForward): boolean {
    if (typeof forward?.rule?.guest !== "object" || typeof forward.address !== "object")
      throw new ConfigError("unpublish", forward, "expected a forward that publish or forwards() has given");
    return this.#made.published.remove(forward);
  }

  /** The open forwards. */
  forwards(): readonly OpenForward[] {
    return this.#made.published.list();
  }

  /** The name of the cable of the guest that has this address; null when no guest is known to have it. */
  cableOf(ip: string): string | null {
    const address = typeof ip === "string" ? parseIp(ip) : null;
    if (address === null) throw new ConfigError("cableOf", ip, "expected an address like 10.0.2.15");
    return this.#made.lan.stack.cableOf(address)?.name ?? null;
  }

  /** The address of the guest that has given this name by DHCP, `NAME` or `NAME.internal`; null for none. */
  guestNamed(name: string): string | null {
    if (typeof name !== "string") throw new ConfigError("guestNamed", name, "expected a guest's name, a text");
    return this.#made.tape.aside(() => this.#made.lan.stack.guestNamed(name));
  }

  /** The leases that guests have by DHCP. */
  leases(): Lease[] {
    const now = this.#made.clock.now();
    return this.#made.tape.aside(() => this.#made.lan.stack.leases()).map((lease) => wallLease(lease, now));
  }

  /**
   * Replaces all rules; an empty list allows everything. Flows that the new rules allow go on undisturbed, others end.
   * Throws `ConfigError`; then nothing has changed.
   */
  setRules(rules: readonly string[]): void {
    this.#open.rules.set(rules);
  }

  /** Opens the audit's file anew after it has been moved away (logrotate); later entries go into a new file. */
  reopenAudit(): void {
    this.#made.reports.audit?.reopen();
  }

  /** Questions that wait for an answer: `/v1/asks`. @internal */
  asks(): Question[] {
    return this.#made.rules.asks();
  }

  /**
   * Answers a question, for `/v1/asks`. False when there is no such question, because it has been answered, or had no
   * answer for 30 seconds. @internal
   */
  answer(id: string, verdict: AskVerdict): boolean {
    return this.#made.rules.answer(id, verdict);
  }

  /** The rules that answers have made, to keep when a file of rules is read again. @internal */
  answeredRules(): readonly string[] {
    return this.#made.rules.answered();
  }

  /** The rules in force. */
  rules(): readonly string[] {
    return this.#made.rules.list();
  }

  /**
   * Replaces the names that the DNS server answers itself, such as `["db.example.com=10.1.2.3"]`. Throws `ConfigError`;
   * then nothing has changed.
   */
  setDnsHosts(hosts: readonly string[]): void {
    this.#open.dnsAnswers.setHosts(hosts);
  }

  /** The names that the DNS server answers itself, in the form that `setDnsHosts` takes. */
  dnsHosts(): readonly string[] {
    return this.#made.dnsAnswers.hosts();
  }

  /**
   * Replaces the zones that have resolvers of their own, such as `["corp.example.com=10.1.0.53"]`. Throws
   * `ConfigError`; then nothing has changed.
   */
  setDnsZones(zones: readonly string[]): void {
    this.#open.dnsAnswers.setZones(zones);
  }

  /** The zones that have resolvers of their own, in the form that `setDnsZones` takes. */
  dnsZones(): readonly string[] {
    return this.#made.dnsAnswers.zones();
  }

  /**
   * The verdict on a flow, without opening it: `tcp api.example.org:443`, `icmp 192.0.2.1`, `dns example.org`. Append
   * `guest IP|MAC|cable:NAME` to ask for a certain guest; otherwise the address of the first guest counts. The guest's
   * MAC and cable, as known now, count for rules that name them. A name is assumed to lead to a public address.
   * `onFlow` is not asked. Throws `ConfigError`.
   */
  explain(flow: string): FlowExplanation {
    return this.#made.rules.explain(flow);
  }

  /**
   * How much each guest has used of the limits that rules set (`conns=50`, `limit rate=10mbit`). A guest is listed once
   * it has begun a flow under such a limit.
   */
  limits(): LimitState[] {
    return this.#made.tape.aside(() => this.#made.lan.stack.limits());
  }

  /** The open flows. */
  flows(): FlowInfo[] {
    return this.#made.tape.aside(() => this.#made.lan.stack.flows());
  }

  /** Counters since the network began, and the flows and bytes that it holds now. */
  stats(): NetworkStats {
    const { lan, reports, sent } = this.#made;
    const { framesIn, bytesIn } = lan.taken;
    const { frames: framesOut, bytes: bytesOut } = sent;
    return { framesIn, bytesIn, framesOut, bytesOut, ...lan.stack.gauges(), drops: reports.drops() };
  }

  /**
   * Closes the network: ends connections, cables and forwards. Resolves when all sockets are closed; may be called
   * again.
   */
  close(): Promise<void> {
    return (this.#closing ??= this.#close());
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #close(): Promise<void> {
    const { hook, asker, guests, tape, lan, cables, guestForwards, badLine, dns, reports } = this.#made;
    this.#ended.abort();
    hook?.close();
    asker?.close();
    guests.close();
    // Connections end first, so that their resets still reach the guests.
    tape.told("close");
    lan.stack.close();
    await Promise.all([cables.close(), guestForwards.close()]);
    badLine.close();
    dns.close();
    lan.close();
    await reports.close();
    await tape.close();
    this.#made.ownPorts.close();
  }

  /** The parts, for methods that fail once the network closes. */
  get #open(): ComposedNetwork {
    if (this.#closing !== null) throw closedError();
    return this.#made;
  }

  /** The parts, for methods that take an address of the network's on the guests' cables. */
  get #served(): ComposedNetwork {
    const made = this.#open;
    if (this.config.gateway) return made;
    throw new ConfigError("mode", "bridged", "expected another mode, or dhcp on: this takes a gateway of ours");
  }
}
