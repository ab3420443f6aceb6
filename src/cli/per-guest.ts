/**
 * `serve --per-guest`: each guest gets a network of its own, in this process. A network's own options (addresses,
 * rules, limits, guest forwards, TFTP, impairment) hold for every guest. Options that exist once on this machine, or
 * lead to one network, are refused.
 */
import type { AttachAddress } from "../attach/address.ts";
import type { Logger } from "../control/log.ts";
import type { NetworkOptions } from "../control/options/network-options.ts";
import { version } from "../control/version.ts";
import type { ListenTarget } from "../embed/cables.ts";
import { GUEST_BYTES, GuestNetworks, type GuestNetworksOptions } from "../guest-networks.ts";
import type { SessionOptions } from "./argument-types.ts";
import { announce, report, rereadRules } from "./session.ts";

/** The networks, and the reports about them. */
export interface GuestsSession {
  listenAt(target: ListenTarget): Promise<AttachAddress>;
  /** Called when the process has become the user that it stays. */
  begin(): void;
  /** Closes the API first, then the networks. */
  close(): Promise<void>;
}

/**
 * Rejects with an `Error` of one line, and then leaves nothing open. The limit `cables` says how many guests there
 * may be.
 */
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
  networks.on("ended", ({ id }, bytes) => {
    const all = `all guests together may hold ${each.bytes ?? GUEST_BYTES} (--guest-bytes)`;
    log.warn({ guest: id, bytes }, `guest is sent away: it held ${bytes} bytes, the most of all, and ${all}`);
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
