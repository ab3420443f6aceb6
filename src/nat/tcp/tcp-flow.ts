/**
 * One TCP connection through the NAT: a guest's endpoint (`proto/tcp`) on one side, a host socket on the other.
 *
 * Either side may end in order (FIN ↔ end) or break (RST ↔ reset), and each is told to the other as what it was. The
 * flow leaves the table when the guest's side is closed; a host socket that still has bytes to deliver lingers, for
 * `LINGER_MS` at the most.
 */

import type { IpAddress } from "../../core/address.ts";
import type { Timed } from "../../core/deadlines.ts";
import type { HostTcp, HostTcpEvents } from "../../core/host-net.ts";
import { COMPLETE, type Link, MAX_FRAME, type Slab, SUM_UNDONE } from "../../core/link.ts";
import type { Neighbour } from "../../proto/neighbours.ts";
import { output } from "../../proto/tcp/output.ts";
import { CLOSED, HELD, Tcb, type TcpPath, type TcpUser, TIME_WAIT } from "../../proto/tcp/tcb.ts";
import { PROTO_TCP } from "../../wire/ipv4.ts";
import { headersOf, patchHeaders, templateSum } from "../egress.ts";
import { type Meter, NO_METERS } from "../rules/meters.ts";
import type { GatheredFlow } from "./payload-gatherer.ts";
import type { Receiver } from "./receive-budget.ts";
import type { TcpNat } from "./tcp-nat.ts";

const LINGER_MS = 120_000;
/** A read of the host's that fills a good part of the cable. */
const MUCH = 16_384;
const NO_HOSTS: readonly string[] = [];
const NO_TEMPLATE = new Uint8Array(0);

export class TcpFlow implements TcpPath, TcpUser, HostTcpEvents, Timed, GatheredFlow, Receiver {
  readonly nat: TcpNat;
  readonly guest: Neighbour;
  /** The guest's when it began: where it counts. */
  readonly cable: Link | null;
  readonly guestPort: number;
  /** The far end as the guest knows it. */
  readonly far: IpAddress;
  readonly farPort: number;
  readonly inbound: boolean;
  /** Names by which guests know the far end, the latest first. */
  readonly hosts: readonly string[];
  readonly tcb: Tcb;
  /** The name that its first bytes have shown; null while there is none, or where nobody looks. */
  shown: string | null = null;
  /** Where it counts until it ends, and what paces it. */
  meters: readonly Meter[] = NO_METERS;
  host: HostTcp | null = null;
  hostClosed = false;
  inTable = false;
  touched = false;
  /** Its acknowledgement waits for the end of a turn. */
  owes = false;
  /** What the host and the guest have sent in this interval, and whether the host's was much in the one before (`WindowLimits`). */
  intervalDown = 0;
  intervalUp = 0;
  large = false;
  firstRun = -1;
  lastRun = -1;
  pendingUp = 0;
  waiting = 0;
  bytesUp = 0;
  bytesDown = 0;
  heapIndex = -1;
  heapTime = 0;
  #lingerAt: number = Number.POSITIVE_INFINITY;
  #paused = false;
  #template: Uint8Array = NO_TEMPLATE;
  #base = 0;
  #epoch = -1;
  /** Bytes in front of a segment. */
  readonly #headers: number;
  readonly #pseudo: number;

  constructor(
    nat: TcpNat,
    guest: Neighbour,
    guestPort: number,
    far: IpAddress,
    farPort: number,
    inbound: boolean,
    hosts: readonly string[] = NO_HOSTS,
  ) {
    this.hosts = hosts;
    this.nat = nat;
    this.guest = guest;
    this.cable = guest.link;
    this.guestPort = guestPort;
    this.far = far;
    this.farPort = farPort;
    this.inbound = inbound;
    this.#headers = headersOf(guest.family);
    this.#pseudo = far.sum + guest.address.sum + PROTO_TCP;
    this.tcb = new Tcb(this, this, nat.chunks);
  }

