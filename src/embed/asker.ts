/**
 * `ask`: flows that only the default would refuse wait for a person's or a program's verdict.
 *
 * Theory of operation. Each flow comes with the narrowest rule that would allow it. Each such rule is one question
 * for each cable, however many flows wait for its answer: a guest that tries again causes no new question. "Once"
 * lets the waiting flows begin; "always" also adds the rule to the network's. If nobody answers within `ASK_MS`, the
 * flows are refused. A refusal holds for `QUIET_MS`, so a guest cannot have its owner asked without end. The number
 * of questions is limited, in all and for each guest, and so is the number of flows that wait.
 */
import { type AskVerdict, checkAskVerdict, type OnAsk, type Question } from "../control/on-ask.ts";
import { parseRules } from "../control/rules.ts";
import type { IpText } from "../core/address.ts";
import type { Limits } from "../core/limits.ts";
import { Quota } from "../core/quota.ts";
import type { AskedFlow, FlowAsker } from "../nat/rules/rule-gate.ts";
import type { Rule } from "../nat/rules/rules.ts";

const ASK_MS = 30_000;
const QUIET_MS = 10_000;
/** How many refusals are remembered. */
const MOST_QUIET = 1_024;

type Answer = Rule | "again" | null;

interface Asked {
  readonly id: string;
  readonly key: string;
  readonly flow: AskedFlow;
  readonly cable: object | null;
  readonly until: number;
  readonly waiting: ((answer: Answer) => void)[];
  readonly timer: NodeJS.Timeout;
  /** Aborted when the question ends otherwise, so its answer no longer counts. Null without `onAsk`. */
  readonly abort: AbortController | null;
}

export interface AskerOptions {
  readonly limits: Limits;
  readonly cableOf: (host: IpText) => object | null;
  /** A new question. */
  readonly asked: (question: Question) => void;
  /** The function that is asked in addition to people; its answer is passed to `answer`. Null without one. */
  readonly onAsk: OnAsk | null;
  readonly answer: (id: string, verdict: AskVerdict) => void;
  /** `onAsk` has thrown, or given an invalid answer. */
  readonly failed: (error: Error, question: Question) => void;
  /** A question or a flow was refused because too many wait. */
  readonly full: () => void;
}

export class Asker implements FlowAsker {
  readonly #options: AskerOptions;
  readonly #byKey: Map<string, Asked> = new Map();
  readonly #byId: Map<string, Asked> = new Map();
  readonly #questions: Quota;
  readonly #flows: Quota;
  /** When each refused question may be asked again. */
  readonly #quiet: Map<string, number> = new Map();
  #next = 1;

  constructor(options: AskerOptions) {
    const { asks, asksPerGuest, heldFlows, heldFlowsPerGuest } = options.limits;
    this.#options = options;
    this.#questions = new Quota(asks, asksPerGuest);
    this.#flows = new Quota(heldFlows, heldFlowsPerGuest);
  }

  ask(flow: AskedFlow, done: (answer: Answer) => void): void {
    const refuse = (): void => queueMicrotask(() => done(null));
    const key = `${flow.cable ?? ""} ${flow.rule}`;
    const now = performance.now();
    if ((this.#quiet.get(key) ?? 0) > now || !sayable(flow.rule)) return refuse();
    const cable = this.#options.cableOf(flow.guest);
    const known = this.#byKey.get(key);
    if (!this.#flows.allows(cable) || (known === undefined && !this.#questions.allows(cable))) {
      this.#options.full();
      return refuse();
    }
    this.#flows.take(cable);
    if (known !== undefined) return void known.waiting.push(done);
    this.#questions.take(cable);
    const id = `a${this.#next++}`;
    const timer = setTimeout(() => this.#end(asked, null), ASK_MS).unref();
    const abort = this.#options.onAsk === null ? null : new AbortController();
    const asked: Asked = { id, key, flow, cable, until: now + ASK_MS, waiting: [done], timer, abort };
    this.#byKey.set(key, asked);
    this.#byId.set(id, asked);
    queueMicrotask(() => {
      this.#options.asked(shown(asked));
      void this.#askFunction(asked);
    });
  }

  async #askFunction(asked: Asked): Promise<void> {
    const { onAsk, answer, failed } = this.#options;
    const { id, abort } = asked;
    if (onAsk === null || abort === null) return;
    const question = shown(asked);
    let verdict: AskVerdict;
    try {
      verdict = checkAskVerdict("onAsk", await onAsk({ ...question, signal: abort.signal }));
    } catch (error) {
      // If the question has ended meanwhile, its answer no longer matters.
      if (this.#byId.has(id)) failed(error instanceof Error ? error : new Error(String(error)), question);
      verdict = "deny";
    }
    if (this.#byId.has(id)) answer(id, verdict);
  }

  list(): Question[] {
    return [...this.#byId.values()].map(shown);
  }

  /** The rule that a question would add; null when there is no such question. */
  ruleOf(id: string): string | null {
    return this.#byId.get(id)?.flow.rule ?? null;
  }

  /** With "again", the rule has already been added to the network's. */
  answer(id: string, verdict: "once" | "again" | "no"): void {
    const asked = this.#byId.get(id);
    if (asked === undefined) return;
    const once = (): Rule => parseRules([asked.flow.rule, "default deny"]).rules[0]!;
    this.#end(asked, verdict === "no" ? null : verdict === "again" ? "again" : once());
  }

  close(): void {
    for (const { timer, abort } of this.#byId.values()) {
      clearTimeout(timer);
      abort?.abort();
    }
    this.#byId.clear();
    this.#byKey.clear();
  }

  #end(asked: Asked, answer: Answer): void {
    if (!this.#byId.delete(asked.id)) return;
    this.#byKey.delete(asked.key);
    clearTimeout(asked.timer);
    asked.abort?.abort();
    this.#questions.give(asked.cable);
    this.#flows.give(asked.cable, asked.waiting.length);
    if (answer === null) {
      this.#quiet.delete(asked.key);
      this.#quiet.set(asked.key, performance.now() + QUIET_MS);
      if (this.#quiet.size > MOST_QUIET) this.#quiet.delete(this.#quiet.keys().next().value!);
    }
    for (const done of asked.waiting) done(answer);
  }
}

function shown({ id, flow, waiting, until }: Asked): Question {
  const { rule, proto, guest, cable, host, remote } = flow;
  return {
    ...{ id, rule, proto, guest, cable, host, remote },
    waiting: waiting.length,
    millisLeft: Math.max(0, Math.round(until - performance.now())),
  };
}

/** Whether a rule can express the flow. There is no rule, for instance, for a name with control characters. */
function sayable(rule: string): boolean {
  try {
    parseRules([rule, "default deny"]);
    return true;
  } catch {
    return false;
  }
}
