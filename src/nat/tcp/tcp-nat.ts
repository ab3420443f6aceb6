/** All TCP connections of a network: which connection a segment belongs to, and how connections begin and end. */

import { addressAt, addressFromText, type IpAddress } from "../../core/address.ts";
import type { StackConfig } from "../../core/config.ts";
import { Deadlines } from "../../core/deadlines.ts";
import type { AcceptedTcp } from "../../core/host-net.ts";
import type { Link, Slab } from "../../core/link.ts";
import type { Neighbour } from "../../proto/neighbours.ts";
import { ChunkPool, type GuestChunks } from "../../proto/tcp/chunk-pool.ts";
import { input } from "../../proto/tcp/input.ts";
import { IsnGenerator } from "../../proto/tcp/isn.ts";
import { ESTABLISHED, TIME_WAIT } from "../../proto/tcp/types.ts";
import { macNumber } from "../../wire/ethernet.ts";
import { IPV4_HEADER, PROTO_TCP } from "../../wire/ipv4.ts";
import { IPV6_HEADER } from "../../wire/ipv6.ts";
import { seqAdd, seqGt } from "../../wire/seq.ts";
import {
  ACK,
  FIN,
  RST,
  SYN,
  TCP_HEADER,
  tcpAck,
  tcpCheck,
  tcpDst,
  tcpFlags,
  tcpHeaderLength,
  tcpSeq,
  tcpSrc,
  tcpWindow,
} from "../../wire/tcp.ts";
import { tcpOptions, tcpReadOptions } from "../../wire/tcp-options.ts";
import type { NatContext } from "../context.ts";
import type { Egress } from "../egress.ts";
import { TcpAdmission } from "../flow/admission.ts";
import type { CloseReason } from "../flow/close-reason.ts";
import { type Decision, decide } from "../flow/decision.ts";
import { CLOSED_FLOW, NO_NAMES } from "../flow/flow.ts";
import { FlowMap } from "../flow/flow-map.ts";
import type { FlowFinder } from "../flow/registry.ts";
import type { IcmpCause } from "../icmp/icmp-cause.ts";
import { InspectionChain } from "../inspect/chain.ts";
import type { NameCheck } from "../rules/name-check.ts";
import { TcpBatch } from "./batch.ts";
import { LONG, PayloadGatherer } from "./payload-gatherer.ts";
import { ReceiveBudget } from "./receive-budget.ts";
import { StalledFlows } from "./stalled-flows.ts";
import { TcpFlow, type TcpFlowOwner } from "./tcp-flow.ts";
import { TcpResets } from "./tcp-resets.ts";
import { WindowLimits } from "./window-limits.ts";

/** How many connections may count for no guest any more, since their guests are done with them. */
const MOST_DELIVERING = 1_024;
const synOptions = tcpOptions();

export class TcpNat implements FlowFinder, TcpFlowOwner {
  readonly egress: Egress;
  readonly chunks: ChunkPool;
  readonly gatherer: PayloadGatherer = new PayloadGatherer();
  readonly resets: TcpResets;
  readonly deadlines: Deadlines<TcpFlow> = new Deadlines();
  readonly stalled: StalledFlows;
  /** Bytes from guests that hosts have not taken yet. */
  readonly receiveBudget: ReceiveBudget;
  /** How large a window each connection may be offered, and how much it may have under way. */
  readonly windowLimits: WindowLimits;
  readonly #sendLimit: number;
  readonly #table: FlowMap<TcpFlow>;
  readonly #isn: IsnGenerator;
  readonly #chain: InspectionChain;
  readonly #env: NatContext;
  readonly #mtu: number;
  readonly #rcvScale: number;
  readonly #admission: TcpAdmission;
  /** Connections whose guests are done and whose hosts still have bytes to take, the oldest first. */
  readonly #delivering: Set<TcpFlow> = new Set();
  readonly #batch: TcpBatch;

  constructor(config: StackConfig, env: NatContext) {
    this.#env = env;
    this.egress = env.egress;
    this.chunks = new ChunkPool(config.limits, env.bytes);
    this.resets = new TcpResets(env);
    this.#chain = new InspectionChain(env, config.limits.nameWaitingBytes, config.refuseHttp === true);
    this.receiveBudget = new ReceiveBudget(config.limits, env.bytes);
    this.windowLimits = new WindowLimits(config.limits.receiveBuffer);
    this.#batch = new TcpBatch(env.clock, this.gatherer, this.windowLimits);
    this.stalled = new StalledFlows(env);
    this.#sendLimit = config.limits.sendBuffer;
    this.#table = new FlowMap(env.random);
    this.#admission = new TcpAdmission(config.limits, env.trace);
    env.flows.serve(PROTO_TCP, this);
    this.#isn = new IsnGenerator(env.random);
    this.#mtu = config.mtu;
    let scale = 0;
    while (config.limits.receiveBuffer > 0xffff * 2 ** scale) scale++;
    this.#rcvScale = scale;
  }

