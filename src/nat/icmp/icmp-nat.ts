/**
 * ICMP echo through the NAT (RFC 5508), both families.
 *
 * A guest's identifier has one channel on the host (`HostPing`) for all its destinations, until it has been silent for
 * a minute. On the wire the host's own identifier replaces it; sequence number, data, hop limit and DF are the guest's.
 * Requests that have no answer yet are remembered by sequence number. An answer passes only if it comes from the
 * address that was asked, and only once; an error is matched to the very request. No answer is ever made up here.
 *
 * Limits: one guest's identifiers, those of all guests, and the requests under way of each. The oldest makes room.
 */
import { addressAt, type IpAddress, type IpText } from "../../core/address.ts";
import { FlowTable } from "../../core/flow-table.ts";
import type { Limits } from "../../core/limits.ts";
import type { Neighbour } from "../../proto/neighbours.ts";
import { get16 } from "../../wire/bytes.ts";
import { macNumber } from "../../wire/ethernet.ts";
import type { NatContext } from "../context.ts";
import { IdleAdmission } from "../flow/admission.ts";
import type { CloseReason } from "../flow/close-reason.ts";
import { decide } from "../flow/decision.ts";
import { FlowMap } from "../flow/flow-map.ts";
import { EchoFlow, type EchoFlowOwner } from "./echo-flow.ts";
import { JudgedEcho, type JudgedEchoOwner } from "./judged-echo.ts";

/** RFC 5508 section 3.2 wants a minute at least. */
const IDLE_MS = 60_000;

export class IcmpNat implements EchoFlowOwner, JudgedEchoOwner {
  readonly #env: NatContext;
  /** By guest, family and identifier. */
  readonly #flows: FlowTable<EchoFlow>;
  readonly #idle: IdleAdmission<EchoFlow>;
  /** The echoes of one identifier to one address, while flows are judged. */
  readonly #judged: FlowMap<JudgedEcho>;
  readonly #judgedIdle: IdleAdmission<JudgedEcho>;

  constructor(limits: Limits, env: NatContext) {
    this.#env = env;
    this.#judged = new FlowMap(env.random);
    this.#judgedIdle = new IdleAdmission(limits.icmpFlows, limits.icmpFlowsPerGuest);
    this.#flows = new FlowTable(env.random.u32(), env.random.u32());
    this.#idle = new IdleAdmission(limits.icmpFlows, limits.icmpFlowsPerGuest);
  }

  get size(): number {
    return this.#flows.size;
  }

  /** How many entries have a time-out, including flows that wait for a decision or were refused. */
  get timers(): number {
    return this.#idle.size + this.#judgedIdle.size;
  }

  nameOf({ guest, far }: EchoFlow): string | null {
    return this.#env.names.of(macNumber(guest.mac, 0), far.text, this.#env.clock.now())[0] ?? null;
  }

  /**
   * A guest's echo request of `len` bytes at `at`, whose checksum is right, to the address at `dstAt` beyond us. `ttl`
   * is the rest of its hop limit, above zero. False when the guest may not go there.
   */
  receive(
    guest: Neighbour,
    dstAt: number,
    buf: Uint8Array,
    at: number,
    len: number,
    ttl: number,
    df: boolean,
    now: number,
  ): boolean {
    const id = get16(buf, at + 4);
    if (this.#env.gate.active) {
      const judged =
        this.#judged.get(guest, buf, dstAt, id) ?? this.#ask(guest, addressAt(guest.family, buf, dstAt), id, now);
      this.#judgedIdle.used(judged, now + IDLE_MS);
      judged.fromGuest(buf, at, len, ttl, df);
      return true;
    }
    const flow = this.#flows.get(guest.key, guest.family, id);
    if (flow?.sameTo(buf, dstAt)) {
      this.#used(flow, now);
      flow.send(buf, at, len, ttl, df);
      return true;
    }
    const dst = addressAt(guest.family, buf, dstAt);
    const host = this.#env.policy.hostSide(dst);
    if (host === null) return false;
    this.forward(guest, dst, host, buf, at, len, ttl, df);
    return true;
  }

  #ask(guest: Neighbour, dst: IpAddress, id: number, now: number): JudgedEcho {
    this.#makeRoom(this.#judgedIdle, guest);
    const names = this.#env.names.of(macNumber(guest.mac, 0), dst.text, now);
    const flow = new JudgedEcho(guest, dst, id, names, this.#env, this);
    if (this.#judgedIdle.enter(flow, guest.link, now + IDLE_MS)) this.#env.wake();
    this.#judged.add(guest, dst, id, flow);
    this.#env.flows.enter(flow);
    decide(flow, this.#env, "icmp");
    return flow;
  }

  #makeRoom(idle: IdleAdmission<EchoFlow> | IdleAdmission<JudgedEcho>, guest: Neighbour): void {
    const surplus = idle.surplus(guest.link);
    if (surplus === null) return;
    surplus.close("recycled");
    this.#env.trace.drop("icmp-table-full");
  }

  forward(
    guest: Neighbour,
    dst: IpAddress,
    host: IpText,
    buf: Uint8Array,
    at: number,
    len: number,
    ttl: number,
    df: boolean,
  ): void {
    const id = get16(buf, at + 4);
    const now = this.#env.clock.now();
    const flow = this.#flows.get(guest.key, guest.family, id) ?? this.#open(guest, id, dst, now);
    flow.turnTo(dst, host);
    this.#used(flow, now);
    flow.send(buf, at, len, ttl, df);
  }

  /** A flow has been used: its time-out begins again. */
  #used(flow: EchoFlow, now: number): void {
    this.#idle.used(flow, now + IDLE_MS);
  }

  #open(guest: Neighbour, id: number, dst: IpAddress, now: number): EchoFlow {
    this.#makeRoom(this.#idle, guest);
    const flow = new EchoFlow(this.#env, this, guest, id, dst);
    if (this.#idle.enter(flow, guest.link, now + IDLE_MS)) this.#env.wake();
    this.#flows.add(guest.key, guest.family, id, flow);
    this.#env.flows.enter(flow);
    this.#env.flows.opened(flow);
    return flow;
  }

  left(flow: EchoFlow, reason: CloseReason): void {
    this.#idle.leave(flow);
    this.#flows.remove(flow.guest.key, flow.guest.family, flow.guestPort);
    this.#env.flows.leave(flow, reason);
  }

  judgedLeft(flow: JudgedEcho, reason: CloseReason): void {
    this.#judgedIdle.leave(flow);
    this.#judged.remove(flow.guest, flow.far, flow.guestPort);
    this.#env.flows.leave(flow, reason);
  }

  pollAt(): number {
    return Math.min(this.#idle.next(), this.#judgedIdle.next());
  }

  /** Ends flows that have been silent long enough. */
  poll(now: number): void {
    for (let flow = this.#idle.due(now); flow !== null; flow = this.#idle.due(now)) flow.close("idle");
    for (let flow = this.#judgedIdle.due(now); flow !== null; flow = this.#judgedIdle.due(now)) flow.close("idle");
  }
}
