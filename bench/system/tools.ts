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
  /** A guest's driver and the vhost-user front end before it. */
  readonly vhostGuest: string;
}

const SOURCES = fileURLToPath(new URL("./c", import.meta.url));
const HEADERS = ["common.h", "offload.h"];
const FOLDER = fileURLToPath(new URL("../bin", import.meta.url));

/** Null where there is no C compiler. */
export function compileTools(): Tools | null {
  const [bridge, services, load, vhostGuest] = ["bridge", "services", "load", "vhost-guest"].map(compileTool);
  return bridge && services && load && vhostGuest ? { bridge, services, load, vhostGuest } : null;
}

/** The program's path, compiled if it is missing or older than its source. Null where there is no C compiler. */
export function compileTool(name: string): string | null {
  const compiler = ["cc", "gcc", "clang"].find((program) => which(program) !== null);
  if (compiler === undefined) return null;
  mkdirSync(FOLDER, { recursive: true });
  const binary = join(FOLDER, name);
  const sources = [`${name}.c`, ...HEADERS].map((file) => join(SOURCES, file));
  if (sources.some((source) => modified(source) > modified(binary)))
    execFileSync(compiler, ["-O2", "-Wall", "-o", binary, sources[0]!], { stdio: ["ignore", "inherit", "inherit"] });
  return binary;
}

function modified(path: string): number {
  return statSync(path, { throwIfNoEntry: false })?.mtimeMs ?? 0;
}
