/**
 * A guest's echo identifier and its channel on the host. Requests that have no answer yet are remembered by sequence
 * number: an answer passes only if it comes from the address that was asked, and only once.
 */
import { addressFromText, type IpAddress, type IpText } from "../../core/address.ts";
import type { HostIcmpError, HostPing, HostPingEvents } from "../../core/host-net.ts";
import type { Neighbour } from "../../proto/neighbours.ts";
import { get16, get32 } from "../../wire/bytes.ts";
import { ICMP_ECHO_REPLY, ICMP_HEADER } from "../../wire/icmp.ts";
import { ICMP6_ECHO_REPLY } from "../../wire/icmp6.ts";
import { PROTO_ICMP } from "../../wire/ipv4.ts";
import { PROTO_ICMP6 } from "../../wire/ipv6.ts";
import type { NatContext } from "../context.ts";
import type { IdleFlow } from "../flow/admission.ts";
import type { CloseReason } from "../flow/close-reason.ts";
import { Flow, NO_NAMES } from "../flow/flow.ts";
import { icmpCauseOf } from "./icmp-cause.ts";

/** Requests under way of one identifier. The low bits of the sequence number choose the slot. */
const SLOTS = 256;
/** The same sequence number may go to this many hosts at once, as a guest does that looks for its neighbours. */
const WAYS = 8;

/** The parts of `IcmpNat` that an echo flow needs. */
export interface EchoFlowOwner {
  /** The name by which the guest knows a flow's far end now; null for none. */
  nameOf(flow: EchoFlow): string | null;
  /** The flow has ended: removes it from its table. */
  left(flow: EchoFlow, reason: CloseReason): void;
}

export class EchoFlow extends Flow implements IdleFlow, HostPingEvents {
  expires = 0;
  readonly farPort = 0;
  readonly #env: NatContext;
  readonly #nat: EchoFlowOwner;
  readonly #ping: HostPing;
  /** The latest destination, kept so that no address is made for each packet. */
  #to: IpAddress;
  #host: IpText = "";
  // Requests under way, by slot: the sequence number (-1: none), the first word of the message, its length, and the
  // destination as the guest and as the host knows it.
  readonly #seqs: Int32Array = new Int32Array(SLOTS).fill(-1);
  readonly #words: Int32Array = new Int32Array(SLOTS);
  readonly #sizes: Int32Array = new Int32Array(SLOTS);
  readonly #tos: (IpAddress | null)[] = new Array<IpAddress | null>(SLOTS).fill(null);
  readonly #hosts: IpText[] = new Array<IpText>(SLOTS).fill("");
  /** The slot that `#take` has emptied, and which of the slots of a sequence number was overwritten last. */
  #taken = 0;
  #oldest = 0;

  constructor(env: NatContext, nat: EchoFlowOwner, guest: Neighbour, id: number, dst: IpAddress) {
    super("icmp", "out", guest, id, NO_NAMES);
    this.#env = env;
    this.#nat = nat;
    this.#to = dst;
    this.#ping = env.host.openPing(guest.family, this);
  }

  /** The destination of the latest request. */
  get far(): IpAddress {
    return this.#to;
  }

  override get farName(): string | null {
    return this.#nat.nameOf(this);
  }

  override describe(): readonly string[] {
    return [`echo identifier ${this.guestPort}, ${this.#seqs.filter((seq) => seq >= 0).length} requests under way`];
  }

  /** The rules judge each destination by itself (`JudgedEcho`). */
  override revisit(): null {
    return null;
  }

  guestError(): boolean {
    return false;
  }

  sameTo(buf: Uint8Array, dstAt: number): boolean {
    return this.#host !== "" && this.#to.at(buf, dstAt);
  }

  turnTo(dst: IpAddress, host: IpText): void {
    this.#to = dst;
    this.#host = host;
  }

  send(buf: Uint8Array, at: number, len: number, ttl: number, df: boolean): void {
    const seq = get16(buf, at + 6);
    const slot = this.#slotFor(seq);
    this.#seqs[slot] = seq;
    this.#words[slot] = get32(buf, at);
    this.#sizes[slot] = len;
    this.#tos[slot] = this.#to;
    this.#hosts[slot] = this.#host;
    this.bytesUp += len;
    this.#ping.send(seq, buf, at + ICMP_HEADER, len - ICMP_HEADER, ttl, df, this.#host);
  }

  onReply(seq: number, bytes: Uint8Array, at: number, len: number, from: IpText): void {
    const to = this.#take(seq, from);
    if (to === null) return;
    this.bytesDown += len + ICMP_HEADER;
    const { guest } = this;
    const type = guest.family === 4 ? ICMP_ECHO_REPLY : ICMP6_ECHO_REPLY;
    this.#env.egress.icmp(guest, to, type, 0, (this.guestPort << 16) | seq, bytes, at, len);
    this.#env.flush();
  }

  onPingLost(): void {
    this.#env.trace.drop("host-full");
  }

  onPingError(seq: number, to: IpText, error: HostIcmpError): void {
    const dst = this.#take(seq, to);
    if (dst === null) return;
    const { guest } = this;
    const { policy, errors } = this.#env;
    const cause = icmpCauseOf(error, guest.family);
    if (cause === null) return;
    const from = error.from === null ? policy.gatewayFor(guest.family) : policy.guestSide(error.from, guest.family);
    const slot = this.#taken;
    const proto = guest.family === 4 ? PROTO_ICMP : PROTO_ICMP6;
    const second = (this.guestPort << 16) | seq;
    const request = { to: dst, proto, size: this.#sizes[slot]!, first: this.#words[slot]!, second };
    errors.recalled(guest, from, cause, request, error.mtu);
    this.#env.flush();
  }

  close(reason: CloseReason): void {
    this.#ping.close();
    this.#nat.left(this, reason);
  }

  /** The slot for a request: a free one of its sequence number's slots; if none is free, the oldest. */
  #slotFor(seq: number): number {
    const first = (seq % (SLOTS / WAYS)) * WAYS;
    for (let slot = first; slot < first + WAYS; slot++) {
      const same = this.#seqs[slot] === seq && this.#hosts[slot] === this.#host;
      if (this.#tos[slot] === null || same) return slot;
    }
    this.#oldest = (this.#oldest + 1) % WAYS;
    return first + this.#oldest;
  }

  /**
   * Removes request `seq` to `far` from the requests under way. Returns its destination; null when there is no such
   * request.
   */
  #take(seq: number, far: IpText): IpAddress | null {
    const first = (seq % (SLOTS / WAYS)) * WAYS;
    for (let slot = first; slot < first + WAYS; slot++) {
      const to = this.#tos[slot]!;
      const host = this.#hosts[slot]!;
      if (this.#seqs[slot] !== seq || to === null) continue;
      if (host !== far && !addressFromText(far).is(addressFromText(host))) continue;
      this.#seqs[slot] = -1;
      this.#tos[slot] = null;
      this.#taken = slot;
      return to;
    }
    this.#env.trace.drop("icmp-unasked");
    return null;
  }
}
