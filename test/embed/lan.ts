/** A network with one embedded guest on a cable of it, which has its lease. */
import { dhcp } from "../../src/cli/guest/dhcp.ts";
import { Guest } from "../../src/cli/guest/guest.ts";
import { runOnTimers } from "../../src/cli/guest/timers.ts";
import { HostClock } from "../../src/host/clock.ts";
import { HostRandom } from "../../src/host/random.ts";
import { createNetwork, type MemoryCable, type Network, type NetworkOptions } from "../../src/index.ts";

export interface Lan extends AsyncDisposable {
  readonly net: Network;
  readonly guest: Guest;
  readonly cable: MemoryCable;
}

export const GUEST = "10.0.2.15";

/** `await using lan = await startLan()`. */
export async function startLan(options: NetworkOptions = {}): Promise<Lan> {
  const net = await createNetwork(options);
  const cable = net.cable();
  const mac = new Uint8Array([0x52, 0x54, 0, 0x12, 0x34, 0x56]);
  const guest = new Guest({ cable, mac, clock: new HostClock(), random: new HostRandom() });
  const stop = runOnTimers(guest);
  await dhcp(guest);
  return {
    net,
    guest,
    cable,
    async [Symbol.asyncDispose]() {
      stop();
      await net.close();
    },
  };
}
