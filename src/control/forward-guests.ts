/** Checks that forwards lead to addresses that a guest of this network can have. */
import { familyOf } from "../core/address.ts";
import type { ForwardRule, StackConfig } from "../core/config.ts";
import { toNumber } from "./addresses.ts";
import { ConfigError } from "./errors.ts";
import { isHostfwd, parseHostfwd, parsePublish } from "./forward-rules.ts";
import { type Addresses4, guestAddress4 } from "./subnet4.ts";
import { type Addresses6, guestAddress6, resolveAddresses6 } from "./subnet6.ts";

/** Which families guests have. */
export interface Families {
  readonly ipv4: boolean;
  readonly ipv6: boolean;
}

/** Reads a forward in either grammar for a network that is running. Throws `ConfigError`. */
export function resolveForwards(rule: string, stack: StackConfig): ForwardRule[] {
  if (!isHostfwd(rule)) return parsePublish(rule);
  const addresses: Addresses4 = {
    net: toNumber(stack.net),
    prefix: stack.prefix,
    host: toNumber(stack.host),
    dns: toNumber(stack.dns),
    dhcpStart: toNumber(stack.dhcpStart),
  };
  const { net6, host6, dns6, ...families } = stack;
  const addresses6 = resolveAddresses6({ subnet6: `${net6}/${stack.prefix6}`, host6, dns6 });
  return [checkForward(parseHostfwd(rule), rule, families, addresses, addresses6)];
}

/** Returns the rule if it leads to an address that a guest can have. Throws `ConfigError`. */
export function checkForward(
  rule: ForwardRule,
  text: string,
  { ipv4, ipv6 }: Families,
  addresses: Addresses4,
  addresses6: Addresses6,
): ForwardRule {
  const { host } = rule.guest;
  if (host === null) return rule;
  const v6 = familyOf(host) === 6;
  if (!(v6 ? ipv6 : ipv4))
    throw new ConfigError("hostfwd", text, `expected a guest's IPv${v6 ? 4 : 6} address, IPv${v6 ? 6 : 4} is off`);
  try {
    if (v6) guestAddress6("hostfwd", host, addresses6);
    else guestAddress4("hostfwd", host, addresses);
  } catch (error) {
    if (error instanceof ConfigError) throw new ConfigError("hostfwd", text, error.expectation);
    throw error;
  }
  return rule;
}
