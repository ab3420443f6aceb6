/** Bubblewrap's sandboxes with a network of ours: a TAP into one that runs, and one inside `tslirp run`. */
import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import fs from "node:fs";
import http from "node:http";
import type { AddressInfo } from "node:net";
import type { Readable } from "node:stream";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { taps } from "../../src/host/tap-device.ts";
import { Command } from "../cli/command.ts";

const able =
  taps() !== null && fs.existsSync("/dev/net/tun") && works("bwrap", "--unshare-user", "--bind", "/", "/", "true");

function works(program: string, ...args: string[]): boolean {
  try {
    execFileSync(program, args, { stdio: "ignore" });
    return true;
  } catch {
    return false;
  }
}

const server = http.createServer((_request, response) => response.end("hello"));
let url = "";
beforeAll(async () => {
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  url = `http://10.0.2.2:${(server.address() as AddressInfo).port}/`;
});
afterAll(() => void server.close());

describe.runIf(able)("a bubblewrap sandbox", () => {
  test("gets a cable while it runs by serve --tap NAME@PID, which ends with it", async () => {
    const script = `ip link set lo up; echo up; read _
      ip addr add 10.0.2.15/24 dev tap0; ip link set tap0 up; ip route add default via 10.0.2.2
      curl -sS --max-time 20 ${url}`;
    const flags = ["--unshare-user", "--unshare-net", "--uid", "0", "--cap-add", "ALL", "--dev-bind", "/", "/"];
    const child = spawn("bwrap", [...flags, "--info-fd", "3", "sh", "-ec", script], {
      stdio: ["pipe", "pipe", "inherit", "pipe"],
    });
    let shown = "";
    child.stdout!.on("data", (text: Buffer) => {
      shown += text.toString();
    });
    const [info] = (await once(child.stdio[3] as Readable, "data")) as [Buffer];
    const pid = /"child-pid": (\d+)/.exec(info.toString())![1]!;
    await expect.poll(() => shown, { timeout: 10_000 }).toBe("up\n");
    const command = new Command(["serve", "--tap", `tap0@${pid}`]);
    await command.logged(/TAP tap0@/);
    child.stdin!.end("go\n");
    expect(await once(child, "close")).toEqual([0, null]);
    expect(shown).toBe("up\nhello");
    expect((await command.finished).status).toBe(0);
  });

  test("works within tslirp run", async () => {
    const inner = [
      "bwrap",
      "--unshare-user",
      "--unshare-pid",
      "--dev-bind",
      "/",
      "/",
      "curl",
      "-sS",
      "--max-time",
      "20",
      url,
    ];
    const { status, stdout, stderr } = await new Command(["run", "--", ...inner]).finished;
    expect([status, stdout], stderr).toEqual([0, "hello"]);
  });
});
