/**
 * Rules and `onFlow` decide about a flow: asked when it begins, once, and applied once. The registry has flows looked at
 * again when rules change (`Flow.revisit`).
 */
import type { Endpoint } from "../../core/address.ts";
import type { Ruling, Taker } from "../../core/gate.ts";
import type { DropReason } from "../../core/trace.ts";
import type { NatContext } from "../context.ts";
import { leaveAll } from "../rules/meters.ts";
import type { NameCheck } from "../rules/name-check.ts";
import { DENIED, type Flow, OPEN, PENDING } from "./flow.ts";

/** First datagrams of a flow that are held while it waits. */
const MOST_HELD = 8;

export type Refusal = "reset" | "icmp" | "drop";

/** What is to be done with a flow. */
export type Decision =
  | { readonly action: "deny"; readonly how: Refusal; readonly reason: DropReason }
  /** Within the process it ends at `taker`. */
  | { readonly action: "take"; readonly taker: Taker }
  /** The host dials `to`; `redirected` when that is another place than the guest's. A rule about names has allowed `dialName`. */
  | {
      readonly action: "dial";
      readonly to: Endpoint;
      readonly redirected: boolean;
      readonly dialName: string | null;
    };

/** A flow that can be decided about. */
export interface JudgedFlow extends Flow {
  /** Its state is OPEN or DENIED by now. `nameCheck` is to see a connection's first bytes. */
  decided(decision: Decision, nameCheck: NameCheck | null): void;
}

/** Asks about a flow, which is PENDING until the answer. A guest that may go nowhere is refused by `closed`. */
export function decide(flow: JudgedFlow, env: NatContext, closed: Refusal): void {
  flow.flowState = PENDING;
  const { proto, guestEnd: guest, farEnd: remote, names: hosts } = flow;
  env.gate.judge({ proto, guest, remote, hosts, qtype: 0 }, (ruling, { nameCheck, meters, dialName }) => {
    // The guest may have given up meanwhile, or the network closed.
    if (flow.flowState !== PENDING) return leaveAll(meters);
    flow.meters = meters;
    const decision = decisionOf(ruling, flow, env, closed, dialName);
    flow.flowState = decision.action === "deny" ? DENIED : OPEN;
    flow.decided(decision, nameCheck);
    env.flush();
  });
}

function decisionOf(ruling: Ruling, flow: Flow, env: NatContext, closed: Refusal, dialName: string | null): Decision {
  if (ruling.action === "take") return ruling;
  if (ruling.action === "deny") return { action: "deny", how: ruling.how, reason: ruling.reason ?? "denied" };
  if (ruling.action === "redirect") return { action: "dial", to: ruling.to, redirected: true, dialName: null };
  const host = env.policy.hostSide(flow.far);
  if (host === null) return { action: "deny", how: closed, reason: "policy" };
  return { action: "dial", to: { host, port: flow.farPort }, redirected: false, dialName };
}

/** The first datagrams of a flow that waits, as they came but for their addresses. */
export class HeldDatagrams {
  readonly #held: { readonly bytes: Uint8Array; readonly ttl: number; readonly df: boolean }[] = [];

  /** False when there are too many. */
  hold(buf: Uint8Array, at: number, len: number, ttl: number, df: boolean): boolean {
    if (this.#held.length >= MOST_HELD) return false;
    this.#held.push({ bytes: buf.slice(at, at + len), ttl, df });
    return true;
  }

  /** Hands all of them on, in their order, once. */
  release(to: (buf: Uint8Array, at: number, len: number, ttl: number, df: boolean) => void): void {
    for (const { bytes, ttl, df } of this.#held.splice(0)) to(bytes, 0, bytes.length, ttl, df);
  }
}
