/** `tslirp demo` proves what it says, by both of its guests, and leaves nothing behind. */
import { accessSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { Proofs } from "../../src/cli/demo/proofs.ts";
import { runDemo } from "../../src/cli/demo.ts";

const QEMU = (process.env.PATH ?? "")
  .split(path.delimiter)
  .map((folder) => path.join(folder, "qemu-system-x86_64"))
  .find((file) => {
    try {
      accessSync(file);
      return true;
    } catch {
      return false;
    }
  });

const before = process.env.TMPDIR;
let folder = "";

beforeAll(() => {
  folder = mkdtempSync(path.join(tmpdir(), "demo-test-"));
  process.env.TMPDIR = folder;
});

afterEach(() => {
  expect(readdirSync(folder)).toEqual([]);
});

afterAll(() => {
  if (before === undefined) delete process.env.TMPDIR;
  else process.env.TMPDIR = before;
  rmSync(folder, { recursive: true });
});

async function run(qemu: string | null, timeout?: number): Promise<{ status: number; text: string }> {
  let text = "";
  const status = await runDemo(qemu, (piece) => (text += piece), timeout);
  return { status, text };
}

/** What the table's lines are about, with their verdicts. */
function lines(text: string): string[] {
  return [...text.matchAll(/^ {2}(ok|FAILED) +(\S.*?)(?: {2}|:|$)/gm)].map((m) => `${m[1]} ${m[2]}`);
}

test("the embedded guest proves all of it", async () => {
  const { status, text } = await run(null);
  expect(lines(text)).toEqual([
    "ok DHCP",
    "ok ping the gateway",
    "ok TFTP",
    "ok DNS",
    "ok DNS, a name that is not",
    "ok HTTP by name, through the NAT",
    "ok a closed port",
    "ok UDP through the NAT",
  ]);
  expect(text).toContain("SHA-256 agrees");
  expect(status).toBe(0);
});

test.skipIf(QEMU === undefined)(
  "iPXE under QEMU proves all of it",
  async () => {
    const { status, text } = await run(QEMU!);
    expect(text).toContain("iPXE boots under QEMU");
    expect(lines(text).filter((line) => !line.startsWith("ok "))).toEqual([]);
    expect(lines(text)).toContain("ok TFTP");
    expect(status).toBe(0);
  },
  70_000,
);

test("a QEMU that ends at once is named, and the embedded guest takes over", async () => {
  const { status, text } = await run("/nonexistent/qemu");
  expect(text).toContain("QEMU cannot run this guest here: there is no program /nonexistent/qemu");
  expect(lines(text)).toContain("ok DHCP");
  expect(status).toBe(0);
});

test("what is not proven in time has failed", async () => {
  const proofs = new Proofs(AbortSignal.timeout(5));
  expect(await proofs.prove("nothing", () => new Promise(() => {}))).toBe(false);
  expect(await proofs.prove("too late", async () => "fine")).toBe(false);
  expect(proofs.allOk).toBe(false);
});

test.skipIf(QEMU === undefined)("a machine that does not come up in time is ended", async () => {
  const { status, text } = await run(QEMU!, 1_000);
  expect(lines(text)).toContain("FAILED the machine starts, DHCP");
  expect(status).toBe(1);
});
