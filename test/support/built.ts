/**
 * The command line as users have it, JavaScript and no loader, and the tests' own programs: made once for a run of the
 * tests, since a process of it starts in a third of the time that its sources take, and the tests start hundreds.
 */
import fs from "node:fs";
import path from "node:path";
import { rolldown } from "rolldown";
import { bundle, bundling } from "../../build.ts";

const ROOT = path.resolve(import.meta.dirname, "../..");
/** Programs of the tests' own that run as processes. */
const HELPERS = ["test/support/e2e/agent.ts", "test/support/e2e/services-process.ts"];

/** Makes them in a folder of this process, which goes with it; its path. */
export async function build(): Promise<string> {
  // Within the repository, so that dependencies are found.
  const folder = path.join(ROOT, "node_modules/.cache/tslirp-tests", String(process.pid));
  process.once("exit", () => fs.rmSync(folder, { recursive: true, force: true }));
  await bundle(path.join(folder, "dist"));
  // Packages stay packages, those that only tests have, too.
  const external = (id: string): boolean => !id.startsWith(".") && !path.isAbsolute(id);
  const helpers = await rolldown({ ...bundling(), external, input: HELPERS });
  await helpers.write({ dir: path.join(folder, "support") });
  fs.copyFileSync(path.join(ROOT, "package.json"), path.join(folder, "package.json"));
  return folder;
}

/** Vitest's set-up, once for all files. */
export default async function setup(): Promise<void> {
  process.env.TSLIRP_BUILT = await build();
  // What V8 makes of it goes with it.
  process.env.XDG_CACHE_HOME = path.join(process.env.TSLIRP_BUILT, "cache");
}
