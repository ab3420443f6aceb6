/**
 * `npm run bench:guests`: what a guest at rest costs where each has a network of its own (`--per-guest`). The guests are
 * another process: each connects, gets a lease and the gateway's address, and then says nothing. `--brief` shows that it
 * works; `--guests N` is how many (1000).
 */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { GuestNetworks } from "../src/guest-networks.ts";

setFlagsFromString("--expose-gc");
const collect = runInNewContext("gc") as () => void;

const at = process.argv.indexOf("--guests");
const COUNT = process.argv.includes("--brief") ? 50 : at < 0 ? 1000 : Number(process.argv[at + 1]);
/** A guest's memory for frames is given back when it has been silent for two sweeps of five seconds. */
const SETTLE_MILLIS = process.argv.includes("--brief") ? 500 : 12_000;

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

async function guests(address: string, count: number): Promise<ChildProcess> {
  const child = spawn(process.execPath, ["--import", "tsx", "bench/guests-child.ts", address, String(count)], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  child.stdout!.setEncoding("utf8");
  for await (const [text] of on(child)) if (text.includes("ready")) break;
  return child;
}

async function* on(child: ChildProcess): AsyncGenerator<[string]> {
  for (;;) yield (await once(child.stdout!, "data")) as [string];
}

const folder = fs.mkdtempSync(path.join(os.tmpdir(), "guests-"));
console.log(
  "| cable | guests | RSS a guest | heap a guest | handles a guest | RSS kept when all have left, in all | handles then |",
);
console.log("| --- | ---: | ---: | ---: | ---: | ---: | ---: |");
for (const kind of ["unix", "ws"] as const) {
  const networks = new GuestNetworks({}, { guests: COUNT });
  const address = await networks.listenAt(kind === "unix" ? `unix:${folder}/s` : "ws://127.0.0.1:0");
  const text = address.kind === "ws" ? `ws://127.0.0.1:${address.port}/` : `${folder}/s`;
  // What the first guest loads for all.
  const first = await guests(text, 1);
  const before = await memory();
  const child = await guests(text, COUNT - 1);
  const during = await memory();
  const leased = networks.list().filter(({ network }) => network.leases().length === 1).length;
  if (leased !== COUNT) throw new Error(`${leased} of ${COUNT} guests have a lease`);
  for (const each of [first, child]) {
    each.kill();
    await once(each, "close");
  }
  while (networks.list().length > 0) await delay(50);
  const after = await memory();
  await networks.close();
  const each = (key: keyof Memory): number => (during[key] - before[key]) / (COUNT - 1);
  const kib = (bytes: number): string => `${(bytes / 1024).toFixed(1)} KiB`;
  const left = `${((after.rss - before.rss) / 1_048_576).toFixed(1)} MiB`;
  console.log(
    `| ${kind} | ${COUNT} | ${kib(each("rss"))} | ${kib(each("heap"))} | ${each("handles").toFixed(2)} | ${left} | ${after.handles - before.handles + 1} |`,
  );
}
fs.rmSync(folder, { recursive: true });
process.exit();
