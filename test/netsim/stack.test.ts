/**
 * The stack against the reference guest on impaired wires. What must hold: every byte arrives, in order, both ways, and
 * nothing is left behind. How well it does is a table, kept as a snapshot: a change of recovery or of timers shows
 * there, and is accepted with `vitest -u` by whoever meant it.
 */
import { describe, expect, test } from "vitest";
import type { TcpOptions } from "../../src/cli/guest/tcp-user.ts";
import type { FakeFar } from "../support/fake-host.ts";
import { FAR, type GuestOnStack, guestOnStack } from "./guest-on-stack.ts";
import type { Impairment } from "./simulation.ts";
import { hash, Party, pattern } from "./transfer.ts";

interface Scenario {
  readonly name: string;
  readonly wire: Impairment;
  readonly options?: TcpOptions;
  readonly mtu?: number;
}

const ROUGH: Impairment = { loss: 0.03, reorder: 0.1, duplicate: 0.03, delay: 5, holdBack: 8 };
const PLAIN: TcpOptions = { sack: false, timestamps: false, windowScale: false };
const SCENARIOS: readonly Scenario[] = [
  { name: "clean, 1 ms", wire: {} },
  { name: "clean, 20 ms", wire: { delay: 20 } },
  { name: "clean, 50 Mbit/s", wire: { rate: 50 } },
  { name: "loss 1 %", wire: { loss: 0.01 } },
  { name: "loss 5 %", wire: { loss: 0.05 } },
  { name: "loss 1 %, 20 ms", wire: { loss: 0.01, delay: 20 } },
  { name: "loss 15 %", wire: { loss: 0.15 } },
  { name: "loss 5 %, no SACK", wire: { loss: 0.05 }, options: { sack: false } },
  { name: "reorder 20 %", wire: { reorder: 0.2 } },
  { name: "reorder 20 %, 20 ms", wire: { reorder: 0.2, delay: 20 } },
  { name: "duplicate 10 %, 20 ms", wire: { duplicate: 0.1, delay: 20 } },
  { name: "duplicate 10 %", wire: { duplicate: 0.1 } },
  { name: "rough", wire: ROUGH },
  { name: "rough, no timestamps", wire: ROUGH, options: { timestamps: false } },
  { name: "rough, no options", wire: ROUGH, options: PLAIN },
  { name: "rough, MTU 9000", wire: ROUGH, mtu: 9_000 },
  { name: "rough, MTU 65520", wire: ROUGH, mtu: 65_520 },
];

interface Result {
  readonly millis: number;
  readonly guestAgain: number;
  readonly stackAgain: number;
}

/** One connection from the guest to the world: `up` bytes there, `down` bytes back, closed by both. */
function transfer(net: GuestOnStack, up: Uint8Array, down: Uint8Array, options: TcpOptions = {}): Result {
  const { sim, guest, host, stack } = net;
  const started = sim.now();
  const party = new Party(up);
  party.socket = guest.connect(FAR, 80, party, options);
  const { stats } = party.socket;
  sim.run(() => party.log.length > 0);
  expect(party.log).toEqual(["connect"]);
  const far: FakeFar = host.dialled.at(-1)!;
  far.send(down);
  far.end();
  let stackAgain = 0;
  sim.run(() => {
    stackAgain = stack.flows()[0]?.retransmissions ?? stackAgain;
    return far.ended && party.log.includes("end") && stats.segments > 0;
  });
  const millis = sim.now() - started;
  expect(hash(far.received)).toBe(hash(up));
  expect(hash(...party.received)).toBe(hash(down));
  sim.run(() => party.done && stack.flows().length === 0);
  expect(party.log).toEqual(["connect", "end", "close null"]);
  expect(far.closed).toBe(null);
  return { millis, guestAgain: stats.retransmissions, stackAgain };
}

const SIZE = 1_000_000;
const NOTHING = new Uint8Array(0);

function row(name: string, direction: string, bytes: number, { millis, guestAgain, stackAgain }: Result): string {
  const mbits = (bytes * 8) / millis / 1_000;
  return [
    name.padEnd(22),
    direction.padEnd(5),
    `${millis.toFixed(0).padStart(6)} ms`,
    `${mbits.toFixed(1).padStart(7)} Mbit/s`,
    `again: guest ${String(guestAgain).padStart(3)}, stack ${String(stackAgain).padStart(3)}`,
  ].join("  ");
}

