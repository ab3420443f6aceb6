#!/usr/bin/env node
/**
 * What `dist/cli/main.js` is: the program's files (`dist/program`, CommonJS, made of `cli/main` by `build.ts`), read together with
 * what V8 made of them at an earlier start.
 *
 * Most of a start is V8's reading of a megabyte of JavaScript. V8 can give out what it has compiled, and take it back when the
 * same script is loaded again. So the first start of each command leaves that in the user's cache folder, one file a command
 * and version of Node, with the functions that the command used; later ones take it from there. `NODE_DISABLE_COMPILE_CACHE`,
 * Node's own word for its own such cache, turns it off. Node's cache is not used, since Node 20 has none.
 *
 * What stands in that file is run. So the folder has to be this user's and nobody else's to write, and for root's it does not do
 * that a user's HOME was kept. V8 refuses what another V8 made; a file's name tells its content (a hash of it is part of the
 * name), so what is taken belongs to it. V8 does not look whether bytes have changed, and would run them: so the file begins
 * with its digest. It is renamed into place when it is whole.
 */
import { createHash } from "node:crypto";
import fs from "node:fs";
import { createRequire } from "node:module";
import path from "node:path";
import { fileURLToPath } from "node:url";
import vm from "node:vm";

const COMMANDS = ["serve", "qemu", "run", "ctl", "demo", "replay", "slirp4netns", "completion", "worker"];
/** What no start has written anew for so long is another version's, most likely. */
const STALE_MILLIS = 30 * 24 * 3600 * 1000;
/** V8 copies what does not begin at a word. */
const WORD = 8;
const DIGEST = 32;
/** A chunk's name has its hash behind a hyphen. */
const HASHED = /-[\w-]{8}\.cjs$/;

interface Module {
  exports: unknown;
}
type Wrapped = (exports: unknown, require: (id: string) => unknown, module: Module, file: string, dir: string) => void;

const requirePackage = createRequire(import.meta.url);
const modules = new Map<string, Module>();
/** Scripts by the name of their file, and what an earlier start left for them. */
const scripts = new Map<string, vm.Script>();
const stored = new Map<string, Buffer>();
/** A script was not among them. */
let missing = false;

/** As CommonJS loads a file, with what is stored for it. */
function load(file: string): unknown {
  const known = modules.get(file);
  if (known !== undefined) return known.exports;
  const name = path.basename(file);
  const text = `(function (exports, require, module, __filename, __dirname) { ${fs.readFileSync(file, "utf8")}\n})`;
  const cachedData = stored.get(name);
  const script = new vm.Script(text, { filename: file, cachedData });
  if (HASHED.test(name)) {
    scripts.set(name, script);
    if (cachedData === undefined || script.cachedDataRejected === true) missing = true;
  }
  const module: Module = { exports: {} };
  modules.set(file, module);
  const folder = path.dirname(file);
  const require = (id: string): unknown => (id.startsWith(".") ? load(path.join(folder, id)) : requirePackage(id));
  (script.runInThisContext() as Wrapped)(module.exports, require, module, file, folder);
  return module.exports;
}

/** The folder of what is stored; null for none. */
function cacheFolder(): string | null {
  const { NODE_DISABLE_COMPILE_CACHE: off, XDG_CACHE_HOME: base, HOME: home = "" } = process.env;
  if (off || process.geteuid === undefined) return null;
  const folder = path.join(base || path.join(home, ".cache"), "tslirp");
  return path.isAbsolute(folder) ? folder : null;
}

/** Whether a folder is ours, and nobody else may write there. */
function isOurs(folder: string): boolean {
  const { uid, mode } = fs.lstatSync(folder);
  return (mode & fs.constants.S_IFMT) === fs.constants.S_IFDIR && uid === process.geteuid!() && (mode & 0o22) === 0;
}

/** Makes what is missing of a folder and of the one above, in what is ours: who owns what is above could take it away. */
function make(folder: string): void {
  const above = path.dirname(folder);
  for (const [each, over] of [
    [above, path.dirname(above)],
    [folder, above],
  ] as const) {
    if (fs.existsSync(each)) continue;
    if (fs.statSync(over).uid !== process.geteuid!()) return;
    fs.mkdirSync(each, { mode: 0o700 });
  }
}

/** The digest of the rest; a line of JSON, filled with spaces, with names and lengths; what they have, each filled. */
function read(file: string): void {
  const bytes = fs.readFileSync(file);
  if (!digest(bytes.subarray(DIGEST)).equals(bytes.subarray(0, DIGEST))) return;
  let at = bytes.indexOf("\n", DIGEST) + 1;
  const listed = JSON.parse(bytes.toString("utf8", DIGEST, at)) as [string, number][];
  for (const [name, length] of listed) {
    stored.set(name, bytes.subarray(at, at + length));
    at += filled(length);
  }
}

function digest(bytes: Buffer): Buffer {
  return createHash("sha256").update(bytes).digest();
}

function filled(length: number): number {
  return Math.ceil(length / WORD) * WORD;
}

function write(folder: string, name: string): void {
  make(folder);
  if (!isOurs(folder)) return;
  // What other starts needed of the same files stays.
  for (const [each, script] of scripts) stored.set(each, script.createCachedData());
  for (const each of stored.keys()) if (!fs.existsSync(path.join(PROGRAM, each))) stored.delete(each);
  const listed = JSON.stringify([...stored].map(([each, { length }]) => [each, length]));
  const head = `${listed.padEnd(filled(Buffer.byteLength(listed) + 1) - 1)}\n`;
  const parts = [...stored.values()].flatMap((each) => [each, Buffer.alloc(filled(each.length) - each.length)]);
  const temporary = path.join(folder, `.${name}.${process.pid}`);
  try {
    const rest = Buffer.concat([Buffer.from(head), ...parts]);
    fs.writeFileSync(temporary, Buffer.concat([digest(rest), rest]), { mode: 0o600, flag: "wx" });
    fs.renameSync(temporary, path.join(folder, name));
  } catch (error) {
    fs.rmSync(temporary, { force: true });
    throw error;
  }
  for (const each of fs.readdirSync(folder)) {
    const file = path.join(folder, each);
    if (Date.now() - fs.statSync(file).mtimeMs > STALE_MILLIS) fs.unlinkSync(file);
  }
}

/** No start fails for want of a cache. */
function attempt(what: () => void): void {
  try {
    what();
  } catch {
    // Not there, not readable, not writable, not as it should be: this start goes without.
  }
}

const PROGRAM = fileURLToPath(new URL("../program", import.meta.url));
const command = COMMANDS.find((each) => each === process.argv[2]) ?? "serve";
const file = `${command}-${process.version}-${process.arch}.bin`;
const folder = cacheFolder();
if (folder !== null) {
  attempt(() => isOurs(folder) && read(path.join(folder, file)));
  process.on("exit", () => missing && attempt(() => write(folder, file)));
}
load(path.join(PROGRAM, "main.cjs"));
