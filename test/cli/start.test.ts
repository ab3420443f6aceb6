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
  // V8 keeps and reads a text with another character at twice the size; the program's are read as one byte a character.
  expect(text, file).toMatch(/^[\0-\x7f]*$/);
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
    { files: 3, kilobytes: 240, without: [API, "// src/stack/", "// src/cli/", "// node_modules/commander/"] },
  ],
  ["what reads the program", "cli/main.js", { files: 1, kilobytes: 7, without: [NETWORK] }],
  ["the program's first line", "program/main.cjs", { files: 2, kilobytes: 3, without: [NETWORK] }],
  ["what run begins with", "src/cli/run/early.ts", { files: 2, kilobytes: 27, without: [NETWORK] }],
  ["options, help and ctl", "src/cli/command-line.ts", { files: 5, kilobytes: 1_200, without: [API] }],
  ["run", "src/cli/run.ts", { files: 10, kilobytes: 1_250, without: [API] }],
  ["serve", "src/cli/serve.ts", { files: 10, kilobytes: 1_250, without: [API] }],
  ["qemu", "src/cli/qemu.ts", { files: 10, kilobytes: 1_250, without: [API] }],
  ["slirp4netns", "src/cli/slirp4netns.ts", { files: 10, kilobytes: 1_250, without: [API] }],
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
