/** The forwards that a user opens and closes: all that a rule describes, or none. */

import { type Abortable, whenAborted } from "../control/abortable.ts";
import { parseIp } from "../control/addresses.ts";
import { ConfigError } from "../control/errors.ts";
import { resolveForwards } from "../control/forward-guests.ts";
import { isPort, signalOf } from "../control/shape.ts";
import { endpointText } from "../core/address.ts";
import { closedError } from "../core/closed.ts";
import type { ForwardRule, StackConfig } from "../core/config.ts";
import type { CurrentLan } from "../embed/current-lan.ts";
import { reasonOf } from "../host/reason.ts";
import type { OpenForward } from "../nat/forwards.ts";
import type { Tape } from "./tape.ts";

const FORWARDS_A_TURN = 16;

export class Published {
  readonly #lan: CurrentLan;
  readonly #config: StackConfig;
  readonly #tape: Tape;
  readonly #ended: AbortSignal;

  /** `ended` is aborted when the network closes. */
  constructor(lan: CurrentLan, config: StackConfig, tape: Tape, ended: AbortSignal) {
    this.#lan = lan;
    this.#config = config;
    this.#tape = tape;
    this.#ended = ended;
  }

  /** Opens the configured forwards. Rejects with an `Error` of one line when the host refuses. */
  async open(): Promise<void> {
    try {
      this.#tape.told("open");
      await this.#lan.stack.open();
    } catch (error) {
      throw forwardError(error);
    }
  }

  async add(rule: ForwardRule | string, options: Abortable): Promise<OpenForward[]> {
    const signal = signalOf(options);
    signal?.throwIfAborted();
    if (typeof rule !== "string" && !isRule(rule))
      throw new ConfigError("publish", rule, "expected a rule like 2222:22, or { proto, host, guest }");
    const rules = typeof rule === "string" ? resolveForwards(rule, this.#config) : [rule];
    const open: OpenForward[] = [];
    const close = (): void => {
      for (const forward of open) this.remove(forward);
    };
    try {
      for (const each of rules) {
        open.push(await this.#open(each));
        // Listening on a port happens at once, so a range of thousands would hold up all packets. Other work has a turn
        // after each `FORWARDS_A_TURN` ports.
        if (open.length % FORWARDS_A_TURN === 0) await nextTurn();
      }
    } catch (error) {
      close();
      throw forwardError(error);
    }
    const ended = this.#ended.aborted;
    if (signal?.aborted || ended) close();
    signal?.throwIfAborted();
    if (ended) throw closedError();
    if (signal !== undefined) whenAborted(signal, close, this.#ended);
    return open;
  }

  /**
   * Opens one forward. If a recording begins meanwhile, another network takes this one's place, and the forward is
   * opened there.
   */
  async #open(rule: ForwardRule): Promise<OpenForward> {
    const { forwards } = this.#lan.stack;
    this.#tape.told("addForward", rule);
    try {
      return await forwards.add(rule);
    } catch (error) {
      if (this.#ended.aborted) throw closedError();
      if (forwards === this.#lan.stack.forwards) throw error;
      return this.#open(rule);
    }
  }

  /** Closes a forward. False when it was not open. */
  remove(forward: OpenForward): boolean {
    this.#tape.told("removeForward", { ...forward.rule, host: forward.address });
    return this.#lan.stack.forwards.remove(forward);
  }

  list(): readonly OpenForward[] {
    return this.#lan.stack.forwards.list();
  }
}

/** Nothing has checked the types of a JavaScript program. */
function isRule(rule: ForwardRule): boolean {
  const { proto, host, guest } = rule ?? {};
  if ((proto !== "tcp" && proto !== "udp") || typeof host !== "object" || typeof guest !== "object") return false;
  if (host === null || guest === null || !isPort(guest.port, 1)) return false;
  if (guest.host !== null && (typeof guest.host !== "string" || parseIp(guest.host) === null)) return false;
  if ("path" in host) return typeof host.path === "string" && !host.path.includes("\0");
  return typeof host.host === "string" && parseIp(host.host) !== null && isPort(host.port, 0);
}

/** Resolves after all events that wait now have been handled. */
function nextTurn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

/** An `Error` of one line for a forward that the host refuses, with the system's `code`. */
function forwardError(cause: unknown): Error {
  const { code, address, port } = cause as NodeJS.ErrnoException & {
    readonly address?: string;
    readonly port?: number;
  };
  const at =
    address === undefined
      ? ""
      : ` at ${port === undefined || port < 0 ? address : endpointText({ host: address, port })}`;
  const error: NodeJS.ErrnoException = new Error(`cannot open a forward${at}: ${reasonOf(cause)}`, { cause });
  if (code !== undefined) error.code = code;
  return error;
}
