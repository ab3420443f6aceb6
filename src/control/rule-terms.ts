/** What a rule says as `key=value`: which ways of hiding a name it puts up with. */
import type { Domain, Terms } from "../nat/rules.ts";
import { parseNumber } from "./addresses.ts";
import type { ConfigError } from "./errors.ts";
import { show } from "./errors.ts";

/** Enough for the deepest names of clouds; with labels of their full length a query carries some 240 bytes. */
const LABELS = 10;
const MOST_LABELS = 127;
const KEYS = "expected ech=allow, quic=allow, unnamed=allow|deny or labels=N";

/** What each may be; null for a number. */
const VALUES: Readonly<Record<string, readonly string[] | null>> = {
  ech: ["allow", "deny"],
  quic: ["allow", "deny"],
  unnamed: ["allow", "deny"],
  labels: null,
};

/** Gathers the words, and says once all are read whether they mean something in such a rule. */
export class RuleTerms {
  readonly #given: Map<string, string> = new Map();

  /** Throws what `wrong` makes of an expectation. */
  take(word: string, wrong: (expectation: string) => ConfigError): void {
    const [key = "", value = "", more] = word.split("=");
    const values = VALUES[key];
    if (values === undefined || more !== undefined) throw wrong(`${KEYS}, not ${show(word)}`);
    if (values !== null ? !values.includes(value) : parseNumber(value, 1, MOST_LABELS) === null)
      throw wrong(`expected ${key}=${values?.join("|") ?? `1 to ${MOST_LABELS}`}, not ${show(word)}`);
    if (this.#given.has(key)) throw wrong(`expected ${key} once only`);
    this.#given.set(key, value);
  }

  of(allow: boolean, domain: Domain | null, wrong: (expectation: string) => ConfigError): Terms {
    const given = this.#given;
    const [key] = given.keys();
    if (key !== undefined && (!allow || domain === null)) throw wrong(`expected ${key} in a rule that allows a name`);
    if (given.has("labels") && !domain?.below) throw wrong("expected labels in a rule about *.NAME");
    const unnamed = given.get("unnamed");
    const labels = given.get("labels");
    return {
      ech: given.get("ech") === "allow",
      quic: given.get("quic") === "allow",
      unnamed: unnamed === undefined ? null : unnamed === "allow",
      labels: labels === undefined ? (domain?.below && domain.name !== "" ? LABELS : null) : Number(labels),
    };
  }
}
