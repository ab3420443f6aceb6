/**
 * `npm run bench:page`: what the API's page costs the packet path, as processor time of this process. The page is another
 * process, which asks for what the page asks for, as often. Guests' traffic is always the same, two thousand datagrams a
 * second beside two hundred idle connections, so that what differs is what looking costs; a network that is busy to the
 * limit of its processor loses that share of it.
 *
 * Pairs of neighbouring windows are compared, of which one has somebody looking: nobody, somebody, somebody, nobody, so
 * that neither order nor drift counts for one side. Of all pairs' differences the median is told, with the interval that
 * 95 of 100 medians of as many pairs drawn again from these fall into (bootstrap). `--brief` shows that it works.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { setTimeout as delay } from "node:timers/promises";
import { type Api, serveApi } from "../src/api/server.ts";
import { SeededRandom } from "../src/core/random.ts";
import { createNetwork } from "../src/index.ts";
import { embeddedGuest } from "../test/support/embedded-guest.ts";

const brief = process.argv.includes("--brief");
/** Each of four windows. */
const BLOCKS = brief ? 1 : 12;
const WINDOW_MILLIS = brief ? 300 : 2000;
/** What has just begun, or ended, to look counts in no window. */
const SETTLE_MILLIS = brief ? 10 : 150;
const WARM_UP_MILLIS = brief ? 100 : 15_000;
const IDLE_CONNECTIONS = 200;
const RESAMPLES = 5000;
/** This many datagrams at once, so often: 2,000 a second. */
const BURST = 10;
const BURST_MILLIS = 5;
const DATAGRAM = new Uint8Array(1400);

const LOOKS = ["page", "packets"] as const;
type Look = "nobody" | (typeof LOOKS)[number];
const TITLES: Readonly<Record<Look, string>> = {
  nobody: "nobody",
  page: "page open",
  packets: "page open, packet list running",
};

/** Told on its standard input who looks, it asks as `page/app.js` does: once a second, half as often for what changes seldom, and for packets as a stream. */
const VIEWER = `
  const http = require("node:http");
  const [port, token] = process.argv.slice(1);
  const headers = { authorization: "Bearer " + token };
  const agent = new http.Agent({ keepAlive: true });
  const get = (path) => http.get({ port, path, headers, agent, host: "127.0.0.1" }, (r) => r.resume()).on("error", () => {});
  let timer, packets, turn = 0;
  const always = ["status", "flows", "leases", "dns?last=100", "refusals?last=100", "asks"];
  const poll = () => (turn++ % 2 === 0 ? [...always, "forwards", "impairment"] : always).forEach((what) => get("/v1/" + what));
  require("node:readline").createInterface({ input: process.stdin }).on("line", (look) => {
    clearInterval(timer);
    packets?.destroy();
    packets = undefined;
    if (look !== "nobody") timer = setInterval(poll, 1000);
    if (look !== "nobody") get("/v1/history");
    if (look === "packets") packets = get("/v1/packets");
  });
  console.log("ready");
`;

async function openViewer(api: Api): Promise<ChildProcess> {
  const { port } = api.address as { port: number };
  const stdio = ["pipe", "pipe", "inherit"] as const;
  const child = spawn(process.execPath, ["-e", VIEWER, String(port), api.token!], { stdio: [...stdio] });
  await once(child.stdout!, "data");
  return child;
}

const network = await createNetwork();
const api = await serveApi(network, { address: { kind: "tcp", host: "127.0.0.1", port: 0 }, version: "bench" });
const viewer = await openViewer(api);
const sink = await network.listenGuest({ port: 0 }, (socket) => socket.resume().on("error", () => {}));
const embedded = await embeddedGuest(network);
const { guest } = embedded;
const { port } = sink.address;
for (let i = 0; i < IDLE_CONNECTIONS; i++)
  await new Promise<void>((onConnect) => guest.connect(guest.gateway, port, { onConnect }));
const heard = await network.bindGuestUdp({ port: 0 });
const sender = guest.udp();
const sending = setInterval(() => {
  for (let i = 0; i < BURST; i++) sender.send(DATAGRAM, guest.gateway, heard.address.port);
}, BURST_MILLIS);

/** Milliseconds of processor time in a second, over one window. */
async function measure(look: Look): Promise<number> {
  viewer.stdin!.write(`${look}\n`);
  await delay(SETTLE_MILLIS);
  const cpu = process.cpuUsage();
  const from = performance.now();
  await delay(WINDOW_MILLIS);
  const { user, system } = process.cpuUsage(cpu);
  return (user + system) / (performance.now() - from);
}

const windows: Record<Look, number[]> = { nobody: [], page: [], packets: [] };
/** Of each pair, what being looked at has cost. */
const costs: Record<Look, number[]> = { nobody: [], page: [], packets: [] };
await delay(WARM_UP_MILLIS);
for (let block = 0; block < BLOCKS; block++) {
  for (const look of LOOKS) {
    const before = await measure("nobody");
    const first = await measure(look);
    const second = await measure(look);
    const after = await measure("nobody");
    windows.nobody.push(before, after);
    windows[look].push(first, second);
    costs[look].push(first - before, second - after);
  }
}
clearInterval(sending);
viewer.kill();
embedded.stop();
await api.close();
await network.close();

function quantile(values: readonly number[], share: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  const at = (sorted.length - 1) * share;
  const below = sorted[Math.floor(at)]!;
  return below + (sorted[Math.ceil(at)]! - below) * (at % 1);
}

function median(values: readonly number[]): number {
  return quantile(values, 0.5);
}

/** Where the median of as many draws from `values` lies 95 times in 100. */
function interval(values: readonly number[]): [number, number] {
  const random = new SeededRandom(1);
  const draw = (): number => values[random.u32() % values.length]!;
  const medians = Array.from({ length: RESAMPLES }, () => median(values.map(draw)));
  return [quantile(medians, 0.025), quantile(medians, 0.975)];
}

const millis = (value: number): string => value.toFixed(1);
const share = (value: number): string => `${(value / 10).toFixed(2)} %`;
function cost(pairs: readonly number[]): string[] {
  const range = interval(pairs);
  return [
    ...[millis(median(pairs)), range.map(millis).join(" to "), String(pairs.length)],
    ...[share(median(pairs)), range.map(share).join(" to ")],
  ];
}

console.log("| who looks | CPU ms/s | more than nobody | 95 % interval | pairs | of a processor | 95 % interval |");
console.log("| --- | ---: | ---: | ---: | ---: | ---: | ---: |");
for (const look of ["nobody", ...LOOKS] as const) {
  const paired = look === "nobody" ? ["", "", "", "", ""] : cost(costs[look]);
  console.log(`| ${[TITLES[look], millis(median(windows[look])), ...paired].join(" | ")} |`);
}
