/**
 * `npm run bench:page`: what the API's page costs the packet path. A guest in this process sends to a server in another
 * one; windows with nobody looking, with the page open, and with its packet list running take turns, and the processor
 * time of this process for each gigabyte is compared by its median. `--brief` shows that it works.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { type Api, serveApi } from "../src/api/server.ts";
import { createNetwork } from "../src/index.ts";
import { embeddedGuest } from "../test/support/embedded-guest.ts";

const brief = process.argv.includes("--brief");
const ROUNDS = brief ? 1 : 9;
const WINDOW_MILLIS = brief ? 300 : 2000;
const CHUNK = new Uint8Array(65_536);

/** What the page asks for once a second, asked by a process of its own, as a browser is. */
const VIEWER = `
  const http = require("node:http");
  const [port, token, packets] = process.argv.slice(1);
  const headers = { authorization: "Bearer " + token };
  const get = (path) => http.get({ port, path, headers, host: "127.0.0.1" }, (r) => r.resume()).on("error", () => {});
  setInterval(() => ["status", "flows", "leases", "dns?last=100"].forEach((what) => get("/v1/" + what)), 1000);
  if (packets === "1") get("/v1/packets");
  console.log("ready");
`;
const SINK = `
  const server = require("node:net").createServer((s) => s.resume().on("error", () => {}));
  server.listen(0, "127.0.0.1", () => console.log(server.address().port));
`;

async function started(code: string, ...args: string[]): Promise<{ child: ChildProcess; said: string }> {
  const child = spawn(process.execPath, ["-e", code, ...args], { stdio: ["ignore", "pipe", "inherit"] });
  const [said] = (await once(child.stdout!, "data")) as [Buffer];
  return { child, said: String(said).trim() };
}

async function viewer(api: Api, packets: boolean): Promise<ChildProcess> {
  const { port } = api.address as { port: number };
  return (await started(VIEWER, String(port), api.token!, packets ? "1" : "0")).child;
}

const network = await createNetwork();
const api = await serveApi(network, { address: { kind: "tcp", host: "127.0.0.1", port: 0 }, version: "bench" });
const sink = await started(SINK);
const guest = await embeddedGuest(network);
const socket = guest.guest.connect(guest.guest.gateway, Number(sink.said), {
  onConnect: () => pump(),
  onWritable: () => pump(),
});
function pump(): void {
  // A turn for the event loop after each chunk: a guest on a cable takes time, too.
  if (socket.write(CHUNK) === CHUNK.length) setImmediate(pump);
}

/** Processor seconds of this process for a gigabyte, and the rate in Gbit/s. */
async function measure(): Promise<{ cpu: number; rate: number }> {
  const cpu = process.cpuUsage();
  const before = network.stats().bytesIn;
  const from = performance.now();
  await new Promise((resolve) => setTimeout(resolve, WINDOW_MILLIS));
  const { user, system } = process.cpuUsage(cpu);
  const bytes = network.stats().bytesIn - before;
  return { cpu: (user + system) / 1e6 / (bytes / 1e9), rate: (bytes * 8) / 1e6 / (performance.now() - from) };
}

const KINDS = ["nobody looks", "page open", "page and packet list"] as const;
const results: Record<(typeof KINDS)[number], { cpu: number; rate: number }[]> = {
  "nobody looks": [],
  "page open": [],
  "page and packet list": [],
};
for (let round = 0; round <= ROUNDS; round++) {
  for (const kind of KINDS) {
    const child = kind === "nobody looks" ? null : await viewer(api, kind === "page and packet list");
    const result = await measure();
    // The first round warms up.
    if (round > 0) results[kind].push(result);
    if (child !== null) {
      child.kill();
      await once(child, "close");
    }
  }
}
const median = (values: number[]): number => values.toSorted((a, b) => a - b)[values.length >> 1]!;
const base = median(results["nobody looks"].map(({ cpu }) => cpu));
console.log("| who looks | CPU s/GB | against nobody | Gbit/s |\n| --- | ---: | ---: | ---: |");
for (const kind of KINDS) {
  const cpu = median(results[kind].map((each) => each.cpu));
  const rate = median(results[kind].map((each) => each.rate));
  console.log(`| ${kind} | ${cpu.toFixed(3)} | ${((cpu / base - 1) * 100).toFixed(1)} % | ${rate.toFixed(2)} |`);
}
sink.child.kill();
// What is left to close has nothing to tell any more.
process.exit(0);
