/** The rules that are in force: the user's, and rules that allow single flows because somebody was asked (`ask`). */
import type { IpAddress } from "../../core/address.ts";
import { NO_RULES, type Rule, type RuleSet } from "./rules.ts";

/** How many rules for single flows are remembered, at most for as long as those flows live. */
const MOST_ONCE = 1_024;

export class RulesInForce {
  readonly #asRuled: (address: IpAddress) => IpAddress;
  readonly #learn: boolean;
  /** Rules that allow single flows. They hold when those flows are judged again, and for no other flow. */
  readonly #once: Map<string, Rule> = new Map();
  #set: RuleSet;
  #withOnce: RuleSet;
  #deniesNames: Rule | null;

  /** `asRuled` gives the address by which rules know an address. With `learn` the default allows. */
  constructor(set: RuleSet, asRuled: (address: IpAddress) => IpAddress, learn: boolean) {
    this.#asRuled = asRuled;
    this.#learn = learn;
    this.#set = this.#resolved(set);
    this.#withOnce = this.#set;
    this.#deniesNames = deniesNames(this.#set);
  }

  /** The rules for flows that begin. */
  get set(): RuleSet {
    return this.#set;
  }

  /** The rules for flows that exist, or that somebody has been asked about. */
  get withOnce(): RuleSet {
    return this.#withOnce;
  }

  /**
   * The first rule that denies a name; null for none. If there is one, flows that only the default allows are checked
   * by name.
   */
  get deniesNames(): Rule | null {
    return this.#deniesNames;
  }

  replace(set: RuleSet): void {
    this.#set = this.#resolved(set);
    this.#withOnce = { ...this.#set, rules: [...this.#set.rules, ...this.#once.values()] };
    this.#deniesNames = deniesNames(this.#set);
  }

  allowOnce(rule: Rule): void {
    this.#once.delete(rule.text);
    this.#once.set(rule.text, rule);
    if (this.#once.size > MOST_ONCE) this.#once.delete(this.#once.keys().next().value!);
    this.#withOnce = this.#resolved({ ...this.#set, rules: [...this.#set.rules, ...this.#once.values()] });
  }

  /**
   * The rules with the gateway under one of its two addresses: a rule about the router's link-local address means it,
   * too.
   */
  #resolved(set: RuleSet): RuleSet {
    if (set === NO_RULES) return set;
    const rules = set.rules.map((rule) =>
      rule.net === null ? rule : { ...rule, net: { ...rule.net, address: this.#asRuled(rule.net.address) } },
    );
    return { ...set, rules, allow: set.allow || this.#learn };
  }
}

function deniesNames({ rules }: RuleSet): Rule | null {
  const denies = ({ allow, direction, proto, domain }: Rule): boolean =>
    !allow && direction === "out" && domain !== null && (proto === null || proto === "tcp");
  return rules.find(denies) ?? null;
}
