/** The little guest of `src/cli/guest`, with a lease, on a network in this process or behind a cable to another. */
import { dhcp } from "../../src/cli/guest/dhcp.ts";
import { Guest, type GuestAddress, type GuestCable } from "../../src/cli/guest/guest.ts";
import { runOnTimers } from "../../src/cli/guest/timers.ts";
import { HostClock } from "../../src/host/clock.ts";
import { HostRandom } from "../../src/host/random.ts";

/** Where a guest is plugged in: a `Network`, or whatever gives it a cable. */
export interface Plug {
  cable(): GuestCable & { close(): void };
}

export interface EmbeddedGuest {
  readonly guest: Guest;
  /** How a connection to `port` of `ip` begins: "connected", or the guest's word for why not. */
  dial(ip: number, port: number): Promise<string>;
  stop(): void;
}

/** Resolves when it has its lease, or at once with an `address`. `last` is its MAC's last byte, `hostname` what it calls itself. */
export async function embeddedGuest(
  network: Plug,
  last = 1,
  hostname?: string,
  address?: GuestAddress,
): Promise<EmbeddedGuest> {
  const cable = network.cable();
  const mac = new Uint8Array([0x52, 0x54, 0, 0, 0, last]);
  const guest = new Guest({ cable, mac, clock: new HostClock(), random: new HostRandom() });
  const stopTimers = runOnTimers(guest);
  if (address === undefined) await dhcp(guest, hostname);
  else guest.configure(address);
  return {
    guest,
    dial: (ip, port) =>
      new Promise((resolve) => {
        const socket = guest.connect(ip, port, {
          onConnect: () => {
            socket.abort();
            resolve("connected");
          },
          onClose: (end) => resolve(String(end)),
        });
      }),
    stop: () => {
      stopTimers();
      cable.close();
    },
  };
}
