/** The mode of a network: whom guests reach, and whether tslirp is their gateway and gives them addresses. */
import type { StackConfig } from "../core/config.ts";
import { ConfigError } from "./errors.ts";
import type { NetworkOptions } from "./options/network-options.ts";
import { UPLINK_EXAMPLE } from "./uplink-rules.ts";

/** Options that have no meaning without a gateway of ours. */
const GATEWAYS_OWN = [
  ...["restrict", "hostfwd", "publish", "guestfwd", "smb", "tftp", "bootfile", "staticLeases", "rules", "proxy"],
  ...["onFlow", "dnsUpstream"],
] as const satisfies readonly (keyof NetworkOptions)[];

/** Throws `ConfigError`. */
export function resolveMode(options: NetworkOptions): Pick<StackConfig, "restrict" | "hostOnly" | "gateway" | "dhcp"> {
  const { mode, restrict = mode === "isolated" } = options;
  const { dhcp = mode !== "bridged" } = options;
  const gateway = mode !== "bridged" || dhcp;
  if (mode === "bridged" && [options.uplink ?? []].flat().length === 0)
    throw new ConfigError("uplink", undefined, `expected where mode bridged leads, like ${UPLINK_EXAMPLE}`);
  if (!gateway) {
    for (const field of GATEWAYS_OWN) {
      const value = options[field];
      const given = value !== undefined && value !== false && !(Array.isArray(value) && value.length === 0);
      if (given)
        throw new ConfigError(field, value, "expected another mode than bridged, or dhcp on: this takes our gateway");
    }
  } else if (mode !== undefined && restrict !== (mode === "isolated")) {
    throw new ConfigError(
      "mode",
      mode,
      `expected ${restrict ? "isolated" : "another than isolated"} with restrict ${restrict ? "on" : "off"}`,
    );
  }
  return { restrict, hostOnly: mode === "host-only", gateway, dhcp };
}
