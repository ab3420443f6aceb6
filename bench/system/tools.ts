/** The bench's own programs in C: the bridge, the host's services, the guest's load. Compiled on the spot. */
import { execFileSync } from "node:child_process";
import { mkdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { which } from "./peers.ts";

export interface Tools {
  readonly bridge: string;
  readonly services: string;
  readonly load: string;
}

const SOURCES = fileURLToPath(new URL("./c", import.meta.url));
const FOLDER = fileURLToPath(new URL("../bin", import.meta.url));

/** Compiles what is missing or older than its source. Null where there is no C compiler. */
export function compileTools(): Tools | null {
  const compiler = ["cc", "gcc", "clang"].find((name) => which(name) !== null);
  if (compiler === undefined) return null;
  mkdirSync(FOLDER, { recursive: true });
  const build = (name: string): string => {
    const binary = join(FOLDER, name);
    const sources = [join(SOURCES, `${name}.c`), join(SOURCES, "common.h")];
    if (sources.some((source) => modified(source) > modified(binary)))
      execFileSync(compiler, ["-O2", "-Wall", "-o", binary, sources[0]!], { stdio: ["ignore", "inherit", "inherit"] });
    return binary;
  };
  return { bridge: build("bridge"), services: build("services"), load: build("load") };
}

function modified(path: string): number {
  return statSync(path, { throwIfNoEntry: false })?.mtimeMs ?? 0;
}
