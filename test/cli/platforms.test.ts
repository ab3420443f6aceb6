/** What the command line does on systems that this test does not run on. */
import fs from "node:fs";
import net from "node:net";
import path from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import { needLinux } from "../../src/cli/need-linux.ts";
import { knownSignals } from "../../src/cli/qemu/child.ts";
import { runtimeFolder, usualDoor } from "../../src/cli/runtime-folder.ts";
import { needCommands } from "../../src/host/commands.ts";
import { listenUnix } from "../../src/host/listen-unix.ts";
import { needTaps } from "../../src/host/tap-device.ts";
import { temporaryFolder } from "./command.ts";

let folder: string;
beforeEach(() => {
  folder = temporaryFolder();
});
afterEach(() => fs.rmSync(folder, { recursive: true }));

it("Windows: the runtime folder is the user's own, without a look at modes or owners", () => {
  expect(runtimeFolder({ LOCALAPPDATA: folder }, "win32")).toBe(path.join(folder, "tslirp"));
  // Twice, and whatever the mode says.
  fs.chmodSync(path.join(folder, "tslirp"), 0o777);
  expect(runtimeFolder({ LOCALAPPDATA: folder }, "win32")).toBe(path.join(folder, "tslirp"));
  fs.writeFileSync(path.join(folder, "file"), "");
  expect(() => runtimeFolder({ LOCALAPPDATA: path.join(folder, "file") }, "win32")).toThrow(
    /^cannot make .*LOCALAPPDATA/,
  );
});

it("Windows: serve waits at a port of the loopback, elsewhere at a UNIX socket", () => {
  expect(usualDoor("n0", "win32")).toBe("tcp:127.0.0.1:0");
  for (const platform of ["linux", "darwin"] as const) expect(usualDoor("n0", platform)).toMatch(/^unix:.*n0\.sock$/);
});

it("Windows: no signal is listened for that there is not", () => {
  const all = ["SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2"] as const;
  expect(knownSignals(all, "win32")).toEqual(["SIGINT", "SIGTERM", "SIGHUP"]);
  for (const platform of ["linux", "darwin"] as const) expect(knownSignals(all, platform)).toEqual(all);
});

it("what a system has not is told in one line that names it and what works there", async () => {
  for (const platform of ["darwin", "win32"] as const) {
    expect(() => needLinux("run", platform)).toThrow(
      new RegExp(`^run needs Linux.* ${platform}\\. serve and qemu work`),
    );
    expect(() => needTaps(platform)).toThrow(`a TAP needs Linux; this is ${platform}`);
  }
  expect(() => needLinux("run", "linux")).not.toThrow();
  expect(() => needCommands("win32")).toThrow(/^a program cannot serve guests .*HOST:PORT works there$/);
  for (const platform of ["linux", "darwin"] as const) expect(() => needCommands(platform)).not.toThrow();
  const server = net.createServer();
  await expect(listenUnix(server, path.join(folder, "s"), "win32")).rejects.toThrow(/Windows; tcp:127\.0\.0\.1:PORT/);
  expect(fs.readdirSync(folder)).toEqual([]);
});

it("a UNIX socket is its owner's alone whatever the mask is, and the mask is as before", async () => {
  const before = process.umask(0);
  try {
    const server = net.createServer();
    const file = await listenUnix(server, path.join(folder, "s"));
    expect(fs.statSync(path.join(folder, "s")).mode & 0o777).toBe(0o600);
    expect(process.umask(0)).toBe(0);
    file.unlink();
    server.close();
  } finally {
    process.umask(before);
  }
});
