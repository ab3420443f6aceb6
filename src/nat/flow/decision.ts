/**
 * Decides about a flow by the rules and `onFlow`: they are asked once, when the flow begins, and their answer is
 * applied once. When the rules change, the registry has existing flows judged again (`Flow.revisit`).
 */
import type { Endpoint } from "../../core/address.ts";
import type { Ruling, Taker } from "../../core/gate.ts";
import type { DropReason } from "../../core/trace.ts";
import type { NatContext } from "../context.ts";
import { leaveAll } from "../rules/meters.ts";
import type { NameCheck } from "../rules/name-check.ts";
import { DENIED, type Flow, OPEN, PENDING } from "./flow.ts";

/** How many datagrams of a flow are held while the flow waits for its decision. */
const MOST_HELD = 8;

export type Refusal = "reset" | "icmp" | "drop";

/** The outcome for a flow. */
export type Decision =
  | { readonly action: "deny"; readonly how: Refusal; readonly reason: DropReason }
  /** `taker`, within the process, is the far end. */
  | { readonly action: "take"; readonly taker: Taker }
  /**
   * The host dials `to`. `redirected`: `to` is not where the guest wanted to go. `dialName`: the name that a rule
   * allowed.
   */
  | {
      readonly action: "dial";
      readonly to: Endpoint;
      readonly redirected: boolean;
      readonly dialName: string | null;
    };

/** A flow that rules and `onFlow` decide about. */
export interface JudgedFlow extends Flow {
  /** Called when the state is OPEN or DENIED. `nameCheck`, if there is one, is to see a connection's first bytes. */
  decided(decision: Decision, nameCheck: NameCheck | null): void;
}

/**
 * Has a flow decided about; it is PENDING until the answer. If guests may go nowhere, the flow is refused as `closed`
 * says.
 */
export function decide(flow: JudgedFlow, env: NatContext, closed: Refusal): void {
  flow.flowState = PENDING;
  const { proto, guestEnd: guest, farEnd: remote, names: hosts } = flow;
  env.gate.judge({ proto, guest, remote, hosts, qtype: 0 }, (ruling, { nameCheck, meters, dialName }) => {
    // Meanwhile the guest may have given up, or the network may have closed.
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

/** The first datagrams of a flow that waits for its decision. Addresses are not kept: they are the flow's. */
export class HeldDatagrams {
  readonly #held: { readonly bytes: Uint8Array; readonly ttl: number; readonly df: boolean }[] = [];

  /** Keeps a copy of a datagram. False when too many are held already. */
  hold(buf: Uint8Array, at: number, len: number, ttl: number, df: boolean): boolean {
    if (this.#held.length >= MOST_HELD) return false;
    this.#held.push({ bytes: buf.slice(at, at + len), ttl, df });
    return true;
  }

  /** Hands on all held datagrams in their order, and forgets them. */
  release(to: (buf: Uint8Array, at: number, len: number, ttl: number, df: boolean) => void): void {
    for (const { bytes, ttl, df } of this.#held.splice(0)) to(bytes, 0, bytes.length, ttl, df);
  }
}
