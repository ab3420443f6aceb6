/** Signals that come while the program is still being loaded: none is lost, and nothing is left behind. */
import fs from "node:fs";
import path from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import { taps } from "../../src/host/tap-device.ts";
import { Command, temporaryFolder } from "./command.ts";

/** The signal comes when what the first lines ask for is about to be read. */
const PRELOAD = `data:text/javascript,${encodeURIComponent(`
import fs from "node:fs";
const read = fs.readFileSync;
fs.readFileSync = (file, ...options) => {
  if (String(file).includes("/program/commands-")) {
    fs.readFileSync = read;
    for (const signal of process.env.EARLY_SIGNALS.split(" ")) process.kill(process.pid, signal);
  }
  return read(file, ...options);
};`)}`;

let folder: string;
const started: Command[] = [];

function tslirp(signals: string, args: readonly string[]): Command {
  const env = { XDG_RUNTIME_DIR: folder, TMPDIR: folder, EARLY_SIGNALS: signals, NODE_OPTIONS: `--import=${PRELOAD}` };
  const command = new Command(args, env);
  started.push(command);
  return command;
}

/** A QEMU that says so when it runs, and does until it is ended. */
function fakeQemu(): string {
  const file = path.join(folder, "qemu-fake");
  fs.writeFileSync(
    file,
    '#!/bin/sh\n[ "$1" = --version ] && { echo "QEMU emulator version 8.2.0"; exit 0; }\necho begun\nexec sleep 60\n',
    { mode: 0o755 },
  );
  return file;
}

beforeEach(() => {
  folder = temporaryFolder();
});
afterEach(async () => {
  await Promise.all(started.splice(0).map((command) => command.stop("SIGKILL")));
  fs.rmSync(folder, { recursive: true });
});

it("SIGHUP to serve: its rules are read again, and it serves", async () => {
  const rules = path.join(folder, "rules");
  fs.writeFileSync(rules, "default allow\n");
  const serve = tslirp("SIGHUP", ["--rules", rules, "--log-level", "info"]);
  await serve.logged(/rules read again/);
  await serve.printed(/Waiting for guests/);
  expect(await serve.stop()).toMatchObject({ status: 0 });
});

it("SIGHUP to qemu with rules: QEMU begins", async () => {
  const rules = path.join(folder, "rules");
  fs.writeFileSync(rules, "default allow\n");
  const qemu = tslirp("SIGHUP", ["qemu", "--rules", rules, "--", fakeQemu()]);
  await qemu.printed(/begun/);
  expect(await qemu.stop()).toMatchObject({ status: 143 });
});

it.each([
  ["SIGTERM", ["serve"], 0],
  ["SIGINT", ["serve", "--workers", "2"], 0],
  ["SIGTERM", ["qemu", "--", "QEMU"], 143],
] as const)("%s to %j: it ends, and nothing is left", async (signals, args, status) => {
  const file = fakeQemu();
  const done = await tslirp(
    signals,
    args.map((word) => (word === "QEMU" ? file : word)),
  ).finished;
  expect(done).toMatchObject({ status, signal: null });
  expect(done.stdout).not.toContain("begun");
  const left = fs.readdirSync(folder, { recursive: true, withFileTypes: true });
  expect(left.filter((entry) => !entry.isDirectory()).map(({ name }) => name)).toEqual(["qemu-fake"]);
  expect(left.filter((entry) => entry.isDirectory() && entry.name !== "tslirp")).toEqual([]);
});

it("two at once end it at once", async () => {
  const { status, stdout } = await tslirp("SIGTERM SIGINT", ["serve"]).finished;
  expect([130, 143]).toContain(status);
  expect(stdout).toBe("");
});

it.skipIf(taps() === null)("SIGTERM and SIGINT to run: its command does not begin, and nothing is left", async () => {
  for (const [signal, status] of [
    ["SIGTERM", 143],
    ["SIGINT", 130],
  ] as const) {
    const done = await tslirp(signal, ["run", "--", "echo", "begun"]).finished;
    expect(done).toMatchObject({ status, signal: null, stdout: "" });
    // The folder by which processes tell each other of their ports has to be there before a command is, and stays.
    expect(fs.readdirSync(folder, { recursive: true }).sort()).toEqual(["tslirp", "tslirp/ports"]);
  }
});

it("a command that ends by itself has the system's answer again", async () => {
  const done = await tslirp("SIGINT", ["ctl", "status"]).finished;
  expect(done).toMatchObject({ status: null, signal: "SIGINT" });
});

it("SIGUSR1 opens no debugger, early or late: a guest would reach it by the gateway's address", async () => {
  const serve = tslirp("SIGUSR1", ["serve"]);
  await serve.printed(/Waiting for guests/);
  serve.child.kill("SIGUSR1");
  serve.child.kill("SIGTERM");
  expect(await serve.finished).toMatchObject({ status: 0, stderr: expect.not.stringContaining("Debugger") });
});
