/**
 * Why a recording can be replayed at all: floors one to four reach for nothing but their seams. Biome forbids modules and the
 * best-known globals there; this forbids what else differs from run to run, from machine to machine or from Node to Node.
 */
import { readdirSync, readFileSync } from "node:fs";
import { expect, it } from "vitest";

const FLOORS = ["wire", "core", "proto", "nat", "stack"];
/**
 * Chance, clocks, timers, the collector, other threads, the user's language; functions whose last bit ECMAScript leaves open.
 * Microtasks are no such thing: a recording has where they ran.
 */
const FOREIGN: readonly RegExp[] = [
  /\bMath\.random\b/,
  /\bMath\.(?:sin|cos|tan|exp|log|log2|log10|pow|cbrt|hypot|atan2?|sinh|cosh|tanh)\b/,
  /\b(?:performance|crypto|process|globalThis|navigator|console|Date|Intl|Temporal)\s*[.(]/,
  /\bnew (?:Date|WeakRef|FinalizationRegistry|Worker|MessageChannel)\b/,
  /\b(?:setTimeout|setInterval|setImmediate|fetch|requestAnimationFrame)\s*\(/,
  /\bAtomics\b|\bSharedArrayBuffer\b/,
  /\.(?:toLocale\w*|localeCompare)\b/,
  /\bimport\s*\(/,
];

it("floors one to four have no clock, chance, timer or thread but at their seams, nor arithmetic that differs", () => {
  const files = FLOORS.flatMap((floor) =>
    readdirSync(`src/${floor}`, { recursive: true, encoding: "utf8" })
      .filter((name) => name.endsWith(".ts"))
      .map((name) => `src/${floor}/${name}`),
  );
  files.push("src/stack.ts");
  expect(files.length).toBeGreaterThan(100);
  const found = files.flatMap((file) => {
    const code = readFileSync(file, "utf8")
      .replace(/\/\*.*?\*\//gs, "")
      .replace(/\/\/.*/g, "");
    return FOREIGN.flatMap((foreign) => (foreign.test(code) ? [`${file}: ${foreign.exec(code)![0]}`] : []));
  });
  expect(found).toEqual([]);
});
