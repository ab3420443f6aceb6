/**
 * `npm run build`, after tsc has written the types: `src` as a few files of JavaScript in `dist`, since reading four hundred
 * takes longer than everything else at a start.
 *
 * A command's code is in files of its own, which are read when it is asked for. The packages that package.json lists for run
 * time stay packages. Others that `src` imports (zod, of which a third is used) become part of `dist`, with their licence.
 * Nothing is made shorter: a stack trace names functions and lines that can be read, below the name of their source file.
 */
import { chmodSync, cpSync, existsSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { type BuildOptions, buildSync, type Metafile } from "esbuild";

const ROOT = import.meta.dirname ?? path.dirname(new URL(import.meta.url).pathname);

interface Manifest {
  readonly version: string;
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
    external: Object.keys({ ...dependencies, ...optionalDependencies }),
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
  // Beside the code that reads it.
  cpSync(path.join(ROOT, "src/api/page"), path.join(outdir, "lib/page"), { recursive: true });
  chmodSync(path.join(outdir, "cli/main.js"), 0o755);
  return metafile;
}

/** The licences of the packages that became part of it. */
function notices({ inputs }: Metafile): string {
  const packages = Object.keys(inputs).flatMap((input) => /^node_modules\/((?:@[^/]+\/)?[^/]+)/.exec(input)?.[1] ?? []);
  const texts = [...new Set(packages)].sort().map((name) => {
    const folder = path.join(ROOT, "node_modules", name);
    const file = ["LICENSE", "LICENSE.md", "license"].find((each) => existsSync(path.join(folder, each)));
    if (file === undefined) throw new Error(`${name} has no licence to put beside what is built`);
    return `${name} ${manifestOf(folder).version}\n\n${readFileSync(path.join(folder, file), "utf8")}`;
  });
  return `Packages that are part of the files here.\n\n${texts.join("\n\n")}`;
}

if (process.argv[1] === new URL(import.meta.url).pathname) {
  const dist = path.join(ROOT, "dist");
  writeFileSync(path.join(dist, "BUILT-IN.txt"), notices(bundle(dist)));
}
