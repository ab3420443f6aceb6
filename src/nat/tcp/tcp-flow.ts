/**
 * One TCP connection through the NAT: a guest's endpoint (`proto/tcp`) on one side, a host socket on the other.
 *
 * Either side may end in order (FIN ↔ end) or break (RST ↔ reset), and the other side is told the same. The flow leaves
 * the table when the guest's side is closed. A host socket that still has bytes to deliver lingers until its far end
 * has taken nothing for `LINGER_MS`.
 */

import type { IpAddress } from "../../core/address.ts";
import type { Timed } from "../../core/deadlines.ts";
import { type HostTcp, type HostTcpEvents, type Landing, MOST_READ } from "../../core/host-net.ts";
import type { Slab } from "../../core/link.ts";
import type { DropReason } from "../../core/trace.ts";
import { type Neighbour, tooBig } from "../../proto/neighbours.ts";
import type { ChunkPool, GuestChunks } from "../../proto/tcp/chunk-pool.ts";
import { describeTcb } from "../../proto/tcp/describe.ts";
import { TcpEndpoint } from "../../proto/tcp/endpoint.ts";
import { output } from "../../proto/tcp/output.ts";
import { CLOSED, HELD, STATE_NAMES, SYN_SENT, type TcpUser, TIME_WAIT } from "../../proto/tcp/types.ts";
import { ETH_HEADER } from "../../wire/ethernet.ts";
import { seqLt } from "../../wire/seq.ts";
import { TCP_HEADER } from "../../wire/tcp.ts";
import type { AdmittedTcp } from "../flow/admission.ts";
import { type CloseReason, type Closing, closingOf, closingOfDial, closingOfRuling } from "../flow/close-reason.ts";
import type { Decision, JudgedFlow } from "../flow/decision.ts";
import { Flow, type FlowCounts, type GuestError, NO_NAMES } from "../flow/flow.ts";
import type { IcmpCause } from "../icmp/icmp-cause.ts";
import type { NameCheck } from "../rules/name-check.ts";
import type { RuleGate } from "../rules/rule-gate.ts";
import { GuestPath, type PathContext, type PathFlow } from "./guest-path.ts";
import type { GatheredFlow, PayloadGatherer } from "./payload-gatherer.ts";
import type { ReceiveBudget, Receiver } from "./receive-budget.ts";
import type { MeasuredFlow, WindowLimits } from "./window-limits.ts";

const LINGER_MS = 120_000;
/** A host's read of this many bytes fills a good part of the cable. */
const MUCH = 16_384;
/** The least that a host socket is read by, in bytes. */
const LEAST_READ = 512;

/** The parts of `TcpNat` that a connection needs. */
export interface TcpFlowOwner extends PathContext {
  readonly chunks: ChunkPool;
  readonly gatherer: PayloadGatherer;
  readonly receiveBudget: ReceiveBudget;
  readonly windowLimits: WindowLimits;
  now(): number;
  /** How many bytes a connection may hold now for the guest that holds `chunks`. */
  sendLimit(chunks: GuestChunks): number;
  flush(): void;
  /** The flow's deadline may have changed. */
  schedule(flow: TcpFlow): void;
  /** Called after a host's callback: sets timers, and has touched cables flushed. */
  settle(flow: TcpFlow, much?: boolean): void;
  forgetTimer(flow: TcpFlow): void;
  established(flow: TcpFlow): void;
  /** Connects the flow to where `decision` sends it. */
  dial(flow: TcpFlow, decision: Decision, nameCheck: NameCheck | null): void;
  /** Sends the guest an ICMP error about its SYN, from the gateway. */
  icmpError(flow: TcpFlow, cause: IcmpCause): void;
  /** Whether a service within the process answers at this address and port. */
  isService(far: IpAddress, port: number): boolean;
  /** How many connections there are. */
  readonly size: number;
  /** Called when the guest's side has ended and the host's has not, and then when the host's has ended, too. */
  delivers(flow: TcpFlow): void;
  delivered(flow: TcpFlow): void;
  /** The guest's side has ended. */
  remove(flow: TcpFlow, reason: CloseReason): void;
}

