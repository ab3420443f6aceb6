/**
 * Checks which options go with `--per-guest`. Options that exist once on this machine, or that lead to one network,
 * are refused.
 */
import { ConfigError } from "../control/errors.ts";
import type { NetworkOptions } from "../control/options/network-options.ts";
import type { GuestNetworksOptions } from "../guest-networks.ts";
import type { ServeArguments } from "./argument-types.ts";
import { commandNumber } from "./command-number.ts";

/**
 * Reads the options of `--per-guest`; null without it. Throws `ConfigError`, also about options that do not go with
 * it.
 */
export function readPerGuest(args: ServeArguments, netdev: NetworkOptions): GuestNetworksOptions | null {
  const idle = commandNumber("guestIdle", args.guestIdle, "expected a whole number of seconds, 0 for never");
  const bytes = commandNumber("guestBytes", args.guestBytes);
  if (args.perGuest !== true) {
    if (bytes !== undefined) throw new ConfigError("--guest-bytes", args.guestBytes, "expected --per-guest beside it");
    if (idle !== undefined) throw new ConfigError("--guest-idle", args.guestIdle, "expected --per-guest beside it");
    return null;
  }
  const refuse = (flag: string, given: readonly string[] | string | undefined, why: string): void => {
    const value = typeof given === "string" ? given : given?.[0];
    if (value !== undefined) throw new ConfigError(flag, value, `expected none with --per-guest: ${why}`);
  };
  const port = "a port leads to one network; a guest's own is opened by the API";
  refuse("--publish", args.publish, port);
  refuse("--hostfwd", args.hostfwd, port);
  refuse("--netdev hostfwd", netdev.hostfwd, port);
  refuse("--connect", args.connect, "guests come by --listen");
  refuse("--fd", args.fd, "guests come by --listen");
  refuse("--uplink", args.uplink, "a segment leads to one network");
  refuse("--socks", args.socks, "a SOCKS server leads to one network");
  refuse("--capture", args.capture, "a guest's frames are captured by the API");
  refuse("--record", args.record, "a recording is of one network");
  refuse("--audit", args.audit as string | undefined, "an audit is of one network");
  refuse("--learn", args.learn as string | undefined, "rules are learned of one network");
  refuse("--workers", args.workers, "a worker's guests share its network");
  return { idle: idle ?? 0, bytes };
}
