/** The rules that flows are judged by now: the user's, and those for single flows that answers have allowed (`ask`). */
import type { IpAddress } from "../../core/address.ts";
import { NO_RULES, type Rule, type RuleSet } from "./rules.ts";

/** Rules for single flows that are remembered for as long as those flows may live. */
const MOST_ONCE = 1_024;

export class RulesInForce {
  readonly #asRuled: (address: IpAddress) => IpAddress;
  readonly #learn: boolean;
  /** What single flows have been allowed by: it counts when they are looked at again, and not for others. */
  readonly #once: Map<string, Rule> = new Map();
  #set: RuleSet;
  #withOnce: RuleSet;
  #deniesNames: Rule | null;

  /** `asRuled` gives an address as rules mean it. With `learn` the default allows. */
  constructor(set: RuleSet, asRuled: (address: IpAddress) => IpAddress, learn: boolean) {
    this.#asRuled = asRuled;
    this.#learn = learn;
    this.#set = this.#resolved(set);
    this.#withOnce = this.#set;
    this.#deniesNames = deniesNames(this.#set);
  }

  /** For flows that begin. */
  get set(): RuleSet {
    return this.#set;
  }

  /** For flows that somebody has been asked about, or that exist. */
  get withOnce(): RuleSet {
    return this.#withOnce;
  }

  /** The first rule that denies a name: what no rule about a name or an address has allowed is looked at for those. */
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

  /** The rules, with the gateway under one of its names: whoever writes about the router means it, too. */
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