  now(): number {
    return this.#env.clock.now();
  }

  get size(): number {
    return this.#table.size;
  }

  /** Entries, timers and sockets of all connections, lingering ones included. */
  get lingering(): number {
    return this.deadlines.size;
  }

  find(guest: Neighbour, buf: Uint8Array, farAt: number, ports: number): TcpFlow | null {
    return this.#table.get(guest, buf, farAt, ports);
  }

  sendLimit(chunks: GuestChunks): number {
    return Math.min(this.#sendLimit, this.windowLimits.sendLimit(), chunks.share());
  }

  touchLink(link: Link): void {
    this.#env.touchLink(link);
  }

  flush(): void {
    this.#env.flush();
  }

  /**
   * A segment of `len` bytes at `at` from `guest` to the address at `dstAt`. Its IP header has been checked, its TCP
   * header not; `pseudo` is the pseudo-header's sum.
   */
  receive(guest: Neighbour, slab: Slab, dstAt: number, at: number, len: number, pseudo: number, now: number): void {
    const buf = slab.bytes;
    if (!tcpCheck(buf, at, len, pseudo)) {
      this.#env.trace.drop(len < TCP_HEADER ? "tcp-malformed" : "tcp-checksum");
      return;
    }
    const ports = (tcpSrc(buf, at) << 16) | tcpDst(buf, at);
    let flow = this.#table.get(guest, buf, dstAt, ports);
    const flags = tcpFlags(buf, at);
    if (flow !== null && flow.tcb.state === TIME_WAIT && (flags & (SYN | ACK | RST)) === SYN) {
      // RFC 6191: a SYN that is clearly newer starts a new connection in place of the old one.
      tcpReadOptions(buf, at, synOptions);
      const newer = flow.tcb.timestamps && synOptions.timestamps ? seqGt(synOptions.tsValue, flow.tcb.tsRecent) : false;
      if (newer || seqGt(tcpSeq(buf, at), flow.tcb.rcvNxt)) {
        flow.tcb.finish();
        flow = null;
      }
    }
    if (flow === null) {
      if ((flags & (SYN | ACK | RST | FIN)) === SYN) this.#open(guest, buf, dstAt, at, now);
      else this.#refuse(guest, buf, dstAt, at, len);
      return;
    }
    if (this.receiveBudget.crowded && flow.tooMuch() && len > tcpHeaderLength(buf, at)) {
      this.#env.trace.drop("receive-full");
      return;
    }
    const dropped = input(flow.tcb, slab, at, len, now);
    if (dropped !== null) this.#env.trace.drop(dropped);
    this.#batch.touch(flow);
  }

  /**
   * Whether the segment at `at`, whose checksum is undone, is its connection's next, and a host socket takes its
   * `payload` bytes from wherever they stand. The caller has read its header only.
   */
  leavesPayload(guest: Neighbour, buf: Uint8Array, dstAt: number, at: number, payload: number): boolean {
    if (payload < LONG || (tcpFlags(buf, at) & (SYN | ACK | RST | FIN)) !== ACK) return false;
    const flow = this.#table.get(guest, buf, dstAt, (tcpSrc(buf, at) << 16) | tcpDst(buf, at));
    if (flow === null || flow.hostClosed || flow.host?.takesElsewhere !== true) return false;
    const { tcb } = flow;
    return tcb.state === ESTABLISHED && tcpSeq(buf, at) === tcb.rcvNxt && tcb.assembler.empty;
  }

  /**
   * All segments of a read have been handled: writes payload to the hosts, and one acknowledgement for each flow.
   * `late`: flows that owe nothing but an acknowledgement may wait for `turnEnd`, in case the host answers or closes
   * meanwhile. True when some flow waits.
   */
  batchEnd(now: number, late: boolean): boolean {
    return this.#batch.end(now, late);
  }

  /**
   * A turn of the event loop ends: sends the acknowledgements that were owed before it began. True when more are owed.
   */
  turnEnd(): boolean {
    return this.#batch.turnEnd();
  }

  /**
   * Called after a host's callback: sets timers, and has cables flushed. After a large read, at once: the cable fills
   * soon.
   */
  settle(flow: TcpFlow, much = false): void {
    this.schedule(flow);
    if (much) this.#env.flushNow();
    else this.#env.flush();
  }

  schedule(flow: TcpFlow): void {
    if (flow.tcb.state === TIME_WAIT) this.#admission.finished(flow);
    if (this.deadlines.schedule(flow, flow.deadline())) this.#env.wake();
  }

  /** A guest's SYN: dials the host. The SYN-ACK waits until the host has connected (`TcpFlow.onConnect`). */
  #open(guest: Neighbour, buf: Uint8Array, dstAt: number, at: number, now: number): void {
    const dst = addressAt(guest.family, buf, dstAt);
    const srcPort = tcpSrc(buf, at);
    const dstPort = tcpDst(buf, at);
    const { gate } = this.#env;
    const service = this.#env.service(dst, dstPort);
    const host = service === null ? this.#env.policy.hostSide(dst) : null;
    if ((service === null && host === null && !gate.active) || dstPort === 0 || srcPort === 0) {
      this.#env.trace.drop("policy");
      this.#refuse(guest, buf, dstAt, at, tcpHeaderLength(buf, at));
      return;
    }
    if (!this.#admission.make(guest.link)) return;
    const names = this.#env.names.of(macNumber(guest.mac, 0), dst.text, now);
    const flow = new TcpFlow(this, "out", guest, srcPort, dst, dstPort, names);
    tcpReadOptions(buf, at, synOptions);
    if (synOptions.mss > 0) guest.shown = Math.max(guest.shown, synOptions.mss + this.#headers(guest));
    const iss = this.#isn.next(dst, dstPort, guest.address, srcPort, now);
    flow.tcb.offer(tcpSeq(buf, at), tcpWindow(buf, at), synOptions, iss, this.#ourMss(guest), this.#rcvScale);
    this.#add(flow);
    if (service !== null) flow.host = service(flow, flow.guestEnd);
    else if (!gate.active) flow.host = this.#env.host.connectTcp({ host: host!, port: dstPort }, flow, flow.names);
    else decide(flow, this.#env, "reset");
  }

  dial(flow: TcpFlow, decision: Decision, nameCheck: NameCheck | null): void {
    const { host, service } = this.#env;
    if (decision.action === "take") {
      this.#chain.connect(flow, flow.meters, null, (events) => decision.taker.stream(events));
    } else if (decision.action === "dial") {
      const { to, redirected, dialName } = decision;
      const local = redirected ? service(addressFromText(to.host), to.port) : null;
      const names = redirected ? NO_NAMES : flow.names;
      this.#chain.connect(flow, flow.meters, nameCheck, (events) =>
        local === null ? host.connectTcp(to, events, names, dialName) : local(events, flow.guestEnd),
      );
    }
  }

  isService(far: IpAddress, port: number): boolean {
    return this.#env.service(far, port) !== null;
  }

  icmpError({ guest, far, guestPort, farPort, tcb }: TcpFlow, cause: IcmpCause): void {
    const gateway = this.#env.policy.gatewayFor(guest.family);
    const first = (guestPort << 16) | farPort;
    const syn = { to: far, proto: PROTO_TCP, size: TCP_HEADER, first, second: tcb.irs };
    this.#env.errors.recalled(guest, gateway, cause, syn);
  }

  /**
   * A client for a guest: dials the guest. Null, and the client is not taken, when there is no room for another
   * connection.
   */
  accept(guest: Neighbour, guestPort: number, client: AcceptedTcp): TcpFlow | null {
    const now = this.now();
    const far = this.#env.policy.guestSide(client.remote.host, guest.family);
    const wanted = client.remote.port;
    let port = wanted;
    const taken = (): boolean => this.#table.get(guest, far.bytes, 0, (guestPort << 16) | port) !== null;
    for (let tries = 0; port === 0 || taken(); tries++) {
      if (tries === 16) {
        this.#env.trace.drop("flow-table-full");
        return null;
      }
      port = 1024 + (this.#env.random.u32() % 64_512);
    }
    if (!this.#env.gate.permits("in", "tcp", guest, guestPort, far, port, [])) {
      this.#env.trace.drop("denied");
      return null;
    }
    if (!this.#admission.make(guest.link)) return null;
    const flow = new TcpFlow(this, "in", guest, guestPort, far, port);
    this.#chain.connect(flow, this.#env.gate.metersIn(guest), null, (events) => client.accept(events));
    this.#add(flow);
    const iss = this.#isn.next(far, port, guest.address, guestPort, now);
    flow.tcb.connect(iss, this.#ourMss(guest), this.#rcvScale, now);
    this.settle(flow);
    return flow;
  }

  /** The MSS that we tell this guest (RFC 9293 section 3.7.1): the MTU less the headers. */
  #ourMss(guest: Neighbour): number {
    return this.#mtu - this.#headers(guest);
  }

  /** Bytes of headers in a packet. */
  #headers(guest: Neighbour): number {
    return (guest.family === 4 ? IPV4_HEADER : IPV6_HEADER) + TCP_HEADER;
  }

  #add(flow: TcpFlow): void {
    this.#admission.enter(flow);
    this.#table.add(flow.guest, flow.far, (flow.guestPort << 16) | flow.farPort, flow);
    this.#env.flows.enter(flow);
    this.#env.flows.opened(flow);
  }

  established(flow: TcpFlow): void {
    this.#admission.established(flow);
  }

  /**
   * The guest's side has ended, the host's has not. When there are too many such connections, the oldest is given up.
   */
  delivers(flow: TcpFlow): void {
    this.#delivering.add(flow);
    if (this.#delivering.size <= MOST_DELIVERING) return;
    const [oldest] = this.#delivering;
    oldest!.giveUpHost();
    this.#env.trace.drop("flow-table-full");
  }

  delivered(flow: TcpFlow): void {
    this.#delivering.delete(flow);
  }

  remove(flow: TcpFlow, reason: CloseReason): void {
    this.stalled.forget(flow);
    this.deadlines.remove(flow);
    if (flow.deadline() !== Number.POSITIVE_INFINITY) this.schedule(flow);
    if (flow.flowState === CLOSED_FLOW) return;
    this.#admission.leave(flow);
    this.#table.remove(flow.guest, flow.far, (flow.guestPort << 16) | flow.farPort);
    this.#env.flows.leave(flow, reason);
  }

  forgetTimer(flow: TcpFlow): void {
    this.deadlines.remove(flow);
  }

  /** Answers a segment that belongs to no connection (RFC 9293 section 3.10.7.1). */
  #refuse(guest: Neighbour, buf: Uint8Array, dstAt: number, at: number, len: number): void {
    const flags = tcpFlags(buf, at);
    if ((flags & RST) !== 0) {
      this.#env.trace.drop("tcp-no-flow");
      return;
    }
    const acked = (flags & ACK) !== 0;
    const size = len - tcpHeaderLength(buf, at) + ((flags & SYN) !== 0 ? 1 : 0) + ((flags & FIN) !== 0 ? 1 : 0);
    this.resets.send({
      guest,
      far: addressAt(guest.family, buf, dstAt),
      farPort: tcpDst(buf, at),
      guestPort: tcpSrc(buf, at),
      seq: acked ? tcpAck(buf, at) : 0,
      ack: acked ? null : seqAdd(tcpSeq(buf, at), size),
    });
  }

  /** A guest has been found: segments that waited for it go out. */
  resolved(guest: Neighbour): void {
    this.stalled.resolved(guest);
  }

  /** A guest is on another cable: segments that waited for it, or for room on the earlier cable, go out. */
  moved(guest: Neighbour): void {
    this.resets.moved(guest);
    this.stalled.moved(guest);
  }

  /** A cable has room. */
  writable(link: Link, now: number): void {
    this.resets.writable(link);
    this.stalled.writable(link, now);
  }

  pollAt(): number {
    return Math.min(this.deadlines.next(), this.#chain.pollAt());
  }

  poll(now: number): void {
    this.#chain.poll(now);
    for (let flow = this.deadlines.due(now); flow !== null; flow = this.deadlines.due(now)) {
      if (flow.deadline() <= now) flow.poll(now);
      this.schedule(flow);
    }
  }

  /** Closes host sockets that linger. The connections themselves have ended before (`FlowRegistry.close`). */
  close(): void {
    const left: TcpFlow[] = [];
    for (let flow = this.deadlines.due(Number.MAX_VALUE); flow !== null; flow = this.deadlines.due(Number.MAX_VALUE))
      left.push(flow);
    // Ending a flow may set its deadline again.
    for (const flow of left) flow.close("network closed");
    this.chunks.close();
  }
}
