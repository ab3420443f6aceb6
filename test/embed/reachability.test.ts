/**
 * Who reaches whom, by mode, as guests and clients find it: by TCP and by a datagram. Each cell is asserted, and the
 * docs/lan.md has the table: `README=write npx vitest run test/embed/reachability.test.ts` puts it there.
 */
import dgram from "node:dgram";
import { once } from "node:events";
import { readFileSync, writeFileSync } from "node:fs";
import net from "node:net";
import os from "node:os";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Guest } from "../../src/cli/guest/guest.ts";
import { ipv4FromText } from "../../src/core/address.ts";
import { createNetwork, type Network, type NetworkOptions } from "../../src/index.ts";
import { type EmbeddedGuest, embeddedGuest } from "../support/embedded-guest.ts";
import { freePlace } from "../support/vxlan-ends.ts";

const README = fileURLToPath(new URL("../../docs/lan.md", import.meta.url));
const GATEWAY = "10.0.2.2";
const OTHER_GUEST = "10.0.2.16";
const METADATA = "169.254.169.254";
/** An address of this machine that is not its loopback stands for the world. */
const OUTSIDE = Object.values(os.networkInterfaces())
  .flatMap((list) => list ?? [])
  .find(({ family, internal }) => family === "IPv4" && !internal)?.address;
/** What stays silent is given up after so long. */
const SILENCE_MS = 1_000;

const MODES: readonly [string, NetworkOptions][] = [
  ["`--mode shared`", {}],
  ["`--mode host-only`", { mode: "host-only" }],
  ["`--mode isolated`", { mode: "isolated" }],
  ["`--mode shared --isolate`", { isolate: true }],
  ["`--mode bridged`", { mode: "bridged" }],
];
const COLUMNS = [
  "guest → guest",
  "guest → host",
  "guest → outside",
  "guest → metadata",
  "host → guest",
  "outside → guest",
];
const YES = "yes";
const TOLD = "no: RST, ICMP";
const SILENT = "no";
const FORWARDS = "by forwards";
/** On a segment without a router: that is the segment's affair. */
const ADDRESSES = [15, 16].map((last) => ({ ip: `10.0.2.${last}`, prefix: 24, gateway: GATEWAY, dns: null }));
/** A guest that was told of no gateway does not even try, nor does it find the way back to a client outside. */
const CELLS: Readonly<Record<string, readonly string[]>> = {
  "`--mode shared`": [YES, YES, YES, TOLD, FORWARDS, FORWARDS],
  "`--mode host-only`": [YES, YES, TOLD, TOLD, FORWARDS, FORWARDS],
  "`--mode isolated`": [YES, TOLD, SILENT, SILENT, FORWARDS, SILENT],
  "`--mode shared --isolate`": [SILENT, YES, YES, TOLD, FORWARDS, FORWARDS],
  "`--mode bridged`": [YES, SILENT, SILENT, SILENT, SILENT, SILENT],
};

let web: net.Server;
let echo: dgram.Socket;
let port: number;

beforeAll(async () => {
  web = net.createServer((socket) => socket.on("error", () => {}).end());
  web.listen(0, "0.0.0.0");
  await once(web, "listening");
  port = (web.address() as net.AddressInfo).port;
  echo = dgram.createSocket("udp4").bind(port, "0.0.0.0");
  echo.on("message", (bytes, from) => echo.send(bytes, from.port, from.address));
  await once(echo, "listening");
});
afterAll(() => {
  web.close();
  echo.close();
});

async function within(answer: Promise<string>): Promise<string> {
  let timer: NodeJS.Timeout | undefined;
  const silence = new Promise<string>((resolve) => {
    timer = setTimeout(resolve, SILENCE_MS, "silence");
  });
  return Promise.race([answer, silence]).finally(() => clearTimeout(timer));
}

function tcp({ dial }: EmbeddedGuest, host: string): Promise<string> {
  return within(dial(ipv4FromText(host), port));
}

async function udp(guest: Guest, host: string): Promise<string> {
  const socket = guest.udp();
  const answer = new Promise<string>((resolve) => {
    socket.onDatagram = () => resolve("answer");
    socket.onUnreachable = (code) => resolve(`ICMP ${code}`);
    socket.send(Uint8Array.of(1), ipv4FromText(host), port);
  });
  return within(answer).finally(() => socket.close());
}

/** The ways must agree about what the cell says. */
async function reach(from: EmbeddedGuest, host: string): Promise<string> {
  const ways = [await tcp(from, host), await udp(from.guest, host)];
  const said = ways.join(", ");
  if (said === "connected, answer") return YES;
  if (said === "refused, ICMP 13") return TOLD;
  return said === "silence, silence" ? SILENT : said;
}

async function client(host: string, at: number): Promise<boolean> {
  const socket = net.connect(at, host);
  socket.on("error", () => {});
  const said = await within(once(socket, "data").then(String, () => "error"));
  socket.destroy();
  return said === "hello";
}

/** Whether a client at `host` of this machine gets to the guest: through a forward, and only there. */
async function forwarded(network: Network, host: string): Promise<string> {
  if (!network.config.gateway) {
    await expect(network.publish("0:22")).rejects.toThrow("expected another mode, or dhcp on");
    return SILENT;
  }
  const [forward] = await network.publish({ proto: "tcp", host: { host, port: 0 }, guest: { host: null, port: 22 } });
  const { port: taken } = forward!.address as { port: number };
  const reached = await client(host, taken);
  network.unpublish(forward!);
  return reached ? FORWARDS : SILENT;
}

describe.skipIf(OUTSIDE === undefined)("who reaches whom", () => {
  const found = new Map<string, readonly string[]>();

  it.each(MODES)("%s", async (name, options) => {
    const bridged = options.mode === "bridged";
    const ends = bridged ? [await freePlace("127.0.0.66"), await freePlace("127.0.0.67")] : [];
    const network = await createNetwork(
      bridged ? { ...options, uplink: `vxlan://${ends[0]}?vni=1&local=${ends[1]}` } : options,
    );
    const one = await embeddedGuest(network, 1, undefined, bridged ? ADDRESSES[0] : undefined);
    const other = await embeddedGuest(network, 2, undefined, bridged ? ADDRESSES[1] : undefined);
    other.guest.listen(port, () => ({}));
    const served = other.guest.udp(port);
    served.onDatagram = (bytes, ip, from) => served.send(bytes, ip, from);
    one.guest.listen(22, (socket) => ({ onConnect: () => void socket.write(Buffer.from("hello")) }));
    const cells = [];
    for (const host of [OTHER_GUEST, GATEWAY, OUTSIDE!, METADATA]) cells.push(await reach(one, host));
    cells.push(await forwarded(network, "127.0.0.1"), await forwarded(network, OUTSIDE!));
    for (const guest of [one, other]) guest.stop();
    await network.close();
    found.set(name, cells);
    expect(cells).toEqual(CELLS[name]);
  });

  it("is in docs/lan.md", () => {
    const rows = [
      ["mode", ...COLUMNS],
      COLUMNS.map(() => "---").concat("---"),
      ...[...found].map(([name, cells]) => [name, ...cells]),
    ];
    const table = rows.map((row) => `| ${row.join(" | ")} |`).join("\n");
    const readme = readFileSync(README, "utf8");
    const wanted = readme.replace(/(<!-- reachability -->\n)[\s\S]*(<!-- \/reachability -->)/, `$1${table}\n$2`);
    if (process.env.README === "write") writeFileSync(README, wanted);
    else expect(readme).toBe(wanted);
  });
});
