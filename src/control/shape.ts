/** Checks values that users give against a shape. The first fault becomes a `ConfigError` that names the value. */
import * as z from "zod/mini";
import type { Abortable } from "./abortable.ts";
import { ConfigError } from "./errors.ts";

const MAX_PORT = 65_535;

/** A checker of values, of zod's smaller edition, which loads in a quarter of the time. */
export type Shape<T> = z.ZodMiniType<T>;

export const abortSignal = (): Shape<AbortSignal> => z.instanceof(AbortSignal, { error: "expected an AbortSignal" });

// Each shape is used once or twice. Compiling it to a function first, as zod does by default, takes longer.
z.config({ jitless: true });

/**
 * Returns the checked value. `name` is the name of the whole. An error names a field `NAME.FIELD`, or only `FIELD` if
 * the name is "options". Throws `ConfigError`.
 */
export function checkShape<T>(shape: Shape<T>, input: T, name = "options"): T {
  const result = shape.safeParse(input);
  if (result.success) return result.data;
  const issue = result.error.issues[0]!;
  const unknown = issue.code === "unrecognized_keys";
  const keys = [...issue.path.map(String), ...(unknown ? issue.keys.slice(0, 1) : [])];
  const field = [...(name === "options" && keys.length > 0 ? [] : [name]), ...keys].join(".");
  throw new ConfigError(field, at(input, keys), unknown ? "there is no such option" : issue.message);
}

const abortable = z.object({ signal: z.optional(abortSignal()) }, "expected an object like { signal }");

/** The signal in a call's options. Throws `ConfigError`, also when a signal is given in place of the options. */
export function signalOf(options: Abortable): AbortSignal | undefined {
  if (options instanceof AbortSignal) throw new ConfigError("options", options, "expected the signal as { signal }");
  return checkShape(abortable, options).signal;
}

/** Whether a value that nothing has checked is the number of a port. */
export function isPort(port: unknown, min: 0 | 1): port is number {
  return typeof port === "number" && Number.isInteger(port) && port >= min && port <= MAX_PORT;
}

/** Checks the number of a port. Throws `ConfigError` about the field. */
export function checkPort(field: string, port: unknown, min: 0 | 1): number {
  if (isPort(port, min)) return port;
  throw new ConfigError(field, port, `expected a whole number from ${min} to ${MAX_PORT}`);
}

/** Checks that a list contains texts only. Throws `ConfigError` about the field. */
export function textList(field: string, list: readonly string[]): readonly string[] {
  if (Array.isArray(list) && list.every((each) => typeof each === "string")) return list;
  throw new ConfigError(field, list, "expected a list of texts");
}

/** The value at a path of keys. */
function at(value: unknown, keys: readonly string[]): unknown {
  for (const key of keys) {
    value = typeof value === "object" && value !== null ? (value as Record<string, unknown>)[key] : undefined;
  }
  return value;
}