describe("a megabyte each way arrives whole", () => {
  const table: string[] = [];
  for (const { name, wire, options = {}, mtu = 1500 } of SCENARIOS) {
    test(name, () => {
      const up = pattern(SIZE, 1);
      const down = pattern(SIZE, 2);
      table.push(row(name, "up", SIZE, transfer(guestOnStack(1, wire, mtu), up, NOTHING, options)));
      table.push(row(name, "down", SIZE, transfer(guestOnStack(2, wire, mtu), NOTHING, down, options)));
      table.push(row(name, "both", 2 * SIZE, transfer(guestOnStack(3, wire, mtu), up, down, options)));
    });
  }
  test("as fast as this table says", () => {
    expect(table.join("\n")).toMatchSnapshot();
  });
});

test("twenty seeds of a rough wire, both directions at once", () => {
  const up = pattern(120_000, 1);
  const down = pattern(150_000, 2);
  for (let seed = 10; seed < 30; seed++) transfer(guestOnStack(seed, ROUGH), up, down);
});

test("a clean wire sees no retransmission from either end", () => {
  for (const mtu of [1500, 65_520]) {
    const result = transfer(guestOnStack(1, {}, mtu), pattern(SIZE, 1), pattern(SIZE, 2));
    expect(result).toMatchObject({ guestAgain: 0, stackAgain: 0 });
  }
});

test("a guest that stops reading for five minutes stops the host, and gets everything afterwards", () => {
  const net = guestOnStack(4, { loss: 0.01 });
  const down = pattern(12_000_000, 1);
  const party = new Party(NOTHING);
  party.socket = net.guest.connect(FAR, 80, party);
  net.sim.run(() => party.log.length > 0);
  party.socket.pause();
  const far = net.host.dialled.at(-1)!;
  far.send(down);
  far.end();
  net.sim.pass(300_000);
  expect(net.stack.gauges().sendBytes).toBeLessThan(5_500_000);
  expect(party.received.length).toBe(0);
  party.socket.resume();
  net.sim.run(() => party.done);
  expect(hash(...party.received)).toBe(hash(down));
});

test("a host that stops reading stops the guest, and gets everything afterwards", () => {
  const net = guestOnStack(5, { loss: 0.01 });
  const up = pattern(3_000_000, 1);
  const party = new Party(up);
  party.socket = net.guest.connect(FAR, 80, party);
  net.sim.run(() => party.log.length > 0);
  const far = net.host.dialled.at(-1)!;
  far.stall();
  net.sim.pass(300_000);
  expect(far.received.length).toBeLessThan(70_000);
  expect(far.ended).toBe(false);
  far.unstall();
  far.end();
  net.sim.run(() => party.done);
  expect(hash(far.received)).toBe(hash(up));
});

test("a cable cut for a minute costs time and no byte", () => {
  const net = guestOnStack(6, { delay: 2 });
  const up = pattern(3_000_000, 1);
  const down = pattern(3_000_000, 2);
  const party = new Party(up);
  party.socket = net.guest.connect(FAR, 80, party);
  net.sim.run(() => party.log.length > 0);
  const far = net.host.dialled.at(-1)!;
  far.send(down);
  far.end();
  net.sim.pass(30);
  net.wire.impairment = { loss: 1 };
  net.sim.pass(60_000);
  net.wire.impairment = { delay: 2 };
  net.sim.run(() => party.done);
  expect(hash(far.received)).toBe(hash(up));
  expect(hash(...party.received)).toBe(hash(down));
});

test("a hundred connections at once on a lossy wire, and none is left", () => {
  const net = guestOnStack(7, { loss: 0.02, reorder: 0.05 });
  const up = Array.from({ length: 100 }, (_, i) => pattern(5_000 + i * 100, i));
  const parties = up.map((bytes) => {
    const party = new Party(bytes);
    party.socket = net.guest.connect(FAR, 80, party);
    return party;
  });
  const answered = new Set<FakeFar>();
  net.sim.run(() => {
    for (const far of net.host.dialled) {
      if (!far.ended || answered.has(far)) continue;
      answered.add(far);
      far.send(far.received);
      far.end();
    }
    return parties.every((party) => party.done) && net.stack.flows().length === 0;
  });
  const echoed = parties.map((party) => hash(...party.received));
  expect(echoed).toEqual(up.map((bytes) => hash(bytes)));
  expect(net.host.dialled.length).toBe(100);
  expect(net.host.open).toBe(0);
});

test("refused is refused on a lossy wire too", () => {
  const net = guestOnStack(8, { loss: 0.2 });
  net.host.answer = () => ({ refuse: "ECONNREFUSED" });
  for (let i = 0; i < 20; i++) {
    const party = new Party(NOTHING);
    party.socket = net.guest.connect(FAR, 81, party);
    net.sim.run(() => party.done);
    expect(party.log).toEqual(["close refused"]);
  }
  expect(net.stack.flows()).toEqual([]);
});
