/**
 * `npm run bench:guests`: what a guest at rest costs, where each has a network of its own (`--per-guest`) and where all are on
 * one. The guests are another process: each connects, gets a lease and the gateway's address, and then says nothing.
 * `--brief` shows that it works; `--guests N` is how many have networks of their own (1000), beside 10 and 100 either way.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import type { AttachAddress } from "../src/attach/address.ts";
import { GuestNetworks } from "../src/guest-networks.ts";
import { createNetwork } from "../src/network.ts";

setFlagsFromString("--expose-gc");
const collect = runInNewContext("gc") as () => void;

const at = process.argv.indexOf("--guests");
const brief = process.argv.includes("--brief");
const COUNT = brief ? 50 : at < 0 ? 1000 : Number(process.argv[at + 1]);
/** Guests on one network, each with a lease. */
const MOST_ON_ONE = 200;
/** A guest's memory for frames is given back when it has been silent for two sweeps of five seconds. */
const SETTLE_MILLIS = brief ? 500 : 12_000;

interface Memory {
  readonly rss: number;
  readonly heap: number;
  readonly handles: number;
}

async function memory(): Promise<Memory> {
  for (let i = 0; i < 4; i++) {
    await delay(SETTLE_MILLIS / 4);
    collect();
  }
  const { rss, heapUsed } = process.memoryUsage();
  return { rss, heap: heapUsed, handles: process.getActiveResourcesInfo().length };
}

/** `first` is the number of the first one, by which their MACs differ. */
async function guests(address: string, count: number, first: number): Promise<ChildProcess> {
  const args = ["--import", "tsx", "bench/guests-child.ts", address, String(count), String(first)];
  const child = spawn(process.execPath, args, {
    stdio: ["ignore", "pipe", "inherit"],
  });
  child.stdout!.setEncoding("utf8");
  for await (const [text] of on(child)) if (text.includes("ready")) break;
  return child;
}

async function* on(child: ChildProcess): AsyncGenerator<[string]> {
  for (;;) yield (await once(child.stdout!, "data")) as [string];
}

/** The networks, or the one. */
interface Served {
  listenAt(target: string): Promise<AttachAddress>;
  /** Guests that have a lease. */
  leased(): number;
  /** Guests that are there. */
  here(): number;
  close(): Promise<void>;
}

function each(count: number): Served {
  const networks = new GuestNetworks({}, { guests: count });
  return {
    listenAt: (target) => networks.listenAt(target),
    leased: () => networks.list().filter(({ network }) => network.leases().length === 1).length,
    here: () => networks.list().length,
    close: () => networks.close(),
  };
}

async function one(): Promise<Served> {
  const network = await createNetwork({ limits: { leases: MOST_ON_ONE, leasesPerGuest: MOST_ON_ONE } });
  return {
    listenAt: (target) => network.listenAt(target),
    leased: () => network.leases().length,
    here: () => network.cables().length,
    close: () => network.close(),
  };
}

async function measure(kind: "unix" | "ws", own: boolean, count: number, folder: string): Promise<void> {
  const served = own ? each(count) : await one();
  const address = await served.listenAt(kind === "unix" ? `unix:${folder}/s` : "ws://127.0.0.1:0");
  const text = address.kind === "ws" ? `ws://127.0.0.1:${address.port}/` : `${folder}/s`;
  // What the first guest loads for all.
  const first = await guests(text, 1, 0);
  const before = await memory();
  const child = await guests(text, count - 1, 1);
  const during = await memory();
  if (served.leased() !== count) throw new Error(`${served.leased()} of ${count} guests have a lease`);
  for (const children of [first, child]) {
    children.kill();
    await once(children, "close");
  }
  while (served.here() > 0) await delay(50);
  const after = await memory();
  await served.close();
  const ofEach = (key: keyof Memory): number => (during[key] - before[key]) / (count - 1);
  const kib = (bytes: number): string => `${(bytes / 1024).toFixed(1)} KiB`;
  const mib = (bytes: number): string => `${(bytes / 1_048_576).toFixed(1)} MiB`;
  const cells = [
    ...[kind, own ? "one each" : "one for all", count, kib(ofEach("rss")), kib(ofEach("heap"))],
    ...[ofEach("handles").toFixed(2), mib(after.rss - before.rss), after.handles - before.handles + 1],
  ];
  console.log(`| ${cells.join(" | ")} |`);
}

console.log(
  "| cable | network | guests | RSS a guest | heap a guest | handles a guest | RSS kept when all have left, in all | handles then |",
);
console.log("| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |");
const folder = fs.mkdtempSync(path.join(os.tmpdir(), "guests-"));
for (const own of [true, false])
  for (const count of brief ? [10] : [10, 100]) await measure("unix", own, count, folder);
for (const kind of ["unix", "ws"] as const) await measure(kind, true, COUNT, folder);
fs.rmSync(folder, { recursive: true });
process.exit();
