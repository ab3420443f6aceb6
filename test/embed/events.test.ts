/** What a network tells of: drops by reason, and pings as flows. */
import { once } from "node:events";
import { expect, it, vi } from "vitest";
import { ipv4FromText } from "../../src/core/address.ts";
import { Drops } from "../../src/embed/drops.ts";
import type { DropSummary } from "../../src/index.ts";
import { GUEST, startLan } from "./lan.ts";

/** An address for documentation: nobody is there. */
const FAR = "198.51.100.7";

it("a flood of drops is one 'drop' event a second for each reason, with how many there were", () => {
  vi.useFakeTimers();
  try {
    const told: DropSummary[] = [];
    let listening = false;
    const drops = new Drops(
      () => listening,
      (drop) => told.push(drop),
    );
    drops.add("policy");
    listening = true;
    for (let i = 0; i < 1000; i++) drops.add("policy");
    drops.add("ip-ttl");
    expect(told).toEqual([]);
    vi.advanceTimersByTime(1000);
    expect(told).toEqual([
      { reason: "ip-ttl", count: 1, total: 1 },
      { reason: "policy", count: 1000, total: 1001 },
    ]);
    vi.advanceTimersByTime(5000);
    expect(told).toHaveLength(2);
    expect(vi.getTimerCount()).toBe(0);
    drops.add("policy");
    drops.flush();
    expect(told[2]).toEqual({ reason: "policy", count: 1, total: 1002 });
    expect(vi.getTimerCount()).toBe(0);
  } finally {
    vi.useRealTimers();
  }
});

it("a listener of 'drop' that throws is told of the other reasons as well", async () => {
  const told: string[] = [];
  const drops = new Drops(
    () => true,
    ({ reason }) => {
      told.push(reason);
      throw new Error(`about ${reason}`);
    },
  );
  drops.add("policy");
  drops.add("ip-ttl");
  const others = process.listeners("uncaughtException");
  process.removeAllListeners("uncaughtException");
  const errors: string[] = [];
  process.on("uncaughtException", (error) => errors.push(error.message));
  try {
    drops.flush();
    await vi.waitFor(() => expect(errors).toEqual(["about ip-ttl", "about policy"]));
  } finally {
    process.removeAllListeners("uncaughtException");
    for (const each of others) process.on("uncaughtException", each);
  }
  expect(told).toEqual(["ip-ttl", "policy"]);
});

it("'drop' comes from a network with what its guest has sent wrong", async () => {
  await using lan = await startLan();
  const told = once(lan.net, "drop");
  for (let i = 0; i < 3; i++) lan.cable.send(new Uint8Array(10));
  expect((await told)[0]).toEqual({ reason: "eth-short", count: 3, total: 3 });
});

it("a ping is a flow that opens and closes, with the bytes of both ways", async () => {
  await using lan = await startLan({ onFlow: () => ({ redirect: { host: "127.0.0.1" } }) });
  const { net, guest } = lan;
  const opened = once(net, "flowOpen");
  const answered = guest.ping(ipv4FromText(FAR), 56, 20_000);
  expect((await opened)[0]).toEqual({ proto: "icmp", guest: GUEST, remote: FAR, host: null, direction: "out" });
  expect(net.flows()).toMatchObject([{ proto: "icmp", guest: GUEST, remote: FAR }]);
  await answered;
  const closed = once(net, "flowClose");
  await net.close();
  expect((await closed)[0]).toMatchObject({
    proto: "icmp",
    remote: FAR,
    bytesUp: 64,
    bytesDown: 64,
    reason: "network closed",
  });
});