  deadline(): number {
    return Math.min(this.tcb.deadline(), this.#lingerAt);
  }

  poll(now: number): void {
    if (this.#lingerAt <= now) {
      this.#lingerAt = Number.POSITIVE_INFINITY;
      this.#resetHost("ETIMEDOUT");
      return;
    }
    this.tcb.poll(now);
  }

  /** The window that it may be offered now. */
  get receiveLimit(): number {
    return this.nat.windowLimits.receiveLimit(this.tcb.mss);
  }

  // The way to the guest (TcpPath)

  get tx(): Uint8Array {
    return this.guest.link!.tx;
  }

  reserve(len: number): number {
    const link = this.guest.link;
    if (link === null) {
      this.nat.unresolved(this);
      return -1;
    }
    const at = link.reserve(this.#headers + len);
    if (at < 0) {
      this.nat.blocked.add(this);
      return -1;
    }
    if (this.#epoch !== this.guest.epoch) {
      this.#epoch = this.guest.epoch;
      this.#template = this.nat.egress.template(this.guest, this.far, PROTO_TCP);
      this.#base = templateSum(this.#template);
    }
    patchHeaders(this.#template, this.#base, link.tx, at, len);
    return at + this.#headers;
  }

  offload(): number {
    const offload = this.guest.link?.offload ?? null;
    if (offload === null) return 0;
    if (this.guest.family === 4 ? offload.tcp4 : offload.tcp6)
      return Math.min(offload.largest, MAX_FRAME) - this.#headers;
    return offload.sums ? SUM_UNDONE : 0;
  }

  commit(len: number, undone: number = COMPLETE): void {
    const link = this.guest.link!;
    link.commit(this.#headers + len, undone);
    this.nat.touchLink(link);
  }

  pseudo(len: number): number {
    return this.#pseudo + len;
  }

  resetLost(seq: number, ack: number): void {
    const { guest, far, farPort, guestPort } = this;
    this.nat.resets.owe({ guest, far, farPort, guestPort, seq, ack });
  }

  // What the guest's side tells (TcpUser)

  deliver(slab: Slab, at: number, len: number): void {
    this.bytesUp += len;
    if (!this.hostClosed) this.nat.gatherer.append(this, slab, at, len);
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
    if (this.#paused && !this.tcb.finQueued && this.tcb.sendBuffer.length * 2 < this.nat.sendLimit()) {
      this.#paused = false;
      this.host!.resume();
    }
  }

  onAborted(reason: "reset" | "timeout"): void {
    this.#resetHost(reason === "reset" ? "ECONNRESET" : "ETIMEDOUT");
    this.nat.remove(this, reason);
  }

  onClosed(): void {
    if (!this.hostClosed) this.#lingerAt = this.nat.now() + LINGER_MS;
    this.nat.remove(this, "closed");
  }

  room(): number {
    const limit = Math.min(this.receiveLimit, this.nat.receiveBudget.window);
    return this.host === null ? limit : limit - this.host.backlog - this.pendingUp;
  }

  /** What waits for the host has changed. */
  noteWaiting(): void {
    if (this.hostClosed || this.host === null) return;
    this.nat.receiveBudget.note(this, this.host.held ?? this.host.backlog);
  }

  /** Whether another segment is too much: the host has not taken those before, and the guest has as much as it may. */
  tooMuch(): boolean {
    return (this.waiting > 0 || this.pendingUp > 0) && this.nat.receiveBudget.full(this.cable);
  }

  // What the host's side tells (HostTcpEvents)

  onConnect(): void {
    this.tcb.accept(this.nat.now());
    this.nat.settle(this);
  }

  onData(bytes: Uint8Array, at: number, len: number): void {
    const now = this.nat.now();
    this.bytesDown += len;
    this.nat.windowLimits.receiving(this, len, now);
    this.tcb.flightLimit = this.#flightLimit();
    this.tcb.send(bytes, at, len, now);
    if (!this.#paused && this.tcb.sendBuffer.length >= this.nat.sendLimit()) {
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
    this.tcb.windowOpened(this.nat.now());
    this.nat.settle(this);
  }

  onClose(code: string | null): void {
    this.hostClosed = true;
    this.#lingerAt = Number.POSITIVE_INFINITY;
    this.nat.gatherer.forget(this);
    this.nat.receiveBudget.note(this, 0);
    if (this.tcb.state === CLOSED) {
      this.nat.deadlines.remove(this);
      return;
    }
    if (code === null) {
      // Both directions of the host's side ended in order; the guest's may still be under way.
      this.tcb.close(this.nat.now());
      this.nat.settle(this);
      return;
    }
    if (this.tcb.state === HELD) this.nat.connectFailed(this, code);
    else if (this.tcb.state !== TIME_WAIT) {
      this.tcb.abort();
      this.nat.remove(this, code);
    }
    this.nat.flush();
  }

  /** Makes room before it is established: the guest may try again, a client of a forward has waited too long. */
  forget(): void {
    this.tcb.drop();
    this.#resetHost("ETIMEDOUT");
    this.nat.remove(this, "half-open");
  }

  /** Ends both sides at once: the network closes, or the flow has to make room. */
  kill(reason: string): void {
    this.tcb.abort();
    this.#resetHost("ENETDOWN");
    this.nat.remove(this, reason);
  }

  /** Sends what may go now; called at the end of a batch and when a cable has room. */
  push(now: number): void {
    this.tcb.flightLimit = this.#flightLimit();
    if (this.tcb.state !== CLOSED) output(this.tcb, now);
  }

  #flightLimit(): number {
    return this.large ? this.nat.windowLimits.largeFlight(this.tcb.mss) : Number.POSITIVE_INFINITY;
  }

  #resetHost(code: string): void {
    if (this.hostClosed || this.host === null) return;
    this.hostClosed = true;
    this.nat.gatherer.forget(this);
    this.nat.receiveBudget.note(this, 0);
    this.host.reset(code);
  }
}
