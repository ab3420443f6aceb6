/** Checks the rules by which users impair a line, and makes them into those of `attach/impairment`. */
import * as z from "zod/mini";
import type { ImpairmentRule } from "../attach/impairment.ts";
import { ConfigError } from "./errors.ts";
import { parseFrameFilter } from "./frame-filter.ts";
import type { ImpairmentOptions } from "./options/impairment-options.ts";
import { checkShape, type Shape } from "./shape.ts";

const MAX_DELAY = 600_000;
const MAX_RULES = 64;
const number = (min: number, max: number, unit: string): Shape<number | undefined> => {
  const expectation = `expected ${unit} from ${min} to ${max}`;
  return z.optional(z.number(expectation).check(z.minimum(min, expectation), z.maximum(max, expectation)));
};
const DIRECTION = "expected up, down or both";

/** The shape of one rule. */
export const ImpairmentShape: Shape<ImpairmentOptions> = z.strictObject(
  {
    filter: z.optional(z.string("expected a filter like tcp port 80")),
    direction: z.optional(z.enum(["up", "down", "both"], DIRECTION)),
    delay: number(0, MAX_DELAY, "milliseconds"),
    jitter: number(0, MAX_DELAY, "milliseconds"),
    loss: number(0, 1, "a share"),
    duplicate: number(0, 1, "a share"),
    reorder: number(0, 1, "a share"),
    rate: number(1000, 1e12, "bits per second"),
  },
  "expected an object like { delay: 50, loss: 0.01 }",
);

/** Checks rules that a user gave. Throws `ConfigError` about the first thing that is wrong. */
export function resolveImpairment(rules: readonly ImpairmentOptions[]): ImpairmentRule[] {
  if (rules.length > MAX_RULES) throw new ConfigError("impair", rules.length, `expected at most ${MAX_RULES} rules`);
  return rules.map((rule, i) => resolveRule(`impair.${i}`, rule));
}

function resolveRule(name: string, input: ImpairmentOptions): ImpairmentRule {
  const { filter, direction, delay, jitter, loss, duplicate, reorder, rate } = checkShape(ImpairmentShape, input, name);
  if ((jitter ?? 0) > (delay ?? 0)) throw new ConfigError(`${name}.jitter`, jitter, "expected at most the delay");
  return {
    filter: filter === undefined ? null : parseFrameFilter(`${name}.filter`, filter),
    direction: direction ?? "both",
    delay: delay ?? 0,
    jitter: jitter ?? 0,
    loss: loss ?? 0,
    duplicate: duplicate ?? 0,
    reorder: reorder ?? 0,
    rate: rate ?? Number.POSITIVE_INFINITY,
  };
}

const SPEC =
  "expected delay=50ms,jitter=5ms,loss=1%,duplicate=1%,reorder=1%,rate=10mbit,direction=up|down|both,filter=tcp port 80, the filter last";
const UNITS: Readonly<Record<string, number>> = { "": 1, bit: 1, kbit: 1e3, mbit: 1e6, gbit: 1e9 };

/** A rule as typed: `delay=50ms,loss=1%,filter=host 10.0.2.15`. Throws `ConfigError` about `field`. */
export function parseImpairment(field: string, text: string): ImpairmentOptions {
  const rule: Record<string, string | number> = {};
  const wrong = (): ConfigError => new ConfigError(field, text, SPEC);
  let rest = text;
  while (rest !== "") {
    const match = /^([a-z]+)=(.*)$/s.exec(rest);
    if (match === null) throw wrong();
    const key = match[1]!;
    // A filter may contain commas, so it must come last.
    const end = key === "filter" ? -1 : match[2]!.indexOf(",");
    const value = end < 0 ? match[2]! : match[2]!.slice(0, end);
    rest = end < 0 ? "" : match[2]!.slice(end + 1);
    if (value === "" || key in rule) throw wrong();
    const parsed = key === "filter" || key === "direction" ? value : quantity(key, value);
    if (parsed === null) throw wrong();
    rule[key] = parsed;
  }
  try {
    resolveRule(field, rule);
  } catch (error) {
    if (error instanceof ConfigError) throw new ConfigError(field, text, error.expectation);
    throw error;
  }
  return rule;
}

/** Writes a rule as `parseImpairment` reads it. */
export function impairmentText({ delay, jitter, loss, duplicate, reorder, rate, ...rest }: ImpairmentOptions): string {
  const parts: string[] = [];
  for (const [key, value] of Object.entries({ delay, jitter }))
    if (value !== undefined) parts.push(`${key}=${value}ms`);
  for (const [key, value] of Object.entries({ loss, duplicate, reorder }))
    if (value !== undefined) parts.push(`${key}=${Number((value * 100).toPrecision(12))}%`);
  if (rate !== undefined) parts.push(`rate=${rate}bit`);
  if (rest.direction !== undefined) parts.push(`direction=${rest.direction}`);
  if (rest.filter !== undefined) parts.push(`filter=${rest.filter}`);
  return parts.join(",") || "direction=both";
}

/** `10mbit`, `512kbit`, `1000`: bits per second. */
export function parseBitRate(text: string): number | null {
  const match = /^([0-9]+(?:\.[0-9]+)?)([a-z]*)$/i.exec(text);
  if (match === null) return null;
  const unit = match[2]!.toLowerCase();
  return Object.hasOwn(UNITS, unit) ? Number(match[1]) * UNITS[unit]! : null;
}

function quantity(key: string, text: string): number | null {
  const match = /^([0-9]+(?:\.[0-9]+)?)([a-z%]*)$/i.exec(text);
  if (match === null) return null;
  const value = Number(match[1]);
  const unit = match[2]!.toLowerCase();
  if (key === "delay" || key === "jitter")
    return unit === "ms" || unit === "" ? value : unit === "s" ? value * 1000 : null;
  if (key === "rate") return parseBitRate(text);
  return unit === "%" ? value / 100 : unit === "" ? value : null;
}
