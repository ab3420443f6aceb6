/** The rules that a user replaces and asks about while the network runs, and the rules that answers (`ask`) make. */
import { ConfigError } from "../control/errors.ts";
import { parseFlow } from "../control/explain.ts";
import { type AskVerdict, checkAskVerdict, type Question } from "../control/on-ask.ts";
import { parseRules } from "../control/rules.ts";
import { textList } from "../control/shape.ts";
import type { StackConfig } from "../core/config.ts";
import type { Asker } from "../embed/asker.ts";
import type { CurrentLan } from "../embed/current-lan.ts";
import type { Explanation } from "../nat/rules/rule-gate.ts";
import type { Subject } from "../nat/rules/rules.ts";
import type { FlowExplanation } from "./info.ts";
import type { Tape } from "./tape.ts";

/** The parts of the network that the rules need. */
export interface Ruled {
  readonly lan: CurrentLan;
  readonly config: StackConfig;
  readonly tape: Tape;
  /** The asker that is asked before the default refuses a flow; null for none. */
  readonly asker: Asker | null;
}

export class NetworkRules {
  readonly #network: Ruled;
  /** Rules that answers have made. */
  readonly #answered: Set<string> = new Set();
  #rules: readonly string[];

  /** `rules` are the rules that the stack was made with. */
  constructor(network: Ruled, rules: readonly string[]) {
    this.#network = network;
    this.#rules = rules;
  }

  /** Replaces the rules. Throws `ConfigError`; then nothing has changed. */
  set(rules: readonly string[]): void {
    const { lan, tape } = this.#network;
    const parsed = parseRules(textList("rules", rules));
    tape.told("rules", rules);
    lan.stack.setRules(parsed);
    this.#rules = [...rules];
    this.#settle();
  }

  /** Withdraws questions that a rule answers now: their flows are decided anew. */
  #settle(): void {
    const { asker } = this.#network;
    for (const { id, rule } of asker?.list() ?? []) {
      const flow = rule.replace(/^allow /, "").replace(/ [a-z]+=[^ ]+/g, "");
      if (!this.#decidedByDefault(flow)) asker!.answer(id, "again");
    }
  }

  #decidedByDefault(flow: string): boolean {
    try {
      return /^default /.test(this.explain(flow).rule);
    } catch {
      // The rule does not describe a single flow (but a whole range, say), so the question stays.
      return true;
    }
  }

  /** The rules in force. */
  list(): readonly string[] {
    return this.#rules;
  }

  /**
   * The verdict of the rules on a flow, without opening it. Throws `ConfigError` if `flow` does not describe a flow.
   */
  explain(flow: string): FlowExplanation {
    if (typeof flow !== "string") throw new ConfigError("flow", flow, "expected a text like tcp api.example.org:443");
    const { lan, config, tape } = this.#network;
    const { firstGuest } = config;
    const { stack } = lan;
    const said = (about: Subject): Explanation => tape.aside(() => stack.explain(about));
    const subject = parseFlow(flow, firstGuest, stack.policy.dns);
    const [name] = subject.names;
    const query =
      subject.proto === "dns" || name === undefined ? null : parseFlow(`dns ${name}`, firstGuest, stack.policy.dns);
    const dns = query === null ? null : said({ ...subject, ...query, guest: subject.guest, mac: subject.mac });
    return { flow, ...said(subject), dns };
  }

  /** Questions that wait for an answer. */
  asks(): Question[] {
    return this.#network.asker?.list() ?? [];
  }

  /** Answers a question. False when there is no such question. Throws `ConfigError` if `verdict` is none. */
  answer(id: string, verdict: AskVerdict): boolean {
    const { asker } = this.#network;
    checkAskVerdict("answer", verdict);
    const rule = asker?.ruleOf(id) ?? null;
    if (asker === null || rule === null) return false;
    if (verdict === "always" || verdict === "never") {
      const made = verdict === "always" ? rule : rule.replace(/^allow/, "deny").replace(/ [a-z]+=allow/g, "");
      this.#answered.add(made);
      this.set(this.#rules.includes(made) ? this.#rules : [...this.#rules, made]);
    }
    asker.answer(id, verdict === "allow" ? "once" : verdict === "always" ? "again" : "no");
    return true;
  }

  /** The rules that answers have made. */
  answered(): readonly string[] {
    return [...this.#answered];
  }
}
