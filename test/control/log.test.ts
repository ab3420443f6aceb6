import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { createLog } from "../../src/control/log.ts";
import type { LogLevel } from "../../src/control/log-levels.ts";

function logged(json: boolean, level: LogLevel = "info"): { log: ReturnType<typeof createLog>; lines: string[] } {
  const lines: string[] = [];
  return { log: createLog({ level, json, destination: { write: (line) => lines.push(line) } }), lines };
}

it("a readable line has the time, the level, the words and the fields", () => {
  const { log, lines } = logged(false);
  log.warn({ ip: "10.0.2.15", count: 3 }, "lease bound");
  expect(lines).toHaveLength(1);
  expect(lines[0]).toMatch(/^\d\d:\d\d:\d\d\.\d{3} warn {2}lease bound ip=10\.0\.2\.15 count=3\n$/);
});

it("a guest's name can neither end a line nor speak to the terminal", () => {
  const { log, lines } = logged(false);
  log.info({ hostname: "a\nb\u001b[31m\u009b1m \u2028é" }, "lease\nbound");
  expect(lines[0]).toMatch(/^[ -~]+\n$/);
});

it("an ellipsis, which our own messages have, is shown as three dots", () => {
  const { log, lines } = logged(false);
  log.error({ told: "a…" }, 'rules as before: x:1: got "allow"; expected [ech=allow] …, like tcp *.debian.org:80');
  expect(lines[0]).toMatch(
    /error rules as before: x:1: got "allow"; expected \[ech=allow\] \.\.\., like tcp .* told=a\.\.\.\n$/,
  );
});

it("JSON is one object a line", () => {
  const { log, lines } = logged(true);
  log.info({ mac: "52:54:00:12:34:56" }, "lease");
  expect(JSON.parse(lines[0]!)).toMatchObject({ level: 30, msg: "lease", mac: "52:54:00:12:34:56" });
  expect(lines[0]!.indexOf("\n")).toBe(lines[0]!.length - 1);
});

it("JSON has nothing in it that ends a line or turns its direction where it is shown", () => {
  const { log, lines } = logged(true);
  const hostname = "a\u007f\u009b1m\u0085b\u202ec\u2028\u2066é\u{e0001}😀";
  log.info({ hostname }, "lease\u202e");
  expect(lines[0]).toMatch(/^[ -~]+\n$/);
  expect(JSON.parse(lines[0]!)).toMatchObject({ hostname, msg: "lease\u202e" });
});

describe("a guest that goes on causing lines", () => {
  beforeEach(() => vi.useFakeTimers());
  afterEach(() => vi.useRealTimers());

  it.each(["lease bound", "tftp not sent", "refused by default deny", "dns"])(
    "writes %s twenty times a second",
    (kind) => {
      const { log, lines } = logged(false);
      for (let i = 0; i < 5_000; i++) log.info({ i }, kind);
      log.info("another kind");
      expect(lines).toHaveLength(21);
      vi.advanceTimersByTime(1_000);
      expect(lines.at(-1)).toMatch(/warn {2}lines left out count=4980\n$/);
      log.info(kind);
      expect(lines).toHaveLength(23);
    },
  );
  it("by words of its own writes no more in all than five hundred a second", () => {
    const { log, lines } = logged(false);
    for (let i = 0; i < 5_000; i++) log.warn(`word${i} of a program's`);
    expect(lines.length).toBeLessThanOrEqual(500);
  });
});

it("a reader that reads nothing holds nothing up, and what it gets is bounded", async () => {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), "log-"));
  const fifo = path.join(folder, "fifo");
  execFileSync("mkfifo", [fifo]);
  const fd = fs.openSync(fifo, "r+");
  const script = `import { createLog } from ${JSON.stringify(path.resolve("src/control/log.ts"))};
    const log = createLog({ level: "trace", json: true });
    const long = "x".repeat(10_000);
    let turns = 0;
    const turn = () => {
      for (let i = 0; i < 5; i++) log.debug({ long }, "kind" + turns);
      if (++turns < 60) setTimeout(turn, 1);
      else process.send(process.memoryUsage().heapUsed);
    };
    turn();`;
  const child = spawn(process.execPath, ["--import", "tsx", "--input-type=module", "-e", script], {
    stdio: ["ignore", "ignore", fd, "ipc"],
  });
  const [heap] = (await once(child, "message")) as [number];
  expect(heap).toBeLessThan(64 * 1_048_576);
  child.kill("SIGKILL");
  await once(child, "close");
  fs.closeSync(fd);
  fs.rmSync(folder, { recursive: true });
}, 20_000);

it("what is below the level is not written", () => {
  const { log, lines } = logged(false, "error");
  log.info("x");
  log.error("y");
  expect(lines).toHaveLength(1);
});
