/**
 * `npm run test:cases`: every case of `list.ts`, the tests that prove it, and whether they passed. Runs the tests that
 * name a case, or takes the results of a run that has been: `npm run test:cases -- results.json` (vitest's JSON).
 * Fails when a test that names a case fails, or when a case of a complete section is without a passing test.
 */
import { spawnSync } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { CASES, COMPLETE } from "./list.ts";

interface Assertion {
  readonly title: string;
  readonly status: string;
}
interface Results {
  readonly testResults: readonly { readonly name: string; readonly assertionResults: readonly Assertion[] }[];
}
interface Proof {
  readonly test: string;
  readonly status: string;
}

function run(): Results {
  const files = readdirSync("test", { recursive: true, encoding: "utf8" })
    .filter((file) => file.endsWith(".test.ts"))
    .map((file) => join("test", file))
    .filter((file) => /\bproves\(/.test(readFileSync(file, "utf8")));
  const folder = mkdtempSync(join(tmpdir(), "cases-"));
  try {
    const output = join(folder, "results.json");
    spawnSync("npx", ["vitest", "run", "--reporter=json", `--outputFile=${output}`, ...files], { stdio: "inherit" });
    return JSON.parse(readFileSync(output, "utf8")) as Results;
  } finally {
    rmSync(folder, { recursive: true });
  }
}

const given = process.argv[2];
const results = given === undefined ? run() : (JSON.parse(readFileSync(given, "utf8")) as Results);
const proofs = new Map<string, Proof[]>();
for (const { title, status } of results.testResults.flatMap((file) => file.assertionResults)) {
  const tagged = /^(.*) \[([a-z0-9. -]+)\]$/s.exec(title);
  if (tagged === null) continue;
  for (const id of tagged[2]!.split(" ")) proofs.set(id, [...(proofs.get(id) ?? []), { test: tagged[1]!, status }]);
}

let failures = 0;
const totals: string[] = [];
console.log("| case | test | |\n| --- | --- | --- |");
for (const [section, cases] of Object.entries(CASES)) {
  let proven = 0;
  for (const [name, text] of Object.entries(cases)) {
    const id = `${section}.${name}`;
    const tests = proofs.get(id) ?? [];
    const must = COMPLETE.includes(section as keyof typeof CASES);
    if (tests.length === 0) console.log(`| ${id}: ${text} | | ${must ? "NO TEST" : "not yet"} |`);
    for (const { test, status } of tests) {
      console.log(`| ${id}: ${text} | ${test} | ${status === "passed" ? "ok" : status.toUpperCase()} |`);
    }
    const passed = tests.length > 0 && tests.every(({ status }) => status === "passed");
    if (passed) proven++;
    if ((must && !passed) || tests.some(({ status }) => status === "failed")) failures++;
  }
  totals.push(`${section} ${proven}/${Object.keys(cases).length}`);
}
console.log(`\n${totals.join(", ")}`);
if (failures > 0) {
  console.log(`${failures} cases failed or are without their test`);
  process.exitCode = 1;
}