export class TcpFlow
  extends Flow
  implements TcpUser, HostTcpEvents, Timed, GatheredFlow, MeasuredFlow, Receiver, AdmittedTcp, JudgedFlow, PathFlow
{
  readonly nat: TcpFlowOwner;
  readonly far: IpAddress;
  readonly farPort: number;
  readonly tcb: TcpEndpoint;
  /** The name that the connection's first bytes have shown; null if they showed none, or nobody looks. */
  shown: string | null = null;
  host: HostTcp | null = null;
  hostClosed = false;
  touched = false;
  /** The flow's acknowledgement waits for the end of a turn. */
  owes = false;
  /**
   * Bytes that the host and the guest have sent in this interval; whether the host sent much in the one before
   * (`WindowLimits`).
   */
  intervalDown = 0;
  intervalUp = 0;
  large = false;
  firstRun = -1;
  lastRun = -1;
  pendingUp = 0;
  waiting = 0;
  #lingerAt: number = Number.POSITIVE_INFINITY;
  #paused = false;
  /** What the guest's connections hold. */
  readonly #chunks: GuestChunks;
  /** Bytes of headers in front of a segment. */
  readonly #headers: number;

  constructor(
    nat: TcpFlowOwner,
    direction: "in" | "out",
    guest: Neighbour,
    guestPort: number,
    far: IpAddress,
    farPort: number,
    names: readonly string[] = NO_NAMES,
  ) {
    super("tcp", direction, guest, guestPort, names);
    this.nat = nat;
    this.far = far;
    this.farPort = farPort;
    const path = new GuestPath(this, nat);
    this.#headers = path.headers;
    this.#chunks = nat.chunks.of(this.cable);
    this.tcb = new TcpEndpoint(path, this, this.#chunks);
  }

  deadline(): number {
    return Math.min(this.tcb.deadline(), this.#lingerAt);
  }

  poll(now: number): void {
    if (this.#lingerAt <= now) this.giveUpHost();
    else this.tcb.poll(now);
  }

  /** Ends a connection whose guest is done and whose host takes too long. */
  giveUpHost(): void {
    this.#lingerAt = Number.POSITIVE_INFINITY;
    this.#resetHost("ETIMEDOUT");
    this.nat.forgetTimer(this);
  }

  /** The window that the guest may be offered now, in bytes. */
  get receiveLimit(): number {
    return this.nat.windowLimits.receiveLimit(this.tcb.mss);
  }

  // Events of the guest's side (TcpUser)

  deliver(slab: Slab, at: number, len: number): void {
    this.bytesUp += len;
    if (!this.hostClosed) this.nat.gatherer.append(this, slab, at, len);
    else if (this.tcb.state !== CLOSED) {
      // RFC 1122 section 4.2.2.13: the guest sends data that nobody can take any more, and gets a RST instead of an
      // ACK.
      this.close("undeliverable");
    }
  }

  onFin(): void {
    if (this.hostClosed) return;
    this.nat.gatherer.flush(this);
    this.noteWaiting();
    this.host!.end();
  }

  onEstablished(): void {
    this.nat.established(this);
    this.host!.resume();
  }

  onAcked(): void {
    if (!this.#paused || this.tcb.finQueued) return;
    const limit = this.nat.sendLimit(this.#chunks);
    // A buffer that is filled by two reads at once would keep the guest waiting meanwhile.
    if (this.tcb.sendBuffer.length >= Math.max(limit / 2, limit - MOST_READ)) return;
    this.#paused = false;
    this.host!.resume();
  }

  onAborted(reason: "reset" | "timeout"): void {
    // A guest that had ended in order, and has forgotten the connection since, as our probe has shown: what it said before
    // is its host's, as it would be if the host's own kernel had it.
    if (reason === "reset" && this.tcb.finReceived && this.tcb.probes > 0) this.onClosed();
    else this.close(reason);
  }

  onClosed(): void {
    if (!this.hostClosed) {
      this.#lingerAt = this.nat.now() + LINGER_MS;
      this.nat.delivers(this);
    }
    this.close("closed");
  }

  room(): number {
    const limit = Math.min(this.receiveLimit, this.nat.receiveBudget.window);
    const { host } = this;
    if (host === null) return limit;
    return Math.min(limit - host.backlog, host.windowCap ?? limit) - this.pendingUp;
  }

  holds(): boolean {
    return !this.hostClosed && this.host !== null && (this.host.backlog > 0 || this.pendingUp > 0);
  }

  /** Notes a change in how many bytes wait for the host. */
  noteWaiting(): void {
    if (this.hostClosed || this.host === null) return;
    this.nat.receiveBudget.note(this, this.host.backlog);
  }

  /**
   * Whether another segment is too much: the host has not taken the earlier ones, and the guest has as much as it may.
   */
  tooMuch(): boolean {
    return (this.waiting > 0 || this.pendingUp > 0) && this.nat.receiveBudget.full(this.cable);
  }

  // Events of the host's side (HostTcpEvents)

  onConnect(): void {
    this.tcb.accept(this.nat.now());
    this.nat.settle(this);
  }

  /**
   * While memory is scarce, no more than the flow may hold. A first read is no more than all flows could bring at once.
   */
  readMost(more: boolean): number {
    const { chunks } = this.nat;
    const left = chunks.scarce
      ? this.nat.sendLimit(this.#chunks) - this.tcb.sendBuffer.length
      : Number.POSITIVE_INFINITY;
    return Math.max(Math.floor(more ? left : Math.min(left, chunks.firstRead(this.nat.size))), LEAST_READ);
  }

  onData(bytes: Uint8Array, at: number, len: number): void {
    const now = this.#reads(len);
    this.tcb.send(bytes, at, len, now);
    this.#hasRead(len);
  }

  landing(bytes: Uint8Array, at: number, len: number, most: number): Landing | null {
    const landing = this.tcb.land(bytes, at, len, most);
    if (landing !== null) this.bytesDown += len;
    return landing;
  }

  landed(len: number): void {
    const now = this.#reads(len);
    this.tcb.landed(len, now);
    this.#hasRead(len);
  }

  /** Before `len` bytes of the host's go to the guest; returns the time. */
  #reads(len: number): number {
    const now = this.nat.now();
    this.bytesDown += len;
    this.nat.windowLimits.receiving(this, len, now);
    this.tcb.flightLimit = this.#flightLimit();
    return now;
  }

  #hasRead(len: number): void {
    if (!this.#paused && this.tcb.sendBuffer.length >= this.nat.sendLimit(this.#chunks)) {
      this.#paused = true;
      this.host!.pause();
    }
    this.nat.settle(this, len >= MUCH);
  }

  onEnd(): void {
    this.tcb.close(this.nat.now());
    this.nat.settle(this);
  }

  onDrain(): void {
    this.noteWaiting();
    if (this.tcb.state === CLOSED) {
      // The flow only lingers, and the host has taken bytes: its time begins again.
      this.#lingerAt = this.nat.now() + LINGER_MS;
      return;
    }
    this.tcb.windowOpened(this.nat.now());
    this.nat.settle(this);
  }

  onClose(code: string | null): void {
    this.hostClosed = true;
    this.#lingerAt = Number.POSITIVE_INFINITY;
    this.nat.gatherer.forget(this);
    this.nat.receiveBudget.note(this, 0);
    if (this.tcb.state === CLOSED) {
      this.nat.delivered(this);
      this.nat.forgetTimer(this);
      return;
    }
    if (code === null) {
      // Both directions of the host's side ended in order; the guest's side may still be under way.
      this.tcb.close(this.nat.now());
      this.nat.settle(this);
      return;
    }
    if (this.tcb.state === HELD) this.#close(code, closingOfDial(code));
    else if (this.tcb.state !== TIME_WAIT) this.close(code);
    this.nat.flush();
  }

  // What the registry asks of a flow (Flow)

  decided(decision: Decision, nameCheck: NameCheck | null): void {
    if (decision.action === "deny") this.refuse(decision.how, decision.reason);
    else this.nat.dial(this, decision, nameCheck);
  }

  /** Refuses the connection before it has begun. */
  refuse(how: "reset" | "icmp" | "drop", reason: DropReason): void {
    this.nat.egress.drop(reason);
    this.#close(reason, closingOfRuling(how));
  }

  /** A connection is judged by the names of its address, and by the name that its first bytes have shown. */
  override revisit(gate: RuleGate): CloseReason | null {
    const { direction, guest, guestPort, far, farPort, shown } = this;
    if (direction === "out" && this.nat.isService(far, farPort)) return null;
    const reason = super.revisit(gate);
    if (reason !== null || shown === null) return reason;
    return gate.permits(direction, "tcp", guest, guestPort, far, farPort, [shown]) ? null : "denied";
  }

  /**
   * The error counts only if the quoted segment is under way (RFC 5927 section 4.1). Then "refused" ends a forward's
   * dial, and a smaller MTU makes smaller segments (RFC 1191). Any other error is left to retransmission: an
   * established connection survives it (RFC 5927 section 5.2).
   */
  guestError(error: GuestError, seq: number, mtu: number): boolean {
    const { tcb, guest } = this;
    if (seqLt(seq, tcb.sndUna) || !seqLt(seq, tcb.sndMax)) return false;
    if (error === "too-big") {
      tooBig(guest, mtu);
      tcb.shrinkMss(guest.most - (this.#headers - ETH_HEADER) - TCP_HEADER, this.nat.now());
      this.nat.settle(this);
    } else if (error === "refused" && tcb.state === SYN_SENT) {
      this.close("refused");
      this.nat.flush();
    }
    return true;
  }

  override get counts(): FlowCounts {
    const { state, rtt, retransmissions } = this.tcb;
    return { state: STATE_NAMES[state]!, rtt: rtt.srtt, retransmissions };
  }

  override describe(now: number): readonly string[] {
    const { host } = this;
    const state = host === null ? "none" : this.hostClosed ? "closed" : this.#paused ? "paused" : "open";
    return [...describeTcb(this.tcb, now), `host socket: ${state}, backlog ${host?.backlog ?? 0}`];
  }

  makeRoom(): void {
    this.close("half-open");
  }

  finish(): void {
    this.tcb.finish();
  }

  close(reason: CloseReason): void {
    this.#close(reason, closingOf(reason));
  }

  #close(reason: CloseReason, { guest, cause, errno }: Closing): void {
    if (guest === "icmp" || guest === "icmp and rst") this.nat.icmpError(this, cause);
    if (guest === "rst" || guest === "icmp and rst") this.tcb.abort();
    else if (guest !== "told") this.tcb.drop();
    if (errno !== null) this.#resetHost(errno);
    this.nat.remove(this, reason);
  }

  /** Sends what may go now, and sets its timers; called at the end of a batch and when a cable has room. */
  goOn(now: number): void {
    this.tcb.flightLimit = this.#flightLimit();
    if (this.tcb.state !== CLOSED) output(this.tcb, now);
    this.nat.schedule(this);
  }

  #flightLimit(): number {
    return this.large ? this.nat.windowLimits.largeFlight(this.tcb.mss) : Number.POSITIVE_INFINITY;
  }

  #resetHost(code: string): void {
    if (this.hostClosed || this.host === null) return;
    this.hostClosed = true;
    this.nat.delivered(this);
    this.nat.gatherer.forget(this);
    this.nat.receiveBudget.note(this, 0);
    this.host.reset(code);
  }
}
