/** What modules keep for the whole process is listed in ARCHITECTURE.md, with the reason why no network has its own. */
import { readdirSync, readFileSync } from "node:fs";
import path from "node:path";
import { expect, test } from "vitest";

/** At a module's outermost level: a `let`, or a container, buffer or reused record that is there to be changed. */
const STATE =
  /^(?:export )?(?:let \w+|const \w+(?:: (?!readonly|Readonly)[^=]+)? = (?:new (?:Map|Set|WeakMap)\(\)|new FinalizationRegistry\(|new (?:Uint8|Int32)Array\((?!0\)|6\)|\[)|new[A-Z]\w*\(\)|frameFacts\(\)|tcpOptions\(\)|\[\]))/m;

test("every module with process-wide state is named in ARCHITECTURE.md's table", () => {
  const text = readFileSync("ARCHITECTURE.md", "utf8");
  const table = text.split("## State of the whole process\n")[1]!.split("\n## ")[0]!;
  const modules = readdirSync("src", { recursive: true, encoding: "utf8" })
    .filter((file) => file.endsWith(".ts") && STATE.test(readFileSync(path.join("src", file), "utf8")))
    .map((file) => file.slice(0, -".ts".length));
  expect(modules.length).toBeGreaterThan(10);
  expect(modules.filter((name) => !table.includes(`\`${name}\``)).sort()).toEqual([]);
});
