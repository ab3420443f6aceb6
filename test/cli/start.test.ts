/** What a start reads: the files of `dist/` that one imports before it does anything, and what is in them. */
import fs from "node:fs";
import path from "node:path";
import { expect, test } from "vitest";

const DIST = path.join(process.env.TSLIRP_BUILT!, "dist");

/** A file of `dist/` with all that it imports, as text by name. */
function closure(file: string, seen: Map<string, string> = new Map()): Map<string, string> {
  if (seen.has(file)) return seen;
  const text = fs.readFileSync(path.join(DIST, file), "utf8");
  seen.set(file, text);
  for (const [, module, next] of text.matchAll(
    /^(?:(?:import|export)\b[^;]*?"(\.[^"]+)"|(?:const \w+ = )?require\("(\.[^"]+)"\));$/gm,
  ))
    closure(path.join(path.dirname(file), (module ?? next)!), seen);
  return seen;
}

/** The file that holds this module. */
function fileOf(module: string): string {
  const found = fs.readdirSync(path.join(DIST, "program")).filter((name) => name.endsWith(".cjs"));
  const holds = found.find((name) =>
    fs.readFileSync(path.join(DIST, "program", name), "utf8").includes(`// ${module}\n`),
  );
  if (holds === undefined) throw new Error(`no file holds ${module}`);
  return path.join("program", holds);
}

const API = "// node_modules/fastify/fastify.js\n";
const NETWORK = "// src/network.ts\n";

test.each([
  [
    "the library",
    "index.js",
    { files: 4, kilobytes: 950, without: [API, "// src/cli/", "// node_modules/commander/"] },
  ],
  ["what reads the program", "cli/main.js", { files: 1, kilobytes: 6, without: [NETWORK] }],
  ["the program's first line", "program/main.cjs", { files: 2, kilobytes: 2, without: [NETWORK] }],
  ["options, help and ctl", "src/cli/command-line.ts", { files: 4, kilobytes: 1_270, without: [API] }],
  ["run", "src/cli/run.ts", { files: 9, kilobytes: 1_320, without: [API] }],
  ["serve", "src/cli/serve.ts", { files: 9, kilobytes: 1_320, without: [API] }],
  ["qemu", "src/cli/qemu.ts", { files: 9, kilobytes: 1_320, without: [API] }],
  ["slirp4netns", "src/cli/slirp4netns.ts", { files: 9, kilobytes: 1_320, without: [API] }],
] as const)(
  "%s is few files, and nothing in them that is for others",
  (_what, entry, { files, kilobytes, without }) => {
    const read = closure(entry.endsWith(".ts") ? fileOf(entry) : entry);
    const text = [...read.values()].join("\n");
    for (const line of without) expect(text).not.toContain(line);
    expect([...read.keys()].length, [...read.keys()].join(" ")).toBeLessThanOrEqual(files);
    expect(text.length / 1000).toBeLessThan(kilobytes);
  },
);
