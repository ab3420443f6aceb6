/**
 * What makes containers, with a network of ours: bubblewrap (a TAP into a sandbox that runs, and one inside `tslirp run`), and
 * rootlesskit and podman, which start us in slirp4netns' place.
 */
import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import fs from "node:fs";
import http from "node:http";
import type { AddressInfo } from "node:net";
import os from "node:os";
import path from "node:path";
import type { Readable } from "node:stream";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { taps } from "../../src/host/tap-device.ts";
import { Command } from "../cli/command.ts";
import { works } from "../support/e2e/requirements.ts";
import { freePort } from "../support/free-port.ts";
import { PROGRAM } from "../support/program.ts";

const able =
  taps() !== null && fs.existsSync("/dev/net/tun") && works("bwrap", "--unshare-user", "--bind", "/", "/", "true");

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

const podman =
  able &&
  process.getuid!() === 0 &&
  ["podman", "crun", "busybox"].every((tool) => works("sh", "-c", `command -v ${tool}`));

describe.runIf(podman)("podman", () => {
  test("has us as its slirp4netns: an address, a resolver, the host by the gateway, a published port; nothing stays behind", async () => {
    const folder = fs.mkdtempSync(path.join(os.tmpdir(), "podman-"));
    const called = path.join(folder, "called");
    const binary = path.join(folder, "slirp4netns");
    fs.writeFileSync(
      binary,
      `#!/bin/sh\necho "$$ $*" >>${called}\nexec ${[process.execPath, ...PROGRAM].join(" ")} slirp4netns "$@"\n`,
      { mode: 0o755 },
    );
    const root = path.join(folder, "image");
    for (const name of ["bin", "etc", "proc", "sys", "dev"]) fs.mkdirSync(path.join(root, name), { recursive: true });
    const busybox = execFileSync("sh", ["-c", "command -v busybox"], { encoding: "utf8" }).trim();
    fs.copyFileSync(busybox, path.join(root, "bin/busybox"));
    // Not every busybox has a shell that finds the others without a link.
    for (const name of ["ip", "grep", "head", "wget", "httpd", "seq", "sleep"])
      fs.symlinkSync("busybox", path.join(root, "bin", name));
    const libraries = execFileSync("sh", ["-c", `ldd ${busybox} || true`], {
      encoding: "utf8",
      stdio: ["ignore", "pipe", "ignore"],
    });
    for (const [library] of libraries.matchAll(/\/\S+/g)) {
      if (library === `${busybox}:`) continue;
      fs.mkdirSync(path.join(root, path.dirname(library)), { recursive: true });
      fs.copyFileSync(library, path.join(root, library));
    }
    const [port, until] = [await freePort(), path.join(root, "asked")];
    const script = `ip -4 addr show tap0 | grep -o "10\\.[.0-9/]*"; head -1 /etc/resolv.conf; wget -q -O - ${url}
      echo; echo hello from podman >/page; httpd -h / -p 80
      for i in $(seq 600); do [ -e /asked ] && break; sleep 0.1; done`;
    const words = [
      ...["podman", "--root", `${folder}/root`, "--runroot", `${folder}/run`, "--tmpdir", `${folder}/tmp`],
      ...["--storage-driver", "vfs", "--events-backend", "file", "--cgroup-manager", "cgroupfs", "--runtime", "crun"],
      ...["--network-cmd-path", binary, "run", "--rm", "--cgroups=disabled"],
      ...["--ulimit=nofile=256:256", "--ulimit=nproc=1024:1024"],
      ...["--network=slirp4netns:allow_host_loopback=true", "-p", `127.0.0.1:${port}:80`],
      ...["--rootfs", root, "/bin/busybox", "sh", "-c", script],
    ];
    // crun refuses a host whose cgroups are of both versions.
    const apart = `mountpoint -q /sys/fs/cgroup/unified && umount /sys/fs/cgroup/unified; exec "$@"`;
    const child = spawn("unshare", ["--mount", "sh", "-c", apart, "sh", ...words], {
      stdio: ["ignore", "pipe", "pipe"],
    });
    const ended = once(child, "close");
    let [out, err] = ["", ""];
    child.stdout.on("data", (text: Buffer) => (out += text.toString()));
    child.stderr.on("data", (text: Buffer) => (err += text.toString()));
    const fetched = async (): Promise<string> => {
      try {
        return await (await fetch(`http://127.0.0.1:${port}/page`)).text();
      } catch {
        return err;
      }
    };
    await expect.poll(fetched, { timeout: 30_000, interval: 200 }).toBe("hello from podman\n");
    fs.writeFileSync(until, "");
    expect(await ended, err).toEqual([0, null]);
    expect(out).toBe("10.0.2.100/24\nnameserver 10.0.2.3\nhello\n");
    const pids = fs.readFileSync(called, "utf8").matchAll(/^\d+/gm);
    for (const [pid] of pids) await expect.poll(() => fs.existsSync(`/proc/${pid}`), { timeout: 10_000 }).toBe(false);
    fs.rmSync(folder, { recursive: true });
  });
});

const nobody = ["--reuid", "65534", "--regid", "65534", "--clear-groups", "--"];
const rootless =
  able &&
  process.getuid!() === 0 &&
  fs.existsSync("/etc/subuid") &&
  works("rootlesskit", "--version") &&
  works("sh", "-c", "command -v newuidmap") &&
  works("setpriv", ...nobody, process.execPath, ...PROGRAM, "--version");

describe.runIf(rootless)("rootlesskit", () => {
  test("has us as its slirp4netns: an address, a resolver, the host by the gateway; nothing stays behind", async () => {
    const folder = fs.mkdtempSync(path.join(os.tmpdir(), "rootless-"));
    fs.chownSync(folder, 65_534, 65_534);
    const binary = path.join(folder, "slirp4netns");
    fs.writeFileSync(
      binary,
      `#!/bin/sh\necho $$ >>${folder}/pid\nexec ${[process.execPath, ...PROGRAM].join(" ")} slirp4netns "$@"\n`,
      { mode: 0o755 },
    );
    fs.writeFileSync(path.join(folder, "ids"), "nobody:100000:65536\n");
    // Whose identifiers nobody may use is said where only this test's processes see it.
    const words = [
      "rootlesskit",
      "--net=slirp4netns",
      `--slirp4netns-binary=${binary}`,
      "--disable-host-loopback=false",
    ];
    const script = `for f in /etc/subuid /etc/subgid; do mount --bind ${folder}/ids $f; done
      exec setpriv ${nobody.join(" ")} ${words.join(" ")} sh -ec 'ip -4 -br addr show tap0 | grep -o "10[.0-9/]*"
        grep nameserver /etc/resolv.conf; curl -sS --max-time 20 ${url}'`;
    const env = { ...process.env, HOME: folder, XDG_RUNTIME_DIR: folder, TMPDIR: folder };
    const child = spawn("unshare", ["--mount", "sh", "-ec", script], { env, stdio: ["ignore", "pipe", "pipe"] });
    let [out, err] = ["", ""];
    child.stdout.on("data", (text: Buffer) => (out += text.toString()));
    child.stderr.on("data", (text: Buffer) => (err += text.toString()));
    expect(await once(child, "close"), err).toEqual([0, null]);
    expect(out).toBe("10.0.2.100/24\nnameserver 10.0.2.3\nhello");
    const pid = fs.readFileSync(path.join(folder, "pid"), "utf8").trim();
    await expect.poll(() => fs.existsSync(`/proc/${pid}`), { timeout: 10_000 }).toBe(false);
    fs.rmSync(folder, { recursive: true });
  });
});
