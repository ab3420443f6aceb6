import { expect, it } from "vitest";
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

it("JSON is one object a line", () => {
  const { log, lines } = logged(true);
  log.info({ mac: "52:54:00:12:34:56" }, "lease");
  expect(JSON.parse(lines[0]!)).toMatchObject({ level: 30, msg: "lease", mac: "52:54:00:12:34:56" });
  expect(lines[0]!.indexOf("\n")).toBe(lines[0]!.length - 1);
});

it("what is below the level is not written", () => {
  const { log, lines } = logged(false, "error");
  log.info("x");
  log.error("y");
  expect(lines).toHaveLength(1);
});
