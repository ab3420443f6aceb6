/** The stack and a reference guest at the two ends of a simulated wire, on a fake host. */
import { cable } from "../../src/attach/memory.ts";
import { Guest } from "../../src/cli/guest/guest.ts";
import { resolveOptions } from "../../src/control/options.ts";
import { ipv4FromText } from "../../src/core/address.ts";
import { type DropReason, NO_TRACE } from "../../src/core/trace.ts";
import { Stack } from "../../src/stack.ts";
import { FakeHost } from "../support/fake-host.ts";
import { SeededRandom } from "../support/random.ts";
import { type Impairment, Simulation, Wire } from "./simulation.ts";

export const FAR: number = ipv4FromText("198.51.100.1");

export interface GuestOnStack {
  readonly sim: Simulation;
  readonly wire: Wire;
  readonly host: FakeHost;
  readonly stack: Stack;
  readonly guest: Guest;
  readonly drops: Map<DropReason, number>;
}

export function guestOnStack(seed: number, impairment: Impairment, mtu = 1500): GuestOnStack {
  const sim = new Simulation(seed);
  const wire = new Wire(sim, impairment);
  const host = new FakeHost();
  const drops = new Map<DropReason, number>();
  const stack = new Stack(resolveOptions({ mtu, ipv6: false }).stack, {
    host,
    dns: { query: (_query, _tcp, onAnswer) => onAnswer(null), close() {} },
    clock: sim,
    random: new SeededRandom(seed),
    trace: { ...NO_TRACE, drop: (reason) => drops.set(reason, (drops.get(reason) ?? 0) + 1) },
  });
  const end = cable(stack, { onFrame: (frame) => wire.b.send(frame) });
  wire.b.onFrame = (frame) => end.send(frame);
  const guest = new Guest({
    cable: wire.a,
    mac: new Uint8Array([0x52, 0x54, 0, 0x12, 0x34, 0x56]),
    clock: sim,
    random: sim.random,
    mtu,
  });
  guest.configure({ ip: "10.0.2.15", prefix: 24, gateway: "10.0.2.2", dns: "10.0.2.3" });
  sim.pollables.push(guest, stack);
  sim.turn = () => host.run();
  return { sim, wire, host, stack, guest, drops };
}
