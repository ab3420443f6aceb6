/** The audit's file: what is in it, and what becomes of it when it grows, is moved or cannot be written. */
import { execFileSync } from "node:child_process";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { AuditFile } from "../../src/embed/audit-file.ts";
import { createNetwork } from "../../src/index.ts";

const root = process.getuid?.() === 0;
let folder: string;
let file: string;
beforeEach(() => {
  folder = fs.mkdtempSync("/tmp/audit-test-");
  file = path.join(folder, "audit.jsonl");
});
afterEach(() => fs.rmSync(folder, { recursive: true, force: true }));

type Event = Parameters<AuditFile["add"]>[0];
const refused = (host: string, rule = "default deny"): Event => ({
  ...{ type: "flow-refused", proto: "tcp", direction: "out", guest: "10.0.2.15:40000" },
  ...{ remote: "198.51.100.7:443", host, rule, reason: rule, cable: "tap", remedy: `allow tcp ${host}:443` },
});
const allowed: Event = {
  ...{ type: "flow-allowed", proto: "tcp", direction: "out", guest: "10.0.2.15:40000", cable: "tap" },
  ...{ remote: "198.51.100.7:443", host: "good.test", rule: "allow tcp good.test", needs: null },
};

function audit(more: { allowed?: boolean; rotateBytes?: number; keepFiles?: number } = {}, most = 1_000_000) {
  let full = 0;
  const failed: string[] = [];
  const options = { file, allowed: false, rotateBytes: 1_000_000, keepFiles: 2, ...more };
  const made = new AuditFile(options, most, { full: () => full++, failed: (line) => failed.push(line) });
  return { made, failed, full: () => full };
}

const read = (name = file): Record<string, unknown>[] =>
  fs
    .readFileSync(name, "utf8")
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line) as Record<string, unknown>);

test("a refusal is a line of JSON for the owner alone, behind what was there", async () => {
  fs.writeFileSync(file, '{"old":true}\n', { mode: 0o644 });
  const { made } = audit();
  await made.open();
  made.add(refused("evil.test"));
  made.add(allowed);
  await made.close();
  expect(read()).toEqual([
    { old: true },
    expect.objectContaining({
      verdict: "refused",
      host: "evil.test",
      rule: "default deny",
      remedy: "allow tcp evil.test:443",
    }),
  ]);
  expect(fs.statSync(file).mode & 0o777).toBe(0o600);
});

test("allowed flows are there when they are asked for", async () => {
  const { made } = audit({ allowed: true });
  await made.open();
  made.add(allowed);
  await made.close();
  expect(read()).toMatchObject([{ verdict: "allowed", host: "good.test", rule: "allow tcp good.test" }]);
});

test("what guests call themselves ends no line and speaks to no terminal", async () => {
  const { made } = audit();
  await made.open();
  made.add(refused('a\n{"verdict":"allowed"}\x1b[2J\u202e\u2028\u009b.test'));
  await made.close();
  const text = fs.readFileSync(file, "utf8");
  expect(text).toMatch(/^[ -~]+\n$/);
  expect(read()).toHaveLength(1);
});

test("a file that has grown becomes FILE.1, of which so many are kept, and nothing is lost between", async () => {
  const { made } = audit({ rotateBytes: 600, keepFiles: 2 });
  await made.open();
  for (let i = 0; i < 8; i++) {
    made.add(refused(`n${i}.test`));
    await made.close();
  }
  expect(fs.readdirSync(folder).sort()).toEqual(["audit.jsonl", "audit.jsonl.1", "audit.jsonl.2"]);
  const hosts = [`${file}.2`, `${file}.1`, file].flatMap((name) => read(name).map(({ host }) => host));
  expect(hosts).toEqual(["n2.test", "n3.test", "n4.test", "n5.test", "n6.test", "n7.test"].slice(-hosts.length));
  for (const name of fs.readdirSync(folder)) expect(fs.statSync(path.join(folder, name)).size).toBeLessThanOrEqual(600);
});

test("a file that has been moved is made anew", async () => {
  const { made } = audit();
  await made.open();
  made.add(refused("before.test"));
  await made.close();
  fs.renameSync(file, `${file}.moved`);
  made.reopen();
  made.add(refused("after.test"));
  await made.close();
  expect(read().map(({ host }) => host)).toEqual(["after.test"]);
  expect(fs.statSync(file).mode & 0o777).toBe(0o600);
});

test("a disk that does not keep up costs lines, which are counted, and no memory beyond the cap", async () => {
  const { made, full } = audit({}, 2_000);
  await made.open();
  for (let i = 0; i < 100; i++) made.add(refused("evil.test"));
  await made.close();
  const lines = read();
  const lost = lines.find(({ verdict }) => verdict === "lost");
  expect(lost?.count).toBe(full());
  expect(lines.length - 1 + full()).toBe(100);
});

