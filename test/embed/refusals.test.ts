/** Refusals as they are told: once for a query that is asked in several ways, by the same word wherever they are told. */
import fs from "node:fs";
import path from "node:path";
import { afterEach, beforeEach, expect, it, test, vi } from "vitest";
import { resolveName } from "../../src/cli/guest/dns.ts";
import type { TraceEvent } from "../../src/core/trace.ts";
import type { Refusal } from "../../src/embed/network-events.ts";
import { Refusals } from "../../src/embed/refusals.ts";
import { createNetwork } from "../../src/index.ts";
import { DNS_A, DNS_AAAA, DNS_HTTPS } from "../../src/wire/dns.ts";
import { query } from "../support/dns.ts";
import { embeddedGuest } from "../support/embedded-guest.ts";

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

type Refused = Extract<TraceEvent, { type: "flow-refused" }>;
const refused = (host: string, qtype: number, more: Partial<Refused> = {}): Refused => ({
  ...{ type: "flow-refused", proto: "dns", direction: "out", guest: "10.0.2.15:5000", remote: "10.0.2.3:53" },
  ...{ host, qtype, cable: "one", rule: "default deny", reason: "default deny", remedy: `allow dns ${host}` },
  ...more,
});
function refusals() {
  const told: Refusal[] = [];
  return { told, made: new Refusals((refusal) => told.push(refusal)) };
}
const shown = (told: Refusal[]): unknown[] => told.map(({ host, types }) => [host, types]);

it("a query asked as A, AAAA and HTTPS, of both families' servers, is one record with the types", () => {
  const { told, made } = refusals();
  made.add(refused("evil.test", DNS_A), "mac");
  made.add(refused("evil.test", DNS_AAAA), "mac");
  made.add(refused("other.test", DNS_A), "mac");
  made.add(refused("evil.test", DNS_AAAA, { guest: "[fec0::15]:5001", remote: "[fec0::3]:53" }), "mac");
  made.add(refused("evil.test", DNS_HTTPS), "mac");
  expect(told).toEqual([]);
  vi.advanceTimersByTime(250);
  expect(shown(told)).toEqual([
    ["evil.test", ["A", "AAAA", "HTTPS"]],
    ["other.test", ["A"]],
  ]);
  expect(told[0]).not.toHaveProperty("qtype");
});

it("another guest's, another process' and one for another reason are records of their own", () => {
  const { told, made } = refusals();
  made.add(refused("evil.test", DNS_A), "one");
  made.add(refused("evil.test", DNS_A), "two");
  made.add(refused("evil.test", DNS_A, { process: "curl[7]" }), "one");
  made.add(refused("evil.test", DNS_A, { reason: "limit any dns=1/s: 1 queries a second" }), "one");
  made.flush();
  expect(told).toHaveLength(4);
});

it("what is no query is told at once, and a query asked again later is told again", () => {
  const { told, made } = refusals();
  made.add(refused("evil.test", 0, { proto: "tcp" }), "mac");
  expect(told).toHaveLength(1);
  for (let i = 0; i < 2; i++) {
    made.add(refused("evil.test", DNS_A), "mac");
    vi.advanceTimersByTime(250);
  }
  expect(told).toHaveLength(3);
});

it("a flood of names, and of types, is bounded in what waits, and each name is told", () => {
  const { told, made } = refusals();
  for (let i = 0; i < 1_000; i++) made.add(refused(`n${i}.test`, DNS_A), "mac");
  expect(told.length).toBe(1_000 - 256);
  for (let type = 1; type < 1_000; type++) made.add(refused("n0.test", type), "mac");
  made.flush();
  expect(told).toHaveLength(1_000);
  expect(told.find(({ host }) => host === "n0.test")!.types).toHaveLength(16);
});

test("the audit has it once, whatever a guest has asked for, and also what comes just before the end", async () => {
  vi.useRealTimers();
  const folder = fs.mkdtempSync("/tmp/refusals-test-");
  const audit = path.join(folder, "audit");
  const network = await createNetwork({ rules: ["default deny"], audit });
  const told: Refusal[] = [];
  network.on("flowRefused", (refusal) => told.push(refusal));
  const { guest, stop } = await embeddedGuest(network);
  const socket = guest.udp();
  for (const type of [DNS_A, DNS_AAAA, DNS_HTTPS]) socket.send(query("evil.test", type), guest.dns, 53);
  await expect(resolveName(guest, "evil.test")).rejects.toThrow("REFUSED");
  stop();
  await network.close();
  const record = { host: "evil.test", types: ["A", "AAAA", "HTTPS"], rule: "default deny", reason: "default deny" };
  expect(told).toMatchObject([record]);
  const lines = fs.readFileSync(audit, "utf8").trim().split("\n");
  expect(lines.map((line) => JSON.parse(line) as object)).toMatchObject([{ ...record, verdict: "refused" }]);
  fs.rmSync(folder, { recursive: true });
});

it("what waits when a network closes has been heard when close resolves: its process may end then", async () => {
  vi.useRealTimers();
  const network = await createNetwork({ rules: ["default deny"] });
  const told: string[] = [];
  network.on("flowRefused", ({ host }) => told.push(host!));
  const { guest, stop } = await embeddedGuest(network);
  await expect(resolveName(guest, "evil.test")).rejects.toThrow("REFUSED");
  stop();
  const heard = network.close().then(() => [...told]);
  expect(await heard).toEqual(["evil.test"]);
});
