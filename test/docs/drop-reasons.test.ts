/** docs/drop-reasons.md explains every reason that there is, and no other; and there is no reason without a place in the code. */
import { readdirSync, readFileSync } from "node:fs";
import path from "node:path";
import { expect, it } from "vitest";
import { DEFAULT_LIMITS } from "../../src/core/limits.ts";
import { DROP_REASONS } from "../../src/core/trace.ts";

const rows = [...readFileSync("docs/drop-reasons.md", "utf8").matchAll(/^\| `([a-z0-9-]+)` \| (.+?) \|/gm)];

it("each drop reason has its words, once", () => {
  expect(rows.map(([, reason]) => reason!).toSorted()).toEqual([...DROP_REASONS]);
  for (const [, reason, words] of rows) expect(words!.length, reason).toBeGreaterThan(8);
});

it("each drop reason is one for which something is dropped", () => {
  const source = readdirSync("src", { recursive: true, encoding: "utf8" })
    .filter((file) => file.endsWith(".ts") && file !== path.join("core", "trace.ts"))
    .map((file) => readFileSync(path.join("src", file), "utf8"))
    .join("\n");
  expect(DROP_REASONS.filter((reason) => !source.includes(`"${reason}"`))).toEqual([]);
});

it("what it says to raise is a limit that there is", () => {
  const text = readFileSync("docs/drop-reasons.md", "utf8");
  for (const [, name] of text.matchAll(/--max (\w+)/g)) expect(DEFAULT_LIMITS).toHaveProperty(name!);
});
