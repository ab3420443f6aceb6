/** `tslirp slirp4netns`: the calling convention as rootlesskit and podman use it, into a namespace that the test makes. */
import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import fs from "node:fs";
import http from "node:http";
import net, { type AddressInfo } from "node:net";
import os from "node:os";
import path from "node:path";
import { describe, expect, test } from "vitest";
import { taps } from "../../src/host/tap-device.ts";
import { freePort } from "../support/free-port.ts";
import { PROGRAM } from "../support/program.ts";

const ROOT = path.resolve(import.meta.dirname, "../..");
const MAIN = [...PROGRAM, "slirp4netns"];

async function ask(socket: string, request: object): Promise<unknown> {
  const client = net.connect(socket);
  client.end(JSON.stringify(request));
  let text = "";
  for await (const part of client.setEncoding("utf8")) text += part as string;
  return JSON.parse(text);
}

describe.runIf(taps() !== null && fs.existsSync("/dev/net/tun"))("tslirp slirp4netns", () => {
  test("configures, says when it is ready, forwards by its API socket, and stops when the exit descriptor is closed", async () => {
    const folder = fs.mkdtempSync(path.join(os.tmpdir(), "slirp-test-"));
    const api = path.join(folder, "api");
    const holder = spawn("unshare", ["--user", "--map-root-user", "--net", "sh", "-c", "echo ready; read _"], {
      stdio: ["pipe", "pipe", "inherit"],
    });
    await once(holder.stdout, "data");
    const enter = ["--target", String(holder.pid), "--user", "--preserve-credentials", "--net", "--"];
    const server = http.createServer((_request, response) => response.end("hello"));
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    const { port } = server.address() as AddressInfo;
    const child = spawn(
      process.execPath,
      [...MAIN, "-c", "-m", "65520", "-r", "3", "-e", "4", "--enable-sandbox", "-a", api, String(holder.pid), "tap0"],
      { cwd: ROOT, stdio: ["ignore", "inherit", "inherit", "pipe", "pipe"] },
    );
    const ended = once(child, "exit");
    const [ready] = (await once(child.stdio[3]!, "data")) as [Buffer];
    expect(ready.toString()).toBe("1");
    expect(execFileSync("nsenter", [...enter, "ip", "-br", "-4", "addr"], { encoding: "utf8" })).toContain(
      "10.0.2.100/24",
    );
    const got = spawn("nsenter", [...enter, "curl", "-sS", "--max-time", "20", `http://10.0.2.2:${port}/`]);
    const [said] = (await once(got.stdout, "data")) as [Buffer];
    expect(said.toString()).toBe("hello");

    const inside = spawn("nsenter", [...enter, "socat", "TCP-LISTEN:80,fork,reuseaddr", "SYSTEM:echo inside"]);
    const at = { proto: "tcp", host_addr: "127.0.0.1", host_port: await freePort(), guest_port: 80 };
    const added = await ask(api, { execute: "add_hostfwd", arguments: { ...at, guest_addr: "" } });
    expect(added).toEqual({ return: { id: 1 } });
    await expect.poll(() => text(at.host_port), { timeout: 10_000 }).toBe("inside\n");
    expect(await ask(api, { execute: "list_hostfwd" })).toEqual({
      return: { entries: [{ ...at, id: 1, guest_addr: "10.0.2.100" }] },
    });
    expect(await ask(api, { execute: "remove_hostfwd", arguments: { id: 1 } })).toEqual({ return: {} });
    expect(await ask(api, { execute: "remove_hostfwd", arguments: { id: 1 } })).toHaveProperty("error");
    expect(await ask(api, { execute: "format" })).toEqual({ error: { desc: "bad request" } });

    (child.stdio[4] as net.Socket).destroy();
    expect((await ended)[0]).toBe(0);
    inside.kill();
    holder.stdin.end();
    server.close();
    fs.rmSync(folder, { recursive: true });
  });

  test("without an exit descriptor serves until a signal comes, when nobody is left in the namespace, too", async () => {
    const holder = spawn("unshare", ["--user", "--map-root-user", "--net", "sh", "-c", "echo ready; read _"], {
      stdio: ["pipe", "pipe", "inherit"],
    });
    await once(holder.stdout, "data");
    const args = [...MAIN, "--configure", "--ready-fd=3", String(holder.pid), "tap0"];
    const child = spawn(process.execPath, args, { cwd: ROOT, stdio: ["ignore", "inherit", "inherit", "pipe"] });
    const ended = once(child, "exit");
    await once(child.stdio[3]!, "data");
    holder.stdin.end();
    await once(holder, "exit");
    expect(await Promise.race([ended, new Promise((resolve) => setTimeout(resolve, 1_500))])).toBeUndefined();
    child.kill("SIGTERM");
    expect(await ended).toEqual([0, null]);
  });

  test("refuses what it cannot serve in one line", () => {
    const fails = (...args: string[]): string => {
      try {
        execFileSync(process.execPath, [...MAIN, ...args], { cwd: ROOT, stdio: "pipe" });
      } catch (error) {
        return String((error as { stderr: Buffer }).stderr);
      }
      throw new Error("it did not fail");
    };
    expect(fails("4194303")).toBe("tslirp: there is no process 4194303\n");
    expect(fails("--netns-type", "path", "/nowhere")).toBe("tslirp: there is no network namespace at /nowhere\n");
    expect(fails("--ready-fd", "77", "1")).toMatch(/^tslirp: --ready-fd: got "77"; expected .*inherited descriptor\n$/);
    expect(fails("--exit-fd", "77", "1")).toMatch(/^tslirp: --exit-fd: got "77"; expected .*inherited descriptor\n$/);
    expect(fails("--cidr", "10.0.2.0/33", "1")).toMatch(/^tslirp: --cidr: got "10.0.2.0\/33"; expected .*\n$/);
    expect(fails("--outbound-addr", "x", "1")).toMatch(/^tslirp: --outbound-addr: got "x"; expected .*\n$/);
    expect(fails("--netns-type", "bess", "1")).toMatch(/^tslirp: --netns-type: .*expected path or pid\n$/);
  });
});

async function text(port: number): Promise<string> {
  const client = net.connect(port, "127.0.0.1");
  let all = "";
  try {
    for await (const part of client.setEncoding("utf8")) all += part as string;
  } catch {
    // It does not listen yet.
  }
  return all;
}
