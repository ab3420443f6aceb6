/** The impairment of one network's cables. Its user may change it at any time. */
import { Impairment, type ImpairmentEnv } from "../attach/impairment.ts";
import type { CableTap } from "../attach/tap.ts";
import { ConfigError } from "../control/errors.ts";
import { resolveImpairment } from "../control/impairment.ts";
import type { ImpairmentOptions } from "../control/options/impairment-options.ts";
import { SeededRandom } from "../core/random.ts";
import { HostRandom } from "../host/random.ts";

export class BadLine {
  readonly #tap: CableTap;
  readonly #env: Omit<ImpairmentEnv, "random">;
  #rules: readonly ImpairmentOptions[] = [];
  #impairment: Impairment | null = null;

  constructor(tap: CableTap, env: Omit<ImpairmentEnv, "random">) {
    this.#tap = tap;
    this.#env = env;
  }

  /** The rules in force. */
  get rules(): readonly ImpairmentOptions[] {
    return this.#rules;
  }

  /** Replaces the rules. Throws `ConfigError`, and then nothing has changed. */
  impair(rules: readonly ImpairmentOptions[], seed: number | undefined): void {
    if (!Array.isArray(rules)) throw new ConfigError("impair", rules, "expected a list of rules like [{ delay: 50 }]");
    if (seed !== undefined && (!Number.isInteger(seed) || Math.abs(seed) >= 2 ** 32))
      throw new ConfigError("seed", seed, "expected a whole number of 32 bits");
    const resolved = resolveImpairment(rules);
    this.close();
    this.#rules = rules;
    if (resolved.length === 0) return;
    const random = seed === undefined ? new HostRandom() : new SeededRandom(seed);
    this.#impairment = new Impairment(resolved, { ...this.#env, random });
    this.#tap.impair(this.#impairment);
  }

  close(): void {
    this.#tap.impair(null);
    this.#impairment?.close();
    this.#impairment = null;
  }
}
