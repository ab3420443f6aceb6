/** The shape of the option `limits`. */
import type { Limits } from "../../core/limits.ts";

/** Some of a network's caps, each a whole number; those left out have their defaults. */
export type LimitsOptions = { readonly [K in keyof Limits]?: Limits[K] | undefined };
