/** What a network with guest forwards and SMB makes on the host, and that all of it goes. */
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import { findSmbd, sambaCommand } from "../../src/host/samba.ts";
import { createNetwork } from "../../src/network.ts";

const before = process.env.TMPDIR;
let folder = "";
beforeEach(() => {
  folder = mkdtempSync(path.join(tmpdir(), "forwards-test-"));
  process.env.TMPDIR = folder;
});
afterEach(() => {
  if (before === undefined) delete process.env.TMPDIR;
  else process.env.TMPDIR = before;
  rmSync(folder, { recursive: true });
});

it.skipIf(findSmbd() === null)("Samba's files are private, and gone with the network", async () => {
  const network = await createNetwork({ smb: folder });
  const [state, ...more] = readdirSync(folder);
  expect(more).toEqual([]);
  expect(statSync(path.join(folder, state!)).mode & 0o777).toBe(0o700);
  await network.close();
  expect(readdirSync(folder)).toEqual([]);
});

it("Samba keeps all that is its own in that folder, and shares what it was told", () => {
  const [program, ...args] = sambaCommand("/usr/sbin/smbd", folder, "/srv/a b");
  const file = path.join(folder, "smb.conf");
  expect([program, ...args]).toEqual(["/usr/sbin/smbd", "-l", folder, "-s", file]);
  const lines = readFileSync(file, "utf8")
    .split("\n")
    .map((line) => line.trim());
  for (const kind of ["private", "pid", "lock", "state", "cache"])
    expect(lines.some((line) => line === `${kind} dir = ${folder}` || line === `${kind} directory = ${folder}`)).toBe(
      true,
    );
  expect(lines.slice(lines.indexOf("[qemu]"))).toContain("path = /srv/a b");
});

it("where there is no smbd, that is known", () => {
  expect(findSmbd([folder])).toBeNull();
});

it("an address that is taken is one line's error, and nothing is left", async () => {
  await expect(createNetwork({ smb: folder, guestfwd: ["tcp:10.0.2.4:445-cmd:cat"] })).rejects.toThrow("taken");
  expect(readdirSync(folder)).toEqual([]);
});
