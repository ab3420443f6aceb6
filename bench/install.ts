/**
 * What an installation takes: the file that `npm pack` makes goes into an empty folder, as a user would put it there, with
 * and without the optional package; then `npx tslirp demo` runs from that folder. Prints the table that README.md tells from.
 *
 *     npm run bench:install [-- FOLDER…]
 *
 * Each FOLDER has another Node's `node` to do all this with. Fails where npm warns that a package is not made for that Node, or the demo fails.
 */
import { execFileSync, spawnSync } from "node:child_process";
import { lstatSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { pack } from "../test/support/e2e/installed.ts";

const MB = 1e6;
const world = mkdtempSync(path.join(tmpdir(), "tslirp-install-"));
process.once("exit", () => rmSync(world, { recursive: true, force: true }));

/** Bytes of the files in a folder. */
function sizeOf(folder: string): number {
  const files = readdirSync(folder, { recursive: true, encoding: "utf8" }).map((name) => path.join(folder, name));
  return files.map((file) => lstatSync(file)).reduce((sum, file) => sum + (file.isFile() ? file.size : 0), 0);
}

/** The packages that npm has put below a folder, each with its bytes, and without those of packages within it. */
function packagesIn(folder: string): { name: string; bytes: number }[] {
  const lock = JSON.parse(readFileSync(path.join(folder, "node_modules/.package-lock.json"), "utf8")) as {
    packages: object;
  };
  return Object.keys(lock.packages).map((at) => ({
    name: at.replace(/^.*node_modules\//, ""),
    bytes: sizeOf(path.join(folder, at)),
  }));
}

const tarball = pack(world);
const failures: string[] = [];

function measure(nodes: string | null, flags: readonly string[]): void {
  const PATH = nodes === null ? process.env.PATH : `${path.resolve(nodes)}:${process.env.PATH}`;
  const env = { ...process.env, PATH };
  const folder = mkdtempSync(path.join(world, "app-"));
  writeFileSync(path.join(folder, "package.json"), JSON.stringify({ private: true }));
  const version = execFileSync("node", ["--version"], { env, encoding: "utf8" }).trim();
  const began = performance.now();
  const args = ["install", "--no-audit", "--no-fund", "--prefer-offline", ...flags, tarball];
  const npm = spawnSync("npm", args, { cwd: folder, env, encoding: "utf8" });
  const seconds = (performance.now() - began) / 1000;
  const packages = packagesIn(folder);
  const bytes = packages.reduce((sum, each) => sum + each.bytes, 0);
  const demo = spawnSync("npx", ["tslirp", "demo"], { cwd: folder, env, encoding: "utf8" });
  const row = [version, flags.join(" "), packages.length, (bytes / MB).toFixed(1), seconds.toFixed(1), demo.status];
  console.log(`| ${row.join(" | ")} |`);
  if (npm.status !== 0) failures.push(`${version}: npm: ${npm.stderr}`);
  if (npm.stderr.includes("EBADENGINE")) failures.push(`${version}: ${npm.stderr}`);
  if (demo.status !== 0) failures.push(`${version}: demo: ${demo.stdout}${demo.stderr}`);
  if (flags.length > 0 || nodes !== null) return;
  const largest = packages.sort((a, b) => b.bytes - a.bytes).slice(0, 4);
  after.push(`largest: ${largest.map((each) => `${each.name} ${(each.bytes / MB).toFixed(1)} MB`).join(", ")}`);
}

const after = [`the packed file: ${(statSync(tarball).size / MB).toFixed(1)} MB`];
console.log("| Node | npm install | packages | MB | seconds | demo's exit code |\n|---|---|---|---|---|---|");
measure(null, []);
measure(null, ["--omit=optional"]);
for (const nodes of process.argv.slice(2)) measure(nodes, []);
for (const line of after) console.log(line);
for (const line of failures) console.error(`failed: ${line}`);
process.exitCode = failures.length === 0 ? 0 : 1;
