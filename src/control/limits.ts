/** The option `limits` of a network: its shape, and the caps that it leaves out. */
import * as z from "zod/mini";
import { DEFAULT_LIMITS, type Limits, MOST_LIMITS } from "../core/limits.ts";
import { parseNumber } from "./addresses.ts";
import { ConfigError } from "./errors.ts";
import { nearest } from "./nearest.ts";
import type { LimitsOptions } from "./options/limits-options.ts";
import type { Shape } from "./shape.ts";

/** A whole number from 1 to `max`. */
export function cap(max: number): Shape<number> {
  const expectation = `expected a whole number from 1 to ${max}`;
  return z.int(expectation).check(z.minimum(1, expectation), z.maximum(max, expectation));
}

export const LIMIT_NAMES: readonly (keyof Limits)[] = Object.keys(DEFAULT_LIMITS) as (keyof Limits)[];

export function limitsShape(): Shape<LimitsOptions> {
  return z.strictObject(
    Object.fromEntries(LIMIT_NAMES.map((name) => [name, z.optional(cap(MOST_LIMITS[name]))])),
    `expected an object with ${LIMIT_NAMES.join(", ")}`,
  );
}

const PER_GUEST = "PerGuest";
/** The share of a cap that one guest may have, unless the guest's cap is given or is lower by default. */
const SHARE = 3 / 4;

/**
 * Fills in all caps. If a guest's cap is not given, it is three quarters of the cap for all; where its default is a
 * smaller share, it is that default, or the cap for all if that is less. Throws `ConfigError` if a guest's cap is
 * more than the cap for all.
 */
export function resolveLimits(given: LimitsOptions): Limits {
  const limits: Record<keyof Limits, number> = { ...DEFAULT_LIMITS };
  for (const name of LIMIT_NAMES) limits[name] = given[name] ?? DEFAULT_LIMITS[name];
  for (const each of LIMIT_NAMES) {
    const all = each.slice(0, -PER_GUEST.length) as keyof Limits;
    if (!each.endsWith(PER_GUEST) || !Object.hasOwn(limits, all)) continue;
    if (given[each] === undefined) {
      const fair = DEFAULT_LIMITS[each] === DEFAULT_LIMITS[all] * SHARE;
      limits[each] = fair ? Math.ceil(limits[all] * SHARE) : Math.min(limits[each], limits[all]);
    } else if (limits[each] > limits[all])
      throw new ConfigError(
        `limits.${each}`,
        given[each],
        `expected no more than all may have, ${all}: ${limits[all]}`,
      );
  }
  return limits;
}

/** Reads caps from texts such as `tcpFlows=1000`. Throws `ConfigError` about `field`. */
export function parseLimits(field: string, texts: readonly string[]): LimitsOptions {
  const limits: Partial<Record<keyof Limits, number>> = {};
  for (const text of texts) {
    const [word = "", amount = "", ...more] = text.split("=");
    if (word === "" || amount === "" || more.length > 0)
      throw new ConfigError(field, text, "expected NAME=NUMBER, like tcpFlows=1000");
    const name = LIMIT_NAMES.find((each) => each === word);
    if (name === undefined) {
      const meant = nearest(word, LIMIT_NAMES);
      const hint = meant === null ? "tcpFlows, halfOpen and others; docs/limits.md lists them" : `${meant}?`;
      throw new ConfigError(field, text, `expected the name of a limit: ${hint}`);
    }
    if (limits[name] !== undefined) throw new ConfigError(field, text, "expected each limit once");
    const value = parseNumber(amount, 1, MOST_LIMITS[name]);
    if (value === null)
      throw new ConfigError(field, text, `expected a whole number from 1 to ${MOST_LIMITS[name]} for ${name}`);
    limits[name] = value;
  }
  return limits;
}
