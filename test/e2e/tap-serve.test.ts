/** `serve` with a TAP: its carrier, its end, a namespace by path, an inherited descriptor, and what can be in the way. */
import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { taps } from "../../src/host/tap-device.ts";
import { openTap } from "../../src/host/tap-namespace.ts";
import { Command } from "../cli/command.ts";
import { PROGRAM } from "../support/program.ts";

const able = taps() !== null && fs.existsSync("/dev/net/tun");
const root = process.getuid?.() === 0;
const NOBODY = "65534";
const SET_UP = "ip addr add 10.0.2.15/24 dev tap0; ip link set tap0 up";
const PING = "ping -c 1 -W 10 10.0.2.2 >/dev/null";

let holder: ChildProcess;
beforeAll(async () => {
  if (!able) return;
  holder = spawn("unshare", ["--user", "--map-root-user", "--net", "sh", "-c", "echo ready; read _"], {
    stdio: ["pipe", "pipe", "inherit"],
  });
  await once(holder.stdout!, "data");
});
afterAll(() => {
  if (able) holder.stdin!.end();
});

function inside(script: string): string {
  const enter = ["--target", String(holder.pid), "--user", "--preserve-credentials", "--net", "--"];
  return execFileSync("nsenter", [...enter, "sh", "-ec", script], { encoding: "utf8" });
}

async function isMade(): Promise<void> {
  await expect.poll(() => inside("ip -br link show tap0 2>/dev/null || true"), { timeout: 30_000 }).toContain("tap0");
}

describe.runIf(able)("serve --tap", () => {
  test("goes on when the device was down, says that a second one's name is taken, and ends when the device is deleted", async () => {
    const command = new Command(["serve", "--tap", `tap0@${holder.pid}`]);
    await isMade();
    inside(`${SET_UP}; ${PING}`);
    const second = await new Command(["serve", "--tap", `tap0@${holder.pid}`]).finished;
    expect([second.status, second.stderr.trim().split("\n").at(-1)]).toEqual([
      1,
      "tslirp: cannot make TAP tap0: that name is taken",
    ]);
    for (let round = 0; round < 3; round++) inside(`ip link set tap0 down; sleep 0.2; ip link set tap0 up; ${PING}`);
    inside("ip link del tap0");
    expect((await command.finished).status, command.stderr).toBe(0);
  });

  test("--fd takes a TAP that somebody else has opened, and ends with it", async () => {
    const device = await openTap("tap0", { pid: holder.pid! });
    const child = spawn(process.execPath, [...PROGRAM, "serve", "--fd", "3"], {
      cwd: path.resolve(import.meta.dirname, "../.."),
      stdio: ["ignore", "ignore", "inherit", device.fd],
    });
    fs.closeSync(device.fd);
    inside(`${SET_UP}; for i in 1 2 3 4 5 6; do ${PING} && exit 0; done; exit 1`);
    const ended = once(child, "exit");
    inside("ip link del tap0");
    expect(await ended).toEqual([0, null]);
  });

  test("a process that has gone is one line", async () => {
    const gone = await new Command(["serve", "--tap", "tap0@4194303"]).finished;
    expect([gone.status, gone.stderr]).toEqual([1, "tslirp: there is no process 4194303\n"]);
  });
});

test.each([
  ["77", "it is not open", ""],
  ["0", "it is a file; expected a connected stream socket, or a TAP", "</etc/passwd"],
  ["0", "it is a folder; expected a connected stream socket, or a TAP", "</"],
  ["0", "it is a pipe; expected a connected stream socket, or a TAP", "8<<end 0<&8\nend"],
  ["0", "it is a device; expected a connected stream socket, or a TAP", "<>/dev/null"],
])("serve --fd %s tells in a line why that is no cable: %s", async (fd, why, redirection) => {
  const program = [
    "-e",
    `process.exit(require("child_process").spawnSync("sh", ["-c", process.argv[1]], { stdio: ["pipe", "inherit", "inherit"] }).status)`,
  ];
  const script = `"$NODE" ${PROGRAM.join(" ")} serve --fd ${fd} ${redirection}`;
  const refused = await new Command([script], { NODE: process.execPath }, false, program).finished;
  expect([refused.status, refused.stderr]).toEqual([
    1,
    `tslirp: cannot use descriptor ${fd} as a guest's cable: ${why}\n`,
  ]);
});

describe.runIf(able && root)("as root, serve --tap", () => {
  test("a name that another device has is one line", async () => {
    const { status, stderr } = await new Command(["serve", "--tap", "lo"]).finished;
    expect([status, stderr]).toEqual([
      1,
      "tslirp: cannot make TAP lo: that is another device's name, or one that no device may have\n",
    ]);
  });

  test("takes a namespace by its path, as ip netns makes it", async () => {
    const name = `tslirp-test-${process.pid}`;
    execFileSync("ip", ["netns", "add", name]);
    try {
      const command = new Command(["serve", "--tap", `tap0@/run/netns/${name}`]);
      const run = (script: string): string =>
        execFileSync("ip", ["netns", "exec", name, "sh", "-ec", script], { encoding: "utf8" });
      await expect.poll(() => run("ip -br link"), { timeout: 30_000 }).toContain("tap0");
      run(`${SET_UP}; ${PING}`);
      command.child.kill("SIGTERM");
      expect((await command.finished).status).toBe(0);
      expect(run("ip -br link")).not.toContain("tap0");
    } finally {
      execFileSync("ip", ["netns", "del", name]);
    }
  });

  test.each([
    ["by its process", (pid: number) => String(pid)],
    ["by its path", (pid: number) => `/proc/${pid}/ns/net`],
  ])("another user's namespace %s is one line", async (_how, where) => {
    const home = fs.mkdtempSync(path.join(os.tmpdir(), "tap-serve-"));
    fs.chmodSync(home, 0o777);
    const words = ["--reuid", NOBODY, "--regid", NOBODY, "--clear-groups", "--", process.execPath];
    const main = [...PROGRAM, "serve", "--tap", `tap0@${where(holder.pid!)}`];
    const program = [
      "-e",
      `process.exit(require("child_process").spawnSync("setpriv", process.argv.slice(1), { stdio: "inherit" }).status)`,
      "--",
    ];
    const env = { HOME: home, TMPDIR: home, XDG_RUNTIME_DIR: home };
    const refused = await new Command([...words, ...main], env, false, program).finished;
    fs.rmSync(home, { recursive: true });
    expect(refused.stderr).toMatch(/^tslirp: .*another user's.*\n$/);
    expect(refused.status).toBe(1);
  });
});