test("what cannot be written is told once, and the network goes on; at the start it is an error of one line", async () => {
  const { made, failed } = audit();
  await made.open();
  fs.rmSync(folder, { recursive: true });
  made.reopen();
  made.add(refused("one.test"));
  await expect.poll(() => failed.length).toBe(1);
  made.add(refused("two.test"));
  await made.close();
  expect(failed).toEqual([
    expect.stringContaining("the audit is not in"),
    expect.stringContaining("the last lines of the audit (2) are lost"),
  ]);
  await expect(createNetwork({ audit: path.join(folder, "no", "audit") })).rejects.toThrow(
    /^cannot write the audit to [^\n]*$/,
  );
});

test.each(["audit", "learn"] as const)(
  "--%s: a pipe, a device or a link is refused at once, and left as it was",
  async (option) => {
    const folder = fs.mkdtempSync(path.join(os.tmpdir(), "odd-files-"));
    const fifo = path.join(folder, "fifo");
    execFileSync("mkfifo", ["-m", "644", fifo]);
    const link = path.join(folder, "link");
    fs.symlinkSync("/dev/null", link);
    const modes = (): number[] => [fifo, "/dev/null"].map((file) => fs.statSync(file).mode);
    const before = modes();
    for (const file of [fifo, "/dev/null", link])
      await expect(createNetwork({ rules: ["default deny"], [option]: file })).rejects.toThrow(/^cannot write [^\n]+$/);
    expect(modes()).toEqual(before);
    expect(fs.readdirSync(folder).sort()).toEqual(["fifo", "link"]);
    fs.rmSync(folder, { recursive: true });
  },
);

test.runIf(root)("what a full disk does not take is in the file once there is room, in order, and whole", async () => {
  const disk = path.join(folder, "disk");
  fs.mkdirSync(disk);
  execFileSync("mount", ["-t", "tmpfs", "-o", "size=64k", "none", disk]);
  try {
    file = path.join(disk, "audit.jsonl");
    const { made, failed } = audit();
    await made.open();
    made.add(refused("first.test"));
    await expect.poll(() => read().length).toBe(1);
    // Leaves room for a part of a line.
    fs.writeFileSync(path.join(disk, "fill"), Buffer.alloc(60 * 1024 - 100));
    fs.appendFileSync(file, `${" ".repeat(3_600)}\n`);
    for (const host of ["a.test", "b.test", "c.test"]) made.add(refused(host));
    await expect.poll(() => failed.length).toBe(1);
    made.add(refused("d.test"));
    fs.rmSync(path.join(disk, "fill"));
    await made.close();
    const lines = fs
      .readFileSync(file, "utf8")
      .split("\n")
      .filter((line) => line.trim() !== "");
    const hosts = lines.map((line) => (JSON.parse(line) as { host: string }).host);
    expect(hosts).toEqual(["first.test", "a.test", "b.test", "c.test", "d.test"]);
    expect(failed).toHaveLength(1);
  } finally {
    execFileSync("umount", ["-l", disk]);
  }
});

/** Runs `act` with a disk of 64 KiB, which has room for `room` bytes and the audit's file. */
async function onFullDisk(room: number, act: (fill: string) => Promise<void>): Promise<void> {
  const disk = path.join(folder, "disk");
  fs.mkdirSync(disk);
  execFileSync("mount", ["-t", "tmpfs", "-o", "size=64k", "none", disk]);
  try {
    file = path.join(disk, "audit.jsonl");
    const fill = path.join(disk, "fill");
    fs.writeFileSync(fill, Buffer.alloc(65_536 - room));
    await act(fill);
  } finally {
    execFileSync("umount", ["-l", disk]);
  }
}

test.runIf(root)(
  "an audit that ends on a full disk ends with a whole line, and tells how many are missing",
  async () => {
    await onFullDisk(4_096, async () => {
      const { made, failed, full } = audit({}, 20_000);
      await made.open();
      for (let i = 0; i < 200; i++) made.add(refused(`host${i}.test`));
      await made.close();
      const written = read().length;
      expect(written).toBeGreaterThan(5);
      expect(fs.readFileSync(file, "utf8")).toMatch(/\n$/);
      expect(full()).toBeGreaterThan(50);
      const missing = /\((\d+)\) are lost/.exec(failed.at(-1)!)?.[1];
      expect(written + Number(missing)).toBe(200);
    });
  },
);

test("a line that a killed process has not ended keeps to itself", async () => {
  fs.writeFileSync(file, '{"verdict":"refu');
  const { made } = audit();
  await made.open();
  made.add(refused("a.test"));
  await made.close();
  const lines = fs.readFileSync(file, "utf8").split("\n");
  expect(lines[0]).toBe('{"verdict":"refu');
  expect(JSON.parse(lines[1]!)).toMatchObject({ host: "a.test" });
});
