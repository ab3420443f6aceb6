/** An empty project with the package installed as a user would, from `npm pack`, and the examples in it. */
import { execFileSync } from "node:child_process";
import { cpSync, mkdirSync, mkdtempSync, readdirSync, rmSync, statSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { REPOSITORY } from "./namespace.ts";

/** What examples use besides. Taken from here: the registry has nothing to do with what is tested. */
const BESIDES = ["ssh2", "@types/ssh2", "v86", "@types/node", "tsx", "typescript", "undici-types"];

export class Installed {
  readonly folder: string;

  private constructor(folder: string) {
    this.folder = folder;
  }

  /** Packs, installs, copies the examples. Throws with npm's words. */
  static create(): Installed {
    const folder = mkdtempSync(path.join(tmpdir(), "tslirp-installed-"));
    install(folder, pack(folder));
    const modules = path.join(folder, "node_modules");
    for (const name of BESIDES) {
      mkdirSync(path.dirname(path.join(modules, name)), { recursive: true });
      symlinkSync(path.join(REPOSITORY, "node_modules", name), path.join(modules, name));
    }
    cpSync(path.join(REPOSITORY, "examples"), path.join(folder, "examples"), { recursive: true });
    return new Installed(folder);
  }

  /** The examples in TypeScript against the types that were installed; their JavaScript goes to `js/`. */
  compile(): void {
    const options = ["--target", "es2022", "--module", "nodenext", "--strict", "--skipLibCheck", "false"];
    const files = readdirSync(path.join(this.folder, "examples")).filter((name) => name.endsWith(".ts"));
    const sources = files.map((name) => path.join("examples", name));
    const tsc = path.join(REPOSITORY, "node_modules/typescript/bin/tsc");
    run(this.folder, process.execPath, [tsc, ...options, "--types", "node", "--outDir", "js", ...sources]);
  }

  remove(): void {
    rmSync(this.folder, { recursive: true });
  }
}

/** Makes the package in `folder` and says where. It is built first, unless what is built is newer than all sources. */
export function pack(folder: string): string {
  const sources = readdirSync(path.join(REPOSITORY, "src"), { recursive: true, encoding: "utf8" });
  const newest = Math.max(...sources.map((name) => statSync(path.join(REPOSITORY, "src", name)).mtimeMs));
  const built = statSync(path.join(REPOSITORY, "dist/cli/main.js"), { throwIfNoEntry: false })?.mtimeMs ?? 0;
  npm(REPOSITORY, "pack", "--silent", "--pack-destination", folder, ...(built > newest ? ["--ignore-scripts"] : []));
  const tarball = readdirSync(folder).find((name) => name.endsWith(".tgz"));
  if (tarball === undefined) throw new Error("npm pack made nothing");
  return path.join(folder, tarball);
}

/** Makes a project of `folder` and installs the package there, as a user does. */
export function install(folder: string, tarball: string, ...flags: string[]): void {
  writeFileSync(path.join(folder, "package.json"), JSON.stringify({ private: true, type: "module" }));
  npm(folder, "install", "--no-audit", "--no-fund", "--prefer-offline", ...flags, tarball);
}

function npm(cwd: string, ...args: string[]): void {
  run(cwd, "npm", args);
}

function run(cwd: string, command: string, args: readonly string[]): void {
  try {
    execFileSync(command, args, { cwd, stdio: "pipe", timeout: 300_000 });
  } catch (error) {
    const { stdout, stderr } = error as { stdout?: Buffer; stderr?: Buffer };
    throw new Error(`${command} ${args.join(" ")}: ${stdout ?? ""}${stderr ?? error}`);
  }
}
