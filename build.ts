/**
 * `npm run build`, after tsc has written the types: `src` as a few files of JavaScript in `dist`, since reading four hundred
 * takes longer than everything else at a start.
 *
 * The library is modules. The program is CommonJS in `dist/program`, since only so can `cli/start` load it with what V8 has
 * kept of it. `cli/start` is CommonJS, too: Node takes longer to load modules. What is loaded when: a process reads the entry
 * that it is started by, what that imports, and a command's own file once the command is asked for (`import()` in `cli/program`
 * and others); the library reads the code of networks when the first is made (`network/load`). `LIBRARY` and `PROGRAM` say
 * which modules stand together, so that a start reads few files and none of them for a small part of it.
 *
 * All files are ASCII, since V8 keeps and reads a text with another character at twice the size.
 *
 * The packages that package.json lists for run time stay packages. Others that `src` imports become part of `dist`, with their
 * licences: what is used of zod, ip-address and commander, and the API's server and metrics (Fastify, prom-client), which are
 * 51 packages and 20 MB when they are installed, and 2 MB so. Nothing is made shorter: a stack trace names functions and
 * lines that can be read, below the name of their source file.
 */
import { chmodSync, cpSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { type CodeSplittingGroup, type InputOptions, rolldown } from "rolldown";

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

/** Modules of the library that one file holds; the first line that matches counts. What it needs from its first line on is tagged `$initial`. */
const LIBRARY: CodeSplittingGroup[] = [
  // What options are read with, and classes without the code that they call.
  { name: "options", tags: ["$initial"], test: /[\\/](src|zod|ip-address)[\\/]/ },
  // What the first network that is made needs.
  { name: "network", test: /[\\/]src[\\/](?!cli[\\/]|record[\\/])/ },
];

/**
 * The program's files. The network stands in one with all that it calls: files of CommonJS reach each other's functions
 * by a look-up at every call, which packets have no time for.
 */
const PROGRAM: CodeSplittingGroup[] = [
  // What the program begins with: alone, since reading the rest takes a while.
  { name: "signals", test: /[\\/]early-signals\.ts$/ },
  // What `run` begins with while the rest is read.
  {
    name: "early",
    test: /[\\/]src[\\/](cli[\\/]run[\\/](early|namespace|paths-to|script)|host[\\/](reason|port-registry|ownership))\.ts$/,
  },
  { name: "network", test: /[\\/](src[\\/](?!cli[\\/]|api[\\/]|record[\\/])|zod[\\/]|ip-address[\\/])/ },
  // The commands' options and help, and `ctl`.
  {
    name: "commands",
    test: /[\\/](src[\\/]cli[\\/](command-line|program|ctl|completion|flags|output|rules-file|runtime-folder)\b|commander[\\/])/,
  },
  // What those commands share that run a network.
  { name: "arguments", test: /[\\/]src[\\/]cli[\\/](arguments|launcher)\.ts$/ },
];

/** How sources become what is run. */
export function bundling(): InputOptions {
  const { version, dependencies, optionalDependencies } = manifestOf(ROOT);
  // A package of the API's asks for "supports-color" and does without: whether it is here by chance shall change nothing.
  const packages = [...Object.keys({ ...dependencies, ...optionalDependencies }), "supports-color"];
  return {
    cwd: ROOT,
    platform: "node",
    external: (id) => packages.some((name) => id === name || id.startsWith(`${name}/`)),
    transform: { target: "node20", define: { TSLIRP_VERSION: JSON.stringify(version) } },
    logLevel: "warn",
  };
}

/** JavaScript in which other characters stand as escapes. They are in texts and patterns only, where both mean the same. */
function ascii(code: string): string {
  const escaped = /(?<!\\)(?:\\\\)*\\[^\0-\x7f]/.exec(code);
  if (escaped !== null) throw new Error(`${escaped[0]}: the backslash has no meaning, and would get one`);
  return code.replace(/[^\0-\x7f]/g, (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`);
}

/** The library and the command line in `outdir`. Returns the modules that became part of them. */
export async function bundle(outdir: string): Promise<string[]> {
  const common = { minifyInternalExports: false, comments: false } as const;
  const library = await rolldown({ ...bundling(), input: { index: "src/index.ts" } });
  const start = await rolldown({ ...bundling(), input: { "cli/main": "src/cli/start.ts" } });
  const program = await rolldown({ ...bundling(), input: { main: "src/cli/main.ts" } });
  const made = [
    await library.write({
      ...{ dir: outdir, entryFileNames: "[name].js", chunkFileNames: "lib/[name]-[hash].js" },
      ...{ ...common, codeSplitting: { groups: LIBRARY } },
    }),
    await start.write({ ...{ dir: outdir, format: "cjs", entryFileNames: "[name].js" }, ...common }),
    await program.write({
      ...{ dir: path.join(outdir, "program"), format: "cjs", dynamicImportInCjs: false },
      ...{ entryFileNames: "[name].cjs", chunkFileNames: "[name]-[hash].cjs" },
      ...{ ...common, codeSplitting: { groups: PROGRAM } },
    }),
  ];
  writeFileSync(path.join(outdir, "cli/package.json"), '{ "type": "commonjs" }\n');
  // Beside the code that reads it.
  cpSync(path.join(ROOT, "src/api/page"), path.join(outdir, "program/page"), { recursive: true });
  for (const [i, folder] of [outdir, outdir, path.join(outdir, "program")].entries()) {
    for (const { fileName } of made[i]!.output) {
      const file = path.join(folder, fileName);
      writeFileSync(file, ascii(readFileSync(file, "utf8")));
    }
  }
  chmodSync(path.join(outdir, "cli/main.js"), 0o755);
  return made.flatMap(({ output }) => output.flatMap((file) => (file.type === "chunk" ? file.moduleIds : [])));
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

/** The packages of these modules, by name. */
export function builtIn(modules: readonly string[]): BuiltIn[] {
  const folders = modules.flatMap(
    (id) => /^.*\bnode_modules\/(?:@[^/]+\/)?[^/]+/.exec(path.relative(ROOT, id))?.[0] ?? [],
  );
  return [...new Set(folders)]
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
  writeFileSync(path.join(dist, "BUILT-IN.txt"), notices(builtIn(await bundle(dist))));
}
