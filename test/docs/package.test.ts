/** The package that `npm pack` makes: what README.md links to is in it. */
import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { expect, it } from "vitest";

it("holds every file that README.md links to, the man page, no test, and no built site", { timeout: 60_000 }, () => {
  const text = execFileSync("npm", ["pack", "--dry-run", "--json", "--ignore-scripts"], { encoding: "utf8" });
  const [{ files }] = JSON.parse(text) as [{ files: readonly { path: string }[] }];
  const packed = files.map((file) => file.path);
  const readme = readFileSync("README.md", "utf8");
  const links = [...readme.matchAll(/(?:\]\(|src(?:set)?=")([^)"#\s]+)/g)].map(([, link]) => link!);
  const local = links.filter((link) => !/^[a-z]+:/.test(link));
  expect(local.length).toBeGreaterThan(15);
  for (const link of local) expect(packed).toContain(link);
  const { man } = JSON.parse(readFileSync("package.json", "utf8")) as { man: string };
  expect(packed).toContain(man.replace(/^\.\//, ""));
  expect(packed.filter((file) => /^(?:test|src|fixtures|docs\/reference)\//.test(file))).toEqual([]);
});
