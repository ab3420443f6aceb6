/**
 * `serve --per-guest`: a network of its own for each guest that comes, in this process. What is a network's own (addresses,
 * rules, limits, guest forwards, TFTP, impairment) is every guest's. What is there once on this machine, or leads to one
 * network, is refused.
 */
import type { AttachAddress } from "../attach/address.ts";
import { ConfigError } from "../control/errors.ts";
import type { Logger } from "../control/log.ts";
import type { NetworkOptions } from "../control/options/network-options.ts";
import { version } from "../control/version.ts";
import type { ListenTarget } from "../embed/cables.ts";
import { GuestNetworks, type GuestNetworksOptions } from "../guest-networks.ts";
import type { ServeArguments, SessionOptions } from "./argument-types.ts";
import { commandNumber } from "./arguments.ts";
import { announce, report, rereadRules } from "./session.ts";

/** What `--per-guest` asks for; null for one network. Throws `ConfigError`, also about what does not go with it. */
export function readPerGuest(args: ServeArguments, netdev: NetworkOptions): GuestNetworksOptions | null {
  const idle = commandNumber("guestIdle", args.guestIdle, "expected a whole number of seconds, 0 for never");
  if (args.perGuest !== true) {
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
  refuse("--workers", args.workers, "a worker's guests share its network");
  return { idle: idle ?? 0 };
}

/** What serves the guests, and what is told of them. */
export interface GuestsSession {
  listenAt(target: ListenTarget): Promise<AttachAddress>;
  /** As the user that the process is now. */
  begin(): void;
  /** The API first, then the networks. */
  close(): Promise<void>;
}

/** Rejects with an `Error` of one line; nothing is left open then. `cables` among the limits is how many guests there may be. */
export async function startGuests(
  options: NetworkOptions,
  each: GuestNetworksOptions,
  session: SessionOptions,
  log: Logger,
): Promise<GuestsSession> {
  const networks = new GuestNetworks(options, { ...each, guests: options.limits?.cables });
  networks.on("come", ({ id, cable, network }) => {
    const own = log.child({ guest: id });
    own.info({ cable }, "guest comes");
    report(network, own);
    network.impair(session.impair, session.impairSeed);
  });
  networks.on("left", ({ id }) => log.info({ guest: id }, "guest has left"));
  networks.on("failed", (error) => log.error(error.message));
  const doors: { close(): Promise<unknown> }[] = [];
  const close = async (): Promise<void> => {
    for (const door of doors) await door.close();
    await networks.close();
  };
  try {
    if (session.rules !== null) doors.push(rereadRules(networks, session.rules, log));
    let begin = (): void => {};
    if (session.api !== null) {
      const { serveGuestsApi } = await import("../api/guests.ts");
      const api = await serveGuestsApi(networks, { address: session.api, version: version() });
      doors.unshift(api);
      begin = () => void doors.unshift(announce(api, log));
    }
    return { listenAt: (target) => networks.listenAt(target), begin, close };
  } catch (error) {
    await close();
    throw error;
  }
}
