/** The `key=value` words of rules: limits, and which ways of hiding a name a rule allows. */
import type { Limit } from "../nat/rules/meters.ts";
import type { Domain, Terms } from "../nat/rules/rules.ts";
import { parseNumber } from "./addresses.ts";
import type { ConfigError } from "./errors.ts";
import { show } from "./errors.ts";
import { parseBitRate } from "./impairment.ts";

/**
 * Enough for the deepest names in clouds. With more labels of full length, one query could carry some 240 bytes of
 * data.
 */
const LABELS = 10;
const MOST_LABELS = 127;
/** Queries a second for names below a domain. Queries can carry data: whoever serves the domain sees the names. */
const QUERIES = 50;
const LEAST_RATE = 8_000;
const MOST_RATE = 1e12;
const MOST = 1_000_000;
const LIMITS = "rate=10mbit, up=1mbit, down=1mbit, conns=50, opens=10/s or dns=20/s";

type Wrong = (expectation: string) => ConfigError;
/** Returns the value, or a text that says what would have been right. */
type Read = (value: string) => number | boolean | string;

const allowOrDeny: Read = (value) => (value === "allow" || value === "deny" ? value === "allow" : "allow|deny");
const count =
  (most: number, unit = ""): Read =>
  (value) =>
    parseNumber(unit !== "" && value.endsWith(unit) ? value.slice(0, -unit.length) : value, 1, most) ??
    `1${unit} to ${most}${unit}`;
const rate: Read = (value) => {
  const bits = parseBitRate(value);
  return bits === null || bits < LEAST_RATE || bits > MOST_RATE ? "8kbit to 1000gbit" : bits / 8;
};

const TERMS: Readonly<Record<string, Read>> = {
  ech: allowOrDeny,
  quic: allowOrDeny,
  unnamed: allowOrDeny,
  private: allowOrDeny,
  labels: count(MOST_LABELS),
};
const AMOUNTS: Readonly<Record<string, Read>> = {
  ...{ rate, up: rate, down: rate },
  ...{ conns: count(MOST), opens: count(MOST, "/s"), dns: count(MOST, "/s") },
};

/** Gathers a rule's words. Once all are read, checks whether they have a meaning in such a rule. */
export class RuleTerms {
  readonly #given: Map<string, number | boolean> = new Map();
  readonly #wrong: Wrong;

  /** `wrong` makes an error from an expectation. */
  constructor(wrong: Wrong) {
    this.#wrong = wrong;
  }

  get given(): boolean {
    return this.#given.size > 0;
  }

  /** Throws a `ConfigError`. */
  take(word: string): void {
    const [key = "", value = "", more] = word.split("=");
    const read = [TERMS, AMOUNTS].find((known) => Object.hasOwn(known, key))?.[key];
    if (read === undefined || more !== undefined)
      throw this.#wrong(
        `expected ech=allow, quic=allow, unnamed=allow|deny, private=allow, labels=N, ${LIMITS}, not ${show(word)}`,
      );
    const found = read(value);
    if (typeof found === "string") throw this.#wrong(`expected ${key}=${found}, not ${show(word)}`);
    if (this.#given.has(key)) throw this.#wrong(`expected ${key} once only`);
    this.#given.set(key, found);
  }

  /**
   * The words about hiding, for a rule that allows or denies a domain (null for other rules). Throws a `ConfigError`.
   */
  terms(allow: boolean, domain: Domain | null): Terms {
    for (const key of this.#given.keys()) {
      const amount = Object.hasOwn(AMOUNTS, key);
      if (amount ? allow : allow && domain !== null) continue;
      throw this.#wrong(`expected ${key} in a rule that allows${amount ? "" : " a name"}`);
    }
    if (this.#given.has("labels") && !domain?.below) throw this.#wrong("expected labels in a rule about *.NAME");
    return {
      ech: this.#given.get("ech") === true,
      quic: this.#given.get("quic") === true,
      unnamed: (this.#given.get("unnamed") as boolean | undefined) ?? null,
      private: this.#given.get("private") === true,
      labels: this.#number("labels") ?? (isBelow(domain) ? LABELS : null),
    };
  }

  /** The limits of a rule that allows this domain (null for other rules); null for none. `text` is the whole rule. */
  limit(text: string, domain: Domain | null): Limit | null {
    const both = this.#number("rate");
    const queries = this.#number("dns") ?? (isBelow(domain) ? QUERIES : null);
    const rates = { up: this.#number("up") ?? both, down: this.#number("down") ?? both };
    const limit = { text, ...rates, conns: this.#number("conns"), opens: this.#number("opens"), queries };
    return Object.values(limit).every((each) => each === null || each === text) ? null : limit;
  }

  /** The limits of a rule that has no other words. Throws a `ConfigError`. */
  only(text: string): Limit {
    for (const key of this.#given.keys()) if (!Object.hasOwn(AMOUNTS, key)) throw this.#wrong(`expected ${LIMITS}`);
    const limit = this.limit(text, null);
    if (limit === null) throw this.#wrong(`expected ${LIMITS}`);
    return limit;
  }

  #number(key: string): number | null {
    return (this.#given.get(key) as number | undefined) ?? null;
  }
}

/** Whether this is a wildcard below a particular domain, and not one for all names. */
function isBelow(domain: Domain | null): boolean {
  return domain?.below === true && domain.name !== "";
}
