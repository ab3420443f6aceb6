/** All options, in the order in which `--help` and the documents list them. */
import * as z from "zod/mini";
import type { Shape } from "../shape.ts";
import { ADDRESSES } from "./addresses.ts";
import { COMMAND } from "./command.ts";
import type { Command, Description, NetworkGroup, NetworkOption } from "./description.ts";

import type { NetworkOptions } from "./network-options.ts";
import { PROCESS } from "./process.ts";
import { REACH } from "./reach.ts";
import { RECORDING } from "./recording.ts";
import { SANDBOX } from "./sandbox.ts";
import { SERVICES } from "./services.ts";

/** The options of a network, by their names in the library. */
export const NETWORK: NetworkGroup<keyof NetworkOptions> = {
  ...ADDRESSES,
  ...SERVICES,
  ...REACH,
  ...SANDBOX,
  ...PROCESS,
  ...RECORDING,
};

/** The name of a network's option. */
export type NetworkField = keyof NetworkOptions;

export const NETWORK_FIELDS: readonly NetworkField[] = Object.keys(NETWORK) as NetworkField[];

/**
 * The shape that checks each field of `given` by itself. `resolveOptions` checks the fields against each other. The
 * shape has only the fields that are given, since making the shapes of all would take as long as everything else that
 * is done with options.
 */
export function shapeOf(given: unknown): Shape<NetworkOptions> {
  const fields = typeof given === "object" && given !== null ? NETWORK_FIELDS.filter((field) => field in given) : [];
  return z.strictObject(
    Object.fromEntries(fields.map((field) => [field, z.optional(NETWORK[field].shape())])),
    "expected an object of network options",
  ) as unknown as Shape<NetworkOptions>;
}

/** The options that `command` takes, in the order of its help. */
export function optionsOf(command: Command): readonly Description[] {
  const all: readonly (Description | NetworkOption<unknown>)[] = [
    ...Object.values(COMMAND),
    ...NETWORK_FIELDS.map((field) => NETWORK[field] as NetworkOption<unknown>),
  ];
  return all.filter(
    (option): option is Description => option.flag !== null && (option.commands?.includes(command) ?? true),
  );
}

/** The long flag alone: `--dns-upstream` of `--dns-upstream <ip[:port]>`, `--publish` of `-p, --publish <rule>`. */
export function longFlag(flag: string): string {
  return /--[a-z0-9-]+/.exec(flag)![0];
}

/** The name that commander gives to the value of a flag: `dnsUpstream`. */
export function attribute(flag: string): string {
  return longFlag(flag)
    .slice(2)
    .replace(/-([a-z0-9])/g, (_, letter: string) => letter.toUpperCase());
}
