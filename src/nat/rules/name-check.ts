/**
 * Judges the first bytes of a TCP connection.
 *
 * A connection that a rule about a domain allows is held to the name that its first bytes show: that name is judged as
 * if the guest had begun a connection by it. Where rules deny names, connections that need no name are looked at, too.
 * Where rules are learned, the first bytes tell which rules the connection would need.
 */
import type { ShownName } from "../../proto/shown-name.ts";
import { farName } from "./far-end.ts";
import { needOf, remedyOf, type Want } from "./remedy.ts";
import { because, type RuleReports } from "./rule-reports.ts";
import { isNameOf, judge, type Rule, type Subject } from "./rules.ts";
import type { RulesInForce } from "./rules-in-force.ts";

/**
 * Called with what a connection's first bytes have shown. "other": a protocol in which no name shows. "none": too few
 * bytes to tell, within the limits of time and room. True lets the connection go on; a refusal has been reported.
 */
export interface NameCheck {
  (shown: ShownName | "other" | "none"): boolean;
  /** The check only looks: bytes that cannot be read pass, too. */
  readonly lenient?: boolean;
  /** The rule that has refused the connection. */
  refusedBy?: string;
}

type Shown = Parameters<NameCheck>[0];
/** Reports a refusal, and returns false. */
type Refuse = (rule: string, what: string, remedy: string | null) => false;

export class NameChecks {
  readonly #rules: RulesInForce;
  readonly #reports: RuleReports;
  readonly #learn: boolean;

  constructor(rules: RulesInForce, reports: RuleReports, learn: boolean) {
    this.#rules = rules;
    this.#reports = reports;
    this.#learn = learn;
  }

  /**
   * The check for a connection that `by` has allowed (null: the default); null when nobody looks at its first bytes.
   */
  of(subject: Subject, guestPort: number, by: Rule | null): NameCheck | null {
    let check: NameCheck | null = null;
    const refuse: Refuse = (rule, what, remedy) => {
      if (check !== null) check.refusedBy = rule;
      this.#reports.refused(subject, guestPort, because(rule, what), remedy);
      return false;
    };
    if (by?.domain) check = (shown) => this.#named(subject, by, shown, refuse);
    else if (this.#rules.deniesNames !== null && !by?.net) check = (shown) => this.#denied(subject, shown, refuse);
    if (this.#learn && by === null && subject.names.length > 0) check = this.#learning(subject, guestPort, check);
    return check;
  }

  /** Judges the name that a connection has shown, which the rule `begun` allowed. */
  #named(subject: Subject, begun: Rule, shown: Shown, refuse: Refuse): boolean {
    const known = subject.names.find((each) => begun.domain !== null && isNameOf(begun.domain, each)) ?? null;
    const unnamed = remedyOf(subject, known, "unnamed");
    if (shown === "none") return refuse(begun.text, "no name in time", null);
    if (shown === "other") return begun.terms.unnamed !== false || refuse(begun.text, "no name", unnamed);
    const { by: where, name, flaw, encrypted } = shown;
    if (flaw !== null) return refuse(begun.text, `${where}: ${flaw}`, null);
    let terms = begun.terms;
    if (name !== null) {
      const asked = { ...subject, port: shown.port ?? subject.port, names: [name] };
      const found = judge(this.#rules.withOnce, asked);
      if (!found.allow)
        return refuse(found.rule, `${where} name ${name}`, remedyOf(farName(name) === null ? subject : asked, name));
      if (found.by?.domain) terms = found.by.terms;
    } else if (terms.unnamed !== true) return refuse(begun.text, `${where} without a name`, unnamed);
    const ech = `TLS with an encrypted name, beside ${name ?? "none"}`;
    return !encrypted || terms.ech || refuse(begun.text, ech, remedyOf(subject, name ?? known, "ech"));
  }

  /**
   * Judges a connection that needs no name: does it show a name that a rule denies? A connection that hides its name,
   * by its form or by being slow, might ask for a denied one.
   */
  #denied(subject: Subject, shown: Shown, refuse: Refuse): boolean {
    const denying = this.#rules.deniesNames?.text;
    if (shown === "other" || denying === undefined) return true;
    if (shown === "none") return refuse(denying, "no name in time", null);
    if (shown.flaw !== null) return refuse(denying, `${shown.by}: ${shown.flaw}`, null);
    if (shown.unread === true) return refuse(denying, "HTTP/2 without TLS, whose names are not read", null);
    if (shown.name === null) return true;
    const { allow, rule, by } = judge(this.#rules.set, { ...subject, names: [shown.name] });
    return allow || !by?.domain || refuse(rule, `${shown.by} name ${shown.name}`, null);
  }

  /**
   * Looks at a connection that only the default has allowed, and reports which rules it would need: one about the name
   * that it shows, or one about the address if that name cannot be relied on.
   */
  #learning(subject: Subject, guestPort: number, before: NameCheck | null): NameCheck {
    const [name = null] = subject.names;
    const begun = needOf(subject, name, null);
    const address = needOf(subject, null, null);
    let last = begun;
    const look = (shown: Shown): boolean => {
      if (before !== null && !before(shown)) return false;
      if (shown === "other") return true;
      let needs = address;
      let instead: string | undefined = begun;
      if (shown !== "none" && shown.flaw === null) {
        const want: Want = shown.encrypted ? "ech" : shown.name === null ? "unnamed" : null;
        const asked = shown.name ?? name;
        // An address or a word of the rules' language in a name's place is no name: no rule about names can match it.
        if (asked !== null && farName(asked) !== null) {
          needs = needOf({ ...subject, port: shown.port ?? subject.port }, asked, want);
          // Without a name that has led to the address, the connection could not begin: both rules are needed.
          if (!subject.names.includes(asked) || shown.port !== null) instead = undefined;
        }
      }
      if (needs === last || (needs === begun && instead === begun)) return true;
      last = needs;
      const what = shown === "none" ? "no name in time" : `${shown.by} ${shown.flaw ?? shown.name ?? "without a name"}`;
      this.#reports.allowed(subject, guestPort, "default allow", null, {
        needs,
        shown: what,
        ...(instead === undefined ? {} : { instead }),
      });
      return true;
    };
    return Object.assign(look, { lenient: true });
  }
}
