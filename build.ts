/**
 * `npm run build`, after tsc has written the types: `src` as a few files of JavaScript in `dist`, since reading four hundred
 * takes longer than everything else at a start.
 *
 * A command's code is in files of its own, which are read when it is asked for. The packages that package.json lists for run
 * time stay packages. Others that `src` imports become part of `dist`, with their licences: zod, of which a third is used, and
 * the API's server and metrics (Fastify, prom-client), which are 51 packages and 20 MB when they are installed, and 2 MB so.
 * Nothing is made shorter: a stack trace names functions and lines that can be read, below the name of their source file.
 */
import { chmodSync, cpSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { type BuildOptions, buildSync, type Metafile } from "esbuild";

const ROOT = import.meta.dirname ?? path.dirname(new URL(import.meta.url).pathname);

interface Manifest {
  readonly name: string;
  readonly version: string;
  readonly license: string;
  readonly dependencies?: object;
  readonly optionalDependencies?: object;
}

function manifestOf(folder: string): Manifest {
  return JSON.parse(readFileSync(path.join(folder, "package.json"), "utf8")) as Manifest;
}

/** How sources become what is run. */
export function bundling(): BuildOptions {
  const { version, dependencies, optionalDependencies } = manifestOf(ROOT);
  return {
    absWorkingDir: ROOT,
    bundle: true,
    platform: "node",
    format: "esm",
    target: "node20",
    // A package of the API's asks for "supports-color" and does without: whether it is here by chance shall change nothing.
    external: [...Object.keys({ ...dependencies, ...optionalDependencies }), "supports-color"],
    define: { TSLIRP_VERSION: JSON.stringify(version) },
    logLevel: "warning",
  };
}

/** The library and the command line in `outdir`. Returns what became part of them. */
export function bundle(outdir: string): Metafile {
  const { metafile } = buildSync({
    ...bundling(),
    entryPoints: ["src/index.ts", "src/cli/main.ts"],
    outbase: "src",
    outdir,
    chunkNames: "lib/[name]-[hash]",
    splitting: true,
    metafile: true,
  });
  for (const file of Object.keys(metafile.outputs)) giveRequire(path.join(ROOT, file));
  // Beside the code that reads it.
  cpSync(path.join(ROOT, "src/api/page"), path.join(outdir, "lib/page"), { recursive: true });
  chmodSync(path.join(outdir, "cli/main.js"), 0o755);
  return metafile;
}

/**
 * Packages in CommonJS that became part of a module ask for Node's own modules by `require`, which a module has not.
 * esbuild's `__require` is theirs, and takes a `require` that is there: this gives one to the file which defines it.
 */
function giveRequire(file: string): void {
  const text = readFileSync(file, "utf8");
  if (!text.includes("var __require =")) return;
  const given = 'import { createRequire } from "node:module";\nconst require = createRequire(import.meta.url);\n';
  writeFileSync(file, given + text);
}

/** A package that became part of what was built. */
export interface BuiltIn {
  readonly name: string;
  readonly version: string;
  /** Its SPDX name. */
  readonly license: string;
  /** Where it is, from here. */
  readonly folder: string;
}

/** The packages that became part of it, by name. */
export function builtIn({ outputs }: Metafile): BuiltIn[] {
  const inputs = Object.values(outputs).flatMap((output) => Object.keys(output.inputs));
  const folders = new Set(inputs.flatMap((input) => /^.*\bnode_modules\/(?:@[^/]+\/)?[^/]+/.exec(input)?.[0] ?? []));
  return [...folders]
    .map((folder) => ({ ...manifestOf(path.join(ROOT, folder)), folder }))
    .sort((a, b) => (a.name < b.name ? -1 : 1));
}

/** Their licences in words, as these ask for. */
function notices(packages: readonly BuiltIn[]): string {
  const texts = packages.map(({ name, version, license, folder }) => {
    const file = readdirSync(path.join(ROOT, folder)).find((each) => /^licen[cs]e/i.test(each));
    const words = file === undefined ? `${license}\n` : readFileSync(path.join(ROOT, folder, file), "utf8");
    return `${name} ${version}\n\n${words}`;
  });
  return `Packages that are part of the files here.\n\n${texts.join("\n\n")}`;
}

if (process.argv[1] === new URL(import.meta.url).pathname) {
  const dist = path.join(ROOT, "dist");
  writeFileSync(path.join(dist, "BUILT-IN.txt"), notices(builtIn(bundle(dist))));
}
