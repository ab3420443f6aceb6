#!/usr/bin/env node
/**
 * The source of `dist/cli/main.js` (CommonJS). It loads the program's files (`dist/program`, CommonJS, which `build.ts` makes of
 * `cli/main`), together with the code that V8 compiled from them at an earlier start.
 *
 * Most of a start is V8's compilation of a megabyte of JavaScript. V8 can hand out the compiled code, and take it
 * back when the same script is loaded again. So the first start of each command writes the code of all functions that
 * the command used to the user's cache folder: one file for each command and version of Node. Later starts read it.
 * `NODE_DISABLE_COMPILE_CACHE`, the variable of Node's own cache, turns this off. Node's own cache is not used, since
 * Node 20 has none.
 *
 * The code in that file is run. So the folder must belong to this user, and nobody else may write to it. (With `sudo`,
 * HOME may be another user's; root then uses no stored code.) V8 refuses code of another V8. A script's name has a hash
 * of its content, so stored code always belongs to the script. V8 does not notice changed bytes, and would run them, so
 * the file begins with a digest of the rest. The file is renamed into place when it is complete.
 */
import { createHash } from "node:crypto";
import fs from "node:fs";
import { createRequire } from "node:module";
import path from "node:path";
import { fileURLToPath } from "node:url";
import vm from "node:vm";

const COMMANDS = ["serve", "qemu", "run", "ctl", "demo", "replay", "slirp4netns", "completion", "worker"];
/** Milliseconds after which a file that no start has written again most likely belongs to another version. */
const STALE_MILLIS = 30 * 24 * 3600 * 1000;
/** Bytes. V8 copies data that does not begin at a multiple of this. */
const WORD = 8;
const DIGEST = 32;
/** No start stores so many bytes. */
const MOST_STORED = 64 * 1_048_576;
/** The name of a chunk ends with a hash of its content, behind a hyphen. */
const HASHED = /-[\w-]{8}\.cjs$/;

interface Module {
  exports: unknown;
}
type Wrapped = (exports: unknown, require: (id: string) => unknown, module: Module, file: string, dir: string) => void;

const requirePackage = createRequire(import.meta.url);
const modules = new Map<string, Module>();
/** The loaded scripts by their file's name, and the code that an earlier start stored for each. */
const scripts = new Map<string, vm.Script>();
const stored = new Map<string, Buffer>();
/** Whether a script had no stored code, or code that V8 refused. */
let missing = false;

/** Loads a file as CommonJS does, with the stored code. The file is ASCII. */
function load(file: string): unknown {
  const known = modules.get(file);
  if (known !== undefined) return known.exports;
  const name = path.basename(file);
  const text = `(function (exports, require, module, __filename, __dirname) { ${fs.readFileSync(file, "latin1")}\n})`;
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

/** The folder of the stored code; null for none. */
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

/**
 * Makes the folder and the one above, if they are missing and the folder around them is ours. Its owner could replace
 * what is in it.
 */
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

/**
 * Reads the stored code: a digest of the rest, a line of JSON with names and lengths, and the code of each script.
 * The line and each code are padded to whole words.
 */
function read(file: string): void {
  // Reading a pipe would wait for its writer.
  const stat = fs.lstatSync(file);
  if (!stat.isFile() || stat.size > MOST_STORED) return;
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
  // Code that other starts have stored for other scripts stays in the file.
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

/** A start must not fail because of the cache. */
function attempt(what: () => void): void {
  try {
    what();
  } catch {
    // The cache is missing, unreadable, unwritable or damaged: this start goes without it.
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
