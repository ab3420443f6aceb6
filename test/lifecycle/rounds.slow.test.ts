/** The same traffic again and again in one process, every service of a network with its API: no kind of object grows. */
import { equal, rejects } from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { request } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { afterAll, beforeAll, expect, test } from "vitest";
import { serveApi } from "../../src/api/server.ts";
import { WEB_NAME, World } from "../../src/cli/demo/world.ts";
import { resolveName } from "../../src/cli/guest/dns.ts";
import { httpGet } from "../../src/cli/guest/http.ts";
import { tftpGet } from "../../src/cli/guest/tftp.ts";
import { createNetwork, type Network } from "../../src/network.ts";
import { embeddedGuest } from "../support/embedded-guest.ts";
import { heapCensus } from "../support/heap-census.ts";

const GATEWAY = "10.0.2.2";
/** As many as host sockets are kept for the next dials, each with what its last connection has left. */
const WARM_UP = 70;
/** More than there are one-off objects left to be made: V8 keeps one of each literal that it meets again. */
const ROUNDS = 60;
/** The API keeps so many of the latest events. */
const KEPT_EVENTS = 1_000;

let folder: string;
let world: World;
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "tslirp-rounds-"));
  world = await World.open(GATEWAY);
  writeFileSync(join(folder, "file"), world.file);
});
afterAll(() => {
  world.close();
  rmSync(folder, { recursive: true });
});

function ask(socketPath: string, path: string): Promise<string> {
  return new Promise((resolve, reject) => {
    request({ socketPath, path, agent: false }, (answer) => resolve(text(answer)))
      .once("error", reject)
      .end();
  });
}

/** A guest comes, does everything once, is looked at, and goes. Without Vitest's `expect`, which keeps what it is given. */
async function round(network: Network, api: string): Promise<void> {
  const { guest, dial, stop } = await embeddedGuest(network, 1, "web");
  equal((await tftpGet(guest, guest.gateway, "file")).length, world.file.length);
  // Names that need no resolver: the sockets that ask one are kept for seconds.
  await resolveName(guest, "web.internal");
  await rejects(resolveName(guest, "nobody.internal"));
  equal((await httpGet(guest, world.web.replace(WEB_NAME, GATEWAY).concat("/file"))).status, 200);
  equal(await dial(guest.gateway, world.refusedPort), "refused");
  const forward = await network.publish("tcp:127.0.0.1:0-:80");
  network.impair([{ loss: 0.5, delay: 1, filter: "tcp port 9" }], 1);
  for (const path of ["/v1/status", "/v1/flows", "/v1/leases", "/v1/dns", "/metrics"]) await ask(api, path);
  network.impair([]);
  for (const each of forward) network.unpublish(each);
  stop();
}

/** Sockets and pipes, Vitest's own included. */
function handles(): string {
  const wraps = process.getActiveResourcesInfo().filter((name) => name.endsWith("Wrap"));
  return wraps.sort().join(" ");
}

test(`${ROUNDS} rounds of everything leave the listeners, handles and objects of the first ones`, async () => {
  const api = join(folder, "api");
  const network = await createNetwork({
    tftp: folder,
    dnsUpstream: [`127.0.0.1:${world.dnsPort}`],
    limits: { absentSeconds: 1 },
  });
  const server = await serveApi(network, { address: { kind: "unix", path: api }, version: "0" });
  // One refusal, told often: the ring of events is full, each with one object and one array that a real event's take the place of.
  const refused = (): object => ({ guest: "10.0.2.15:1", remote: "192.0.2.1:80", rule: "default deny", addresses: [] });
  for (let i = 0; i < KEPT_EVENTS; i++) network.emit("flowRefused", refused() as never);
  const unused = handles();
  const still = async (): Promise<Map<string, number>> => {
    await expect.poll(() => network.stats().timers, { timeout: 20_000 }).toBe(0);
    return heapCensus();
  };
  const listeners = (): number[] => network.eventNames().map((name) => network.listenerCount(name));
  for (let i = 0; i < WARM_UP; i++) await round(network, api);
  const before = await still();
  const heard = listeners();
  for (let i = 0; i < ROUNDS; i++) await round(network, api);
  const after = await still();
  expect(listeners()).toEqual(heard);
  await expect.poll(handles, { timeout: 20_000 }).toBe(unused);
  expect(network.stats()).toMatchObject({ tcpFlows: 0, udpFlows: 0, timers: 0, sendBytes: 0 });
  expect(network.cables()).toEqual([]);
  const grown = [...after].filter(([kind, count]) => count - (before.get(kind) ?? 0) >= ROUNDS);
  expect(grown.map(([kind, count]) => `${kind}: ${before.get(kind) ?? 0} → ${count}`)).toEqual([]);
  await server.close();
  await network.close();
}, 120_000);
