/**
 * One guest network on this host's sockets, as its user has it: `network/compose` puts the parts together, and what a method
 * does stands in the part that it names.
 *
 * Order of birth: the options are checked, then the forwards listen, and only then can a guest attach.
 */
import { EventEmitter } from "node:events";
import type net from "node:net";
import type { Duplex, Writable } from "node:stream";
import type { AttachAddress } from "./attach/address.ts";
import type { Arrival } from "./attach/door.ts";
import type { MemoryCable } from "./attach/memory.ts";
import type { FrameWatcher } from "./attach/tap.ts";
import type { FrameSocket } from "./attach/websocket.ts";
import type { Abortable } from "./control/abortable.ts";
import type { Capture, CaptureOptions } from "./control/capture.ts";
import { ConfigError } from "./control/errors.ts";
import type { AskVerdict, Question } from "./control/on-ask.ts";
import type { ImpairmentOptions } from "./control/options/impairment-options.ts";
import type { RecordOptions } from "./control/options/record-options.ts";
import { type NetworkOptions, type ResolvedOptions, resolveOptions } from "./control/options.ts";
import { qemuArgs } from "./control/qemu-args.ts";
import { whenAborted } from "./control/shape.ts";
import { resolveUplink, type UplinkOptions } from "./control/uplink-rules.ts";
import { type ByteShare, unshared } from "./core/byte-budget.ts";
import type { ForwardRule, StackConfig } from "./core/config.ts";
import type { Link } from "./core/link.ts";
import { closedError, type ListenTarget, type Uplink } from "./embed/cables.ts";
import type { GuestServer } from "./embed/guest-server.ts";
import type { GuestSocket } from "./embed/guest-socket.ts";
import type { GuestUdp } from "./embed/guest-udp.ts";
import type { BindGuestUdpOptions, ConnectOptions, ListenGuestOptions } from "./embed/guests.ts";
import type { NetworkEvents } from "./embed/network-events.ts";
import type { OpenForward } from "./nat/forwards.ts";
import type { LimitState } from "./nat/rules/meters.ts";
import { type ComposedNetwork, composeNetwork } from "./network/compose.ts";
import { type FlowExplanation, type Lease, type NetworkStats, wallLease } from "./network/info.ts";
import type { EndFlows } from "./network/recordings.ts";
import { beginRecording } from "./network/tape.ts";
import type { Recording, RecordingState } from "./record/recording.ts";
import type { FlowInfo } from "./stack/flow-info.ts";

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
    // Once it is aborted, what failed did so since the network was closing.
    signal?.throwIfAborted();
    throw error;
  }
  return network;
}

/** Made by `createNetwork`. */
export class Network extends EventEmitter<NetworkEvents> implements AsyncDisposable {
  readonly config: StackConfig;
  readonly #options: ResolvedOptions;
  readonly #made: ComposedNetwork;
  #closing: Promise<void> | null = null;
  /** Aborted when the network closes. */
  readonly #ended: AbortController = new AbortController();

