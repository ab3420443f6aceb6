/** What users install with tslirp, and what is built into it, is what README.md and SECURITY.md say, to the package. */
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { expect, test } from "vitest";
import { builtIn, bundle } from "../../build.ts";

interface Locked {
  readonly integrity?: string;
  readonly dev?: boolean;
  readonly license?: string;
  readonly hasInstallScript?: boolean;
  readonly dependencies?: Readonly<Record<string, string>>;
  readonly optionalDependencies?: Readonly<Record<string, string>>;
}

const read = (file: string): string => readFileSync(file, "utf8");
const manifest = JSON.parse(read("package.json")) as Locked & { readonly scripts: object };
const lock = JSON.parse(read("package-lock.json")).packages as Readonly<Record<string, Locked>>;

const namesOf = (of: Locked): string[] => Object.keys({ ...of.dependencies, ...of.optionalDependencies });
const direct = namesOf(manifest).sort();

/** Where `name` is for the package at `from`: Node's own search, in the lock file. */
function locate(from: string, name: string): string | null {
  for (let base = from; ; ) {
    const at = `${base === "" ? "" : `${base}/`}node_modules/${name}`;
    if (lock[at] !== undefined) return at;
    if (base === "") return null;
    base = base.slice(0, Math.max(0, base.lastIndexOf("/node_modules/")));
  }
}

/** A package and all that it brings. */
function closure(name: string): Set<string> {
  const found = new Set<string>();
  const add = (from: string, each: string): void => {
    const at = locate(from, each);
    if (at === null || found.has(at)) return;
    found.add(at);
    for (const next of namesOf(lock[at]!)) add(at, next);
  };
  add("", name);
  return found;
}

/** The licences of packages as SECURITY.md tells them. */
function licences(packages: readonly { readonly license?: string }[]): string {
  const found = new Map<string, number>();
  for (const { license = "none" } of packages) found.set(license, (found.get(license) ?? 0) + 1);
  const words = [...found].sort(([, a], [, b]) => b - a).map(([name, count]) => `${name} (${count})`);
  return `Their licences: ${words.join(", ")}.`;
}

const all = new Set(direct.flatMap((name) => [...closure(name)]));

test("README.md's table of dependencies lists each runtime dependency, and nothing else", () => {
  const table = read("README.md").split("## Dependencies")[1]!.split("\n\n")[0]!;
  const listed = [...table.matchAll(/^\| (`.+?) \|/gm)].flatMap(([, cell]) => cell!.match(/[^`,\s()]+(?=`)/g) ?? []);
  expect(listed.sort()).toEqual(direct);
});

test("SECURITY.md says where each comes from and how many packages come with it", () => {
  const rows = [...read("SECURITY.md").matchAll(/^\| `([^`]+)` \| [^|]+ \| [^|]+ \| (\d+) \|$/gm)];
  const said = Object.fromEntries(rows.map(([, name, count]) => [name, Number(count)]));
  expect(said).toEqual(Object.fromEntries(direct.map((name) => [name, closure(name).size - 1])));
  expect(read("SECURITY.md")).toContain(`npm installs these, ${all.size} packages`);
  expect(read("SECURITY.md")).toContain(`some of\nthem shared. ${licences([...all].map((at) => lock[at]!))}`);
});

test("SECURITY.md says what is built in, and under which licences", async () => {
  const folder = mkdtempSync(path.join(tmpdir(), "tslirp-built-in-"));
  const packages = builtIn(await bundle(folder));
  rmSync(folder, { recursive: true });
  const rows = [...read("SECURITY.md").matchAll(/^\| `([^`]+)` \| [^|]+ \| [^|]+ \|$/gm)].map(([, name]) => name!);
  expect(packages.map(({ name }) => name)).toEqual(expect.arrayContaining(rows));
  // Each other one is there because one of these wants it.
  const wanted = new Set(rows.flatMap((name) => [...closure(name)]));
  for (const { folder: at } of packages) expect(wanted).toContain(at);
  expect(read("SECURITY.md")).toContain(
    `what they need, ${packages.length} packages, are built into \`dist/\`. ${licences(packages)}`,
  );
});

test("the lock file pins all of them by content, and none of them runs a program at install but those named", () => {
  for (const at of all) expect(lock[at]!.integrity, at).toMatch(/^sha512-/);
  const scripted = [...all].filter((at) => lock[at]!.hasInstallScript === true);
  expect(scripted).toEqual(["node_modules/koffi"]);
  for (const name of ["preinstall", "install", "postinstall"]) expect(manifest.scripts).not.toHaveProperty(name);
});
