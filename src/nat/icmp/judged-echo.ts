/**
 * Echo requests while flows are judged: a flow is the echoes of one identifier of a guest to one address. The first
 * requests wait for the decision. It is remembered until the flow has been silent for a minute. If a taker is the far
 * end, each payload that it sends is the answer to the oldest request that has none.
 */
import type { IpAddress, IpText } from "../../core/address.ts";
import type { DatagramEnd } from "../../core/gate.ts";
import type { DropReason } from "../../core/trace.ts";
import type { Neighbour } from "../../proto/neighbours.ts";
import { get16, get32 } from "../../wire/bytes.ts";
import { ICMP_ECHO_REPLY, ICMP_HEADER } from "../../wire/icmp.ts";
import { ICMP6_ECHO_REPLY } from "../../wire/icmp6.ts";
import { PROTO_ICMP } from "../../wire/ipv4.ts";
import { PROTO_ICMP6 } from "../../wire/ipv6.ts";
import type { NatContext } from "../context.ts";
import type { IdleFlow } from "../flow/admission.ts";
import type { CloseReason } from "../flow/close-reason.ts";
import { type Decision, HeldDatagrams, type JudgedFlow, type Refusal } from "../flow/decision.ts";
import { CLOSED_FLOW, DENIED, Flow, PENDING } from "../flow/flow.ts";
import { PROHIBITED } from "./icmp-cause.ts";

/** How many requests a taker may leave unanswered. */
const UNANSWERED = 64;

/** The parts of `IcmpNat` that a judged echo needs. */
export interface JudgedEchoOwner {
  /** Sends an echo request for `far` to `host`. */
  forward(
    guest: Neighbour,
    far: IpAddress,
    host: IpText,
    buf: Uint8Array,
    at: number,
    len: number,
    ttl: number,
    df: boolean,
  ): void;
  /** The flow has ended: removes it from its table. */
  judgedLeft(flow: JudgedEcho, reason: CloseReason): void;
}

export class JudgedEcho extends Flow implements IdleFlow, JudgedFlow {
  expires = 0;
  readonly far: IpAddress;
  readonly farPort = 0;
  readonly #env: NatContext;
  readonly #nat: JudgedEchoOwner;
  readonly #held = new HeldDatagrams();
  #host: IpText | null = null;
  #end: DatagramEnd | null = null;
  /** How packets are refused while the flow is DENIED, and the drop reason that counts them. */
  #how: Refusal = "drop";
  #reason: DropReason = "denied";
  /** Sequence numbers of requests that the taker has not answered. */
  readonly #unanswered: number[] = [];

  constructor(
    guest: Neighbour,
    far: IpAddress,
    id: number,
    names: readonly string[],
    env: NatContext,
    nat: JudgedEchoOwner,
  ) {
    super("icmp", "out", guest, id, names);
    this.far = far;
    this.#env = env;
    this.#nat = nat;
  }

  /** Not listed: users see the identifier's own flow (`EchoFlow`). */
  override get listed(): boolean {
    return false;
  }

  fromGuest(buf: Uint8Array, at: number, len: number, ttl: number, df: boolean): void {
    if (this.flowState === PENDING) {
      if (!this.#held.hold(buf, at, len, ttl, df)) this.#env.trace.drop("gate-busy");
    } else if (this.flowState === DENIED) this.#refuse(buf, at, len);
    else if (this.#end !== null) {
      if (this.#unanswered.length >= UNANSWERED) this.#unanswered.shift();
      this.#unanswered.push(get16(buf, at + 6));
      this.#end.receive(buf, at + ICMP_HEADER, len - ICMP_HEADER);
    } else this.#nat.forward(this.guest, this.far, this.#host!, buf, at, len, ttl, df);
  }

  decided(decision: Decision): void {
    if (decision.action === "take") {
      this.#end = decision.taker.datagrams(
        (bytes) => this.#answer(bytes),
        () => {
          if (this.flowState !== CLOSED_FLOW) this.close("closed");
        },
      );
    } else if (decision.action === "dial") this.#host = decision.to.host;
    else {
      this.#how = decision.how;
      this.#reason = decision.reason;
    }
    this.#held.release((buf, at, len, ttl, df) => this.fromGuest(buf, at, len, ttl, df));
  }

  guestError(): boolean {
    return false;
  }

  close(reason: CloseReason): void {
    this.#nat.judgedLeft(this, reason);
    this.#end?.close();
  }

  #answer(bytes: Uint8Array): void {
    const seq = this.#unanswered.shift();
    if (seq === undefined || this.flowState === CLOSED_FLOW) return;
    const type = this.guest.family === 4 ? ICMP_ECHO_REPLY : ICMP6_ECHO_REPLY;
    this.#env.egress.icmp(this.guest, this.far, type, 0, (this.guestPort << 16) | seq, bytes, 0, bytes.length);
    this.#env.flush();
  }

  #refuse(buf: Uint8Array, at: number, len: number): void {
    const { trace, policy, errors } = this.#env;
    trace.drop(this.#reason);
    if (this.#how === "drop") return;
    const { guest } = this;
    const proto = guest.family === 4 ? PROTO_ICMP : PROTO_ICMP6;
    const gateway = policy.gatewayFor(guest.family);
    const request = { to: this.far, proto, size: len, first: get32(buf, at), second: get32(buf, at + 4) };
    errors.recalled(guest, gateway, PROHIBITED, request);
  }
}