  /** `bytes`: where several networks share what a process may hold. */
  constructor(options: ResolvedOptions, recording: Recording | null = null, bytes: ByteShare = unshared()) {
    super();
    this.config = options.stack;
    this.#options = options;
    this.#made = composeNetwork(options, recording, bytes, this, this.#ended.signal);
    if (options.signal !== null) whenAborted(options.signal, () => void this.close(), this.#ended.signal);
  }

  /** Opens the configured forwards; `createNetwork` has done so. Rejects when the network closes meanwhile. */
  async open(): Promise<void> {
    const { guestForwards, smb, uplinks } = this.#options;
    await this.#open.reports.open();
    this.#open.guestForwards.open(guestForwards, smb);
    await this.#open.published.open();
    for (const uplink of uplinks) await this.#open.cables.uplink(uplink);
  }

  /**
   * Joins the guests' cables to a segment of other machines, by VXLAN; closing what it resolves with ends that. Rejects
   * with `ConfigError`, or with an `Error` of one line when the host refuses.
   */
  async uplink(target: string | UplinkOptions): Promise<Uplink> {
    return this.#open.cables.uplink(resolveUplink("uplink", target));
  }

  /** The segments that guests' cables are joined to. */
  uplinks(): Uplink[] {
    return this.#made.cables.uplinks();
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
    return this.#open.cables.listen(target);
  }

  /** Where guests may come: a port that was 0 is the one taken. */
  listening(): AttachAddress[] {
    return this.#made.cables.listening();
  }

  /** Dials a QEMU that listens (`server=on`), and again whenever it is gone. */
  async dial(target: ListenTarget): Promise<void> {
    await this.#open.cables.dial(target);
  }

  /**
   * Serves the guest behind an inherited, connected socket, or a TAP. Resolves when that guest is gone; aborting `signal`
   * ends it. Throws if `fd` is neither.
   */
  attachFd(fd: number, options: Abortable = {}): Promise<void> {
    return this.#open.cables.inherit(fd, options);
  }

  /**
   * Serves the network namespace behind a TAP that has been opened (`/dev/net/tun`, TUNSETIFF with IFF_TAP; with IFF_VNET_HDR
   * frames pass unfinished, which is faster). The descriptor is the network's from now on. Resolves when the device is gone;
   * aborting `signal` ends it. Throws an `Error` of one line if `fd` is no TAP, or where there is no koffi (Linux only).
   */
  attachTap(fd: number, options: Abortable = {}): Promise<void> {
    return this.#open.cables.attachTap(fd, options).detached;
  }

  /** Makes a TAP and serves what is behind it: `NAME`, or `NAME@PID`, `NAME@PATH` in another network namespace. */
  async makeTap(target: string, options: Abortable = {}): Promise<{ readonly closed: Promise<void> }> {
    return this.#open.cables.makeTap(target, options);
  }

  /** Serves the guest behind a stream of length-prefixed frames. Aborting `signal` ends it, and so does the network's end. */
  attach(duplex: Duplex, options: Abortable = {}): Link {
    return this.#open.cables.attach(duplex, options);
  }

  /**
   * Serves the guest behind a socket that a server of yours has accepted, unread (`pauseOnConnect`), or another process
   * has and sent here: as fast as one of `listen`. The connection is the network's from now on. Resolves when that guest is
   * gone; aborting `signal` ends it.
   */
  attachAccepted(socket: net.Socket, options: Abortable = {}): Promise<void> {
    return this.#open.cables.attachAccepted(socket, options);
  }

  /**
   * Serves the guest behind a WebSocket, of the `ws` package or a standard one: a binary message is an Ethernet frame, both
   * ways. The socket is the network's from now on: it ends with the network, and by aborting `signal`. Who may have it is for
   * you to say, and that no message is longer than 65,553 bytes (`maxPayload`): a longer one ends the cable.
   */
  attachWebSocket(socket: FrameSocket, options: Abortable = {}): Link {
    return this.#open.cables.attachWebSocket(socket, options);
  }

  /** Serves a guest that has come to a door of somebody else's (`GuestNetworks`). @internal */
  attachArrival(arrival: Arrival, name: string): { readonly link: Link; readonly detached: Promise<void> } {
    return this.#open.cables.arrival(arrival, name);
  }

  /** Gives back what is kept for later; the guest says nothing. @internal */
  rest(): void {
    this.#made.lan.stack.rest();
  }

  /** A cable within the process: Ethernet frames in by `send`, out by `onFrame`. */
  cable(onFrame?: (frame: Uint8Array) => void): MemoryCable {
    return this.#open.cables.inMemory(onFrame);
  }

  /**
   * Begins to write all frames that pass, as pcapng, into a file or a stream. Ended by the capture's `stop`, by the
   * network's end, or by an error of the writer's, which `Capture.closed` tells. Throws `ConfigError` about a filter.
   */
  capture(target: string | Writable, options: CaptureOptions = {}): Capture {
    return this.#open.reports.captures.begin(target, options);
  }

  /** Cables that are plugged in, by name. */
  cables(): string[] {
    return this.#made.lan.cables();
  }

  /** Closes a TCP or UDP port of this machine to guests, whatever address they dial. Returns what opens it again. */
  protectPort(port: number): () => void {
    return this.#made.ownPorts.protect(port);
  }

  /** Counts a client of a server beside the network, its API or SOCKS, that was turned away: "clients-full" among the drops. */
  refusedClient(): void {
    this.#made.reports.drop("clients-full");
  }

  /** Lets `watcher` see every frame from now on, on all cables. Returns what ends that. */
  watch(watcher: FrameWatcher): () => void {
    this.#open.tap.watch(watcher);
    return () => this.#made.tap.unwatch(watcher);
  }

  /** The captures that run. */
  captures(): Capture[] {
    return this.#made.reports.captures.list();
  }

  /**
   * Begins to record, as `record` does from the start, in a new file. A recording begins with a network that has just been
   * made, so one takes this one's place: it has the same cables, rules, names, forwards and services, and knows the guests'
   * addresses and leases. Flows do not go over. Rejects with `ConfigError` while there are any, unless `endFlows` ends them,
   * or while another recording runs, and with an `Error` of one line when the file cannot be made.
   */
  async record(target: string | RecordOptions, options: EndFlows = {}): Promise<RecordingState> {
    return this.#open.recordings.begin(target, options);
  }

  /** The recording that runs; null for none. */
  recording(): RecordingState | null {
    return this.#made.tape.state();
  }

  /** Ends the recording that runs, however it was begun. Resolves when its file is complete, with null when there was none. */
  async stopRecording(): Promise<RecordingState | null> {
    return this.#made.tape.stop();
  }

  /**
   * Makes guests' lines bad from now on, by these rules instead of those before; none makes them good again. The same
   * `seed` (a 32-bit number; random unless given) and traffic suffer alike. Throws `ConfigError`.
   */
  impair(rules: readonly ImpairmentOptions[], seed?: number): void {
    this.#open.badLine.impair(rules, seed);
  }

  /** The rules in force. */
  impairment(): readonly ImpairmentOptions[] {
    return this.#made.badLine.rules;
  }

  /**
   * Dials a guest. Resolves, once the connection stands, with a socket that `http`, `tls`, undici and ssh2 take as one of
   * their own; rejects with Node's errors (ECONNREFUSED, ETIMEDOUT), the signal's reason or `ConfigError`.
   */
  async connect(options: ConnectOptions): Promise<GuestSocket> {
    return this.#served.guests.connect(options);
  }

  /** As `net.createConnection`: a socket that is still connecting. */
  createConnection(options: ConnectOptions): GuestSocket {
    return this.#served.guests.createConnection(options);
  }

  /**
   * Listens where guests find it: on an address of their net that none of them has, or on any outside, whose connections
   * are then taken over. Rejects with `ConfigError` or EADDRINUSE.
   */
  async listenGuest(options: ListenGuestOptions, onSocket?: (socket: GuestSocket) => void): Promise<GuestServer> {
    return this.#served.guests.listen(options, onSocket);
  }

  /** Receives and sends datagrams at an address as `listenGuest` listens on one. */
  async bindGuestUdp(options: BindGuestUdpOptions): Promise<GuestUdp> {
    return this.#served.guests.bindUdp(options);
  }

  /**
   * Opens forwards: a rule, or text in Docker's (`2222:22`) or QEMU's grammar (`tcp::2222-:22`). All of them, or none.
   * Aborting `signal` closes them.
   */
  async publish(rule: ForwardRule | string, options: Abortable = {}): Promise<OpenForward[]> {
    return this.#served.published.add(rule, options);
  }

  /** Closes a forward; its connections go on. False when it was not open. */
  unpublish(forward: OpenForward): boolean {
    return this.#made.published.remove(forward);
  }

  forwards(): readonly OpenForward[] {
    return this.#made.published.list();
  }

  /** The name of the cable that the guest with this address is on; null when nobody has been heard there. */
  cableOf(ip: string): string | null {
    return this.#made.lan.stack.cableOf(ip)?.name ?? null;
  }

  /** The address of the guest that calls itself so by DHCP, `NAME` or `NAME.internal`; null for nobody. */
  guestNamed(name: string): string | null {
    return this.#made.tape.aside(() => this.#made.lan.stack.guestNamed(name));
  }

  leases(): Lease[] {
    const now = this.#made.clock.now();
    return this.#made.tape.aside(() => this.#made.lan.stack.leases()).map((lease) => wallLease(lease, now));
  }

  /**
   * Other rules from now on, in place of all there were; none allows everything. Flows that they allow go on undisturbed,
   * others end. Throws `ConfigError`, and then nothing has changed.
   */
  setRules(rules: readonly string[]): void {
    this.#open.rules.set(rules);
  }

  /** The audit's file has been moved away (logrotate): what follows goes into a new one. */
  reopenAudit(): void {
    this.#made.reports.audit?.reopen();
  }

  /** Questions that wait for an answer: `/v1/asks`. @internal */
  asks(): Question[] {
    return this.#made.rules.asks();
  }

  /**
   * Answers a question, for `/v1/asks`. False when there is no such question: it has been answered, or nobody has for 30
   * seconds. @internal
   */
  answer(id: string, verdict: AskVerdict): boolean {
    return this.#made.rules.answer(id, verdict);
  }

  /** The rules that answers have made, for whoever reads a file of rules again. @internal */
  answeredRules(): readonly string[] {
    return this.#made.rules.answered();
  }

  /** The rules in force. */
  rules(): readonly string[] {
    return this.#made.rules.list();
  }

  /**
   * What the DNS server answers by itself from now on: `["db.example.com=10.1.2.3"]`. Throws `ConfigError`, and then nothing
   * has changed.
   */
  setDnsHosts(hosts: readonly string[]): void {
    this.#open.dnsAnswers.setHosts(hosts);
  }

  dnsHosts(): readonly string[] {
    return this.#made.dnsAnswers.hosts();
  }

  /**
   * Which zones have resolvers of their own from now on: `["corp.example.com=10.1.0.53"]`. Throws `ConfigError`, and then
   * nothing has changed.
   */
  setDnsZones(zones: readonly string[]): void {
    this.#open.dnsAnswers.setZones(zones);
  }

  dnsZones(): readonly string[] {
    return this.#made.dnsAnswers.zones();
  }

  /**
   * What would become of a flow, without one: `tcp api.example.org:443`, `icmp 192.0.2.1`, `dns example.org`, with
   * `guest IP|MAC|cable:NAME` behind it where that matters; without it the first guest's address asks. What is known of that guest now
   * (its MAC, its cable) counts for rules that name it so. A name is taken to lead to a public address. `onFlow` is not asked. Throws
   * `ConfigError`.
   */
  explain(flow: string): FlowExplanation {
    return this.#made.rules.explain(flow);
  }

  /** What each guest has used of the limits that rules set (`conns=50`, `limit rate=10mbit`), once it has begun something under them. */
  limits(): LimitState[] {
    return this.#made.tape.aside(() => this.#made.lan.stack.limits());
  }

  flows(): FlowInfo[] {
    return this.#made.tape.aside(() => this.#made.lan.stack.flows());
  }

  stats(): NetworkStats {
    const { lan, reports, sent } = this.#made;
    const { framesIn, bytesIn } = lan.taken;
    const { frames: framesOut, bytes: bytesOut } = sent;
    return { framesIn, bytesIn, framesOut, bytesOut, ...lan.stack.gauges(), drops: reports.drops() };
  }

  /** Ends cables, connections and forwards. Resolves when all sockets are gone; may be called again. */
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
    // Connections first: their resets still reach the guests.
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

  /** The parts, for what is refused once the network closes. */
  get #open(): ComposedNetwork {
    if (this.#closing !== null) throw closedError();
    return this.#made;
  }

  /** The parts, for what takes an address of ours on the guests' cables. */
  get #served(): ComposedNetwork {
    const made = this.#open;
    if (this.config.gateway) return made;
    throw new ConfigError("mode", "bridged", "expected another mode, or dhcp on: this takes a gateway of ours");
  }
}
