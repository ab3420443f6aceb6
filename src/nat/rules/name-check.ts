/**
 * What a TCP connection's first bytes are held to.
 *
 * A connection that a rule about a domain allows is allowed for what it says it is: the name that it shows is judged as if the
 * guest had begun a connection by that name. One that needs no name is looked at where a rule denies names; and where rules
 * are learned, what it shows says which rules it would take.
 */
import type { ShownName } from "../../proto/shown-name.ts";
import { farName } from "./far-end.ts";
import { needOf, remedyOf, type Want } from "./remedy.ts";
import { because, type RuleReports } from "./rule-reports.ts";
import { isNameOf, judge, type Rule, type Subject } from "./rules.ts";
import type { RulesInForce } from "./rules-in-force.ts";

/**
 * What a connection's first bytes are shown to: "other" is a protocol in which no name shows, "none" too few bytes to
 * tell in the time and the room there is. True lets it go on; a refusal has been reported.
 */
export interface NameCheck {
  (shown: ShownName | "other" | "none"): boolean;
  /** Only looks: what cannot be read passes, too. */
  readonly lenient?: boolean;
  /** Which rule has refused it. */
  refusedBy?: string;
}

type Shown = Parameters<NameCheck>[0];
/** Reports a refusal. Returns false. */
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

  /** Who is to be shown the first bytes of a connection that `by` has allowed, null for the default; null for nobody. */
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

  /** Judges what a connection that `begun` allowed has shown of itself. */
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
   * Of a connection that needs no name: whether it shows one that a rule denies. What hides which name it asks for, by its
   * form or by taking its time, might ask for such a one.
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
   * Sees what a connection shows that only the default has allowed, and tells which rules it would take: one about the
   * name, or about the address where what it shows is not to be relied on.
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
        // An address or a word of the rules' own that stands where a name should is none: no rule about names can mean it.
        if (asked !== null && farName(asked) !== null) {
          needs = needOf({ ...subject, port: shown.port ?? subject.port }, asked, want);
          // A name that has not led to the address does not let the connection begin: both rules are needed.
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
