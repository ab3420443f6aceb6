/** `serve` under Node's permission model, with the grants that SECURITY.md lists and no other. */
import { createSocket } from "node:dgram";
import { once } from "node:events";
import fs from "node:fs";
import type { AddressInfo } from "node:net";
import net from "node:net";
import path from "node:path";
import { afterAll, beforeAll, expect, it, onTestFinished } from "vitest";
import { encodeFrame } from "../support/frames.ts";
import { PROGRAM } from "../support/program.ts";
import { arpRequest, Command, isGatewayReply, prefixed, temporaryFolder } from "./command.ts";

const GUEST = { mac: "52:54:00:12:34:56", ip: "10.0.2.15" };
const has = (flag: string): boolean => process.allowedNodeEnvironmentFlags.has(flag);

let folder: string;
beforeAll(() => {
  folder = fs.realpathSync(temporaryFolder());
  fs.mkdirSync(path.join(folder, "run"));
}, 120_000);
afterAll(() => fs.rmSync(folder, { recursive: true }));

it("serves a guest, its TCP forwards and its UDP, and reads nothing else", async () => {
  const read = [`${folder}/*`, `${path.resolve("node_modules")}/*`, "/etc/resolv.conf"];
  const flags = [
    has("--permission") ? "--permission" : "--experimental-permission",
    ...read.map((each) => `--allow-fs-read=${each}`),
    `--allow-fs-write=${folder}/run/*`,
    ...(has("--allow-net") ? ["--allow-net"] : []),
  ];
  const cable = path.join(folder, "run", "net.sock");
  const program = [...flags, ...PROGRAM];
  const tslirp = (args: readonly string[]): Command => new Command(args, {}, false, program);
  const secret = path.join(path.dirname(folder), `${path.basename(folder)}-secret`);
  fs.writeFileSync(secret, "default deny\n");
  const refused = tslirp(["--rules", secret]);
  const command = tslirp([
    "--listen",
    `unix:${cable}`,
    "--hostfwd",
    "tcp:127.0.0.1:0-:22",
    "--ipv6",
    "off",
    "--log-json",
  ]);
  onTestFinished(async () => void (await command.stop("SIGKILL")));
  await command.printed(/-netdev/);
  const guest = net.connect({ path: cable });
  guest.write(prefixed(arpRequest()));
  const [answer] = (await command.lives(once(guest, "data"))) as [Buffer];
  expect(isGatewayReply(answer.subarray(4))).toBe(true);
  const echo = createSocket("udp4").bind(0, "127.0.0.1");
  await once(echo, "listening");
  const { port } = echo.address() as AddressInfo;
  const datagram = encodeFrame({
    eth: { src: GUEST.mac, dst: "52:55:0a:00:02:02" },
    ip: { src: GUEST.ip, dst: "10.0.2.2" },
    udp: { srcPort: 5_000, dstPort: port },
    payload: "hello",
  });
  guest.write(prefixed(datagram));
  const [heard] = (await command.lives(once(echo, "message"))) as [Buffer];
  expect(String(heard)).toBe("hello");
  const [, forward = ""] = await command.logged(/tcp 127\.0\.0\.1:(\d+) -> 10\.0\.2\.15:22/);
  const client = net.connect(Number(forward), "127.0.0.1");
  await command.lives(once(client, "connect"));
  client.destroy();
  echo.close();
  guest.destroy();
  expect((await command.stop()).status).toBe(0);
  expect(fs.existsSync(cable)).toBe(false);
  expect((await refused.finished).stderr).toMatch(
    /--rules: got .*; expected a file that can be read \(Access to this API has been restricted\)/,
  );
  fs.rmSync(secret);
}, 120_000);
