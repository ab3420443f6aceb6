/**
 * `onFlow`: a user's function as the stack's gate. It is called from a microtask, never inside a call of the stack's,
 * so it may use the network at once. The number of questions under way is limited, and so is their time.
 */
import { checkVerdict, type Flow, type FlowTaker, type FlowVerdict, type OnFlow } from "../control/on-flow.ts";
import type { IpText } from "../core/address.ts";
import type { FlowGate, GatedFlow, Ruling, Taker } from "../core/gate.ts";
import type { Limits } from "../core/limits.ts";
import { Quota } from "../core/quota.ts";
import { GuestDatagrams } from "./guest-datagrams.ts";
import { GuestSocket } from "./guest-socket.ts";

/** Milliseconds after which a DNS client has given up. */
const DNS_MS = 10_000;
const DENY: Ruling = { action: "deny", how: "reset" };
const DROP: Ruling = { action: "deny", how: "drop" };
const ALLOW: Ruling = { action: "allow" };

export interface FlowHookOptions {
  readonly onFlow: OnFlow;
  /** Milliseconds that a flow waits for the answer. */
  readonly timeout: number;
  /**
   * Flows that wait at a time, of all guests and of each. Flows beyond are dropped in silence, so that the guest tries
   * again.
   */
  readonly limits: Limits;
  /** The cable whose quota a flow of this guest counts against. */
  readonly cableOf: (host: IpText) => object | null;
  /** The function has thrown, has given an invalid answer, or has not answered in time. */
  readonly failed: (error: Error, flow: Flow) => void;
  /** A flow was dropped because too many wait. */
  readonly busy: () => void;
}

interface Question {
  readonly flow: Flow;
  readonly cable: object | null;
  readonly abort: AbortController;
  readonly done: (ruling: Ruling) => void;
  readonly until: number;
}

export class FlowHook implements FlowGate {
  readonly active = true;
  readonly #options: FlowHookOptions;
  /** The oldest question first. */
  readonly #asked: Set<Question> = new Set();
  readonly #quota: Quota;
  #timer: NodeJS.Timeout | null = null;
  #closed = false;

  constructor(options: FlowHookOptions) {
    this.#options = options;
    this.#quota = new Quota(options.limits.heldFlows, options.limits.heldFlowsPerGuest);
  }

  judge(gated: GatedFlow, done: (ruling: Ruling) => void): void {
    const cable = this.#options.cableOf(gated.guest.host);
    if (!this.#quota.allows(cable)) {
      this.#options.busy();
      queueMicrotask(() => done(DROP));
      return;
    }
    const abort = new AbortController();
    const flow: Flow = { ...gated, host: gated.hosts[0], signal: abort.signal };
    const question = { flow, cable, abort, done, until: performance.now() + this.#options.timeout };
    this.#asked.add(question);
    this.#quota.take(cable);
    this.#arm();
    queueMicrotask(() => void this.#ask(question));
  }

  close(): void {
    this.#closed = true;
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
    for (const { abort } of this.#asked) abort.abort();
    this.#asked.clear();
  }

  async #ask(question: Question): Promise<void> {
    const { flow } = question;
    let ruling: Ruling;
    try {
      ruling = rulingOf(await this.#options.onFlow(flow), flow);
    } catch (error) {
      if (this.#asked.has(question)) this.#options.failed(asError(error), flow);
      ruling = DENY;
    }
    if (this.#answered(question)) question.done(ruling);
  }

  /** False when the question has been answered before. */
  #answered(question: Question): boolean {
    if (!this.#asked.delete(question)) return false;
    this.#quota.give(question.cable);
    return true;
  }

  #arm(): void {
    const first = this.#asked.values().next();
    if (first.done || this.#timer !== null || this.#closed) return;
    const wait = Math.max(1, Math.ceil(first.value.until - performance.now()));
    this.#timer = setTimeout(() => this.#sweep(), wait).unref();
  }

  #sweep(): void {
    this.#timer = null;
    const now = performance.now();
    for (const question of this.#asked) {
      if (question.until > now) break;
      this.#answered(question);
      const late = new Error(`onFlow did not answer within ${this.#options.timeout} ms`);
      question.abort.abort(late);
      this.#options.failed(late, question.flow);
      question.done(DENY);
    }
    this.#arm();
  }
}

function rulingOf(answer: FlowVerdict, flow: Flow): Ruling {
  const verdict = checkVerdict(answer, flow.proto === "dns" ? 53 : flow.remote.port);
  if (verdict === "allow") return ALLOW;
  if (typeof verdict === "function") return { action: "take", taker: takerOf(verdict, flow) };
  if ("deny" in verdict) return { action: "deny", how: verdict.deny };
  const { host, port } = verdict.redirect;
  return { action: "redirect", to: { host, port: port! } };
}

function takerOf(take: FlowTaker, flow: Flow): Taker {
  return {
    stream(events) {
      const socket = new GuestSocket({ remote: flow.guest, local: flow.remote });
      // Until the connection is established, nobody may see its events.
      const early = (): void => {};
      socket.once("error", early);
      socket.prependOnceListener("connect", () => {
        socket.removeListener("error", early);
        take(socket, flow);
      });
      const plug = socket.plugIn(events);
      plug.answer();
      return plug;
    },
    datagrams(send, ended) {
      const datagrams = new GuestDatagrams(send, ended, flow.proto === "dns" ? DNS_MS : 0);
      queueMicrotask(() => take(datagrams, flow));
      return datagrams;
    },
  };
}

function asError(error: unknown): Error {
  return error instanceof Error ? error : new Error(String(error));
}
