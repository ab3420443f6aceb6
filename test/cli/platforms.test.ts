/** What the command line does on systems that this test does not run on. */
import fs from "node:fs";
import path from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import { knownSignals } from "../../src/cli/qemu/child.ts";
import { runtimeFolder, usualDoor } from "../../src/cli/runtime-folder.ts";
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
