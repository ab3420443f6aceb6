/** The rules of a network as its user sees them: replaced while it runs, explained, and made by answers (`ask`). */
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

/** What the rules are about. */
export interface Ruled {
  readonly lan: CurrentLan;
  readonly config: StackConfig;
  readonly tape: Tape;
  /** Who is asked before the default refuses; null for nobody. */
  readonly asker: Asker | null;
}

export class NetworkRules {
  readonly #network: Ruled;
  /** Rules that answers have made. */
  readonly #answered: Set<string> = new Set();
  #rules: readonly string[];

  /** `rules` are those that the stack has been made with. */
  constructor(network: Ruled, rules: readonly string[]) {
    this.#network = network;
    this.#rules = rules;
  }

  /** Throws `ConfigError`, and then nothing has changed. */
  set(rules: readonly string[]): void {
    const { lan, tape } = this.#network;
    const parsed = parseRules(textList("rules", rules));
    tape.told("rules", rules);
    lan.stack.setRules(parsed);
    this.#rules = [...rules];
    this.#settle();
  }

  /** Questions that a rule answers now are asked no more: their flows are looked at anew. */
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
      // It cannot be asked about as one flow (a whole range, say): somebody still answers.
      return true;
    }
  }

  /** Those in force. */
  list(): readonly string[] {
    return this.#rules;
  }

  /** Throws `ConfigError` about what is no flow. */
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

  /** False when there is no such question. Throws `ConfigError` about what is no verdict. */
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
