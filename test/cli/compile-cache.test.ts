/** What V8 makes of the program is kept for the next start, where nobody else can write, and no start fails for it. */
import { execFileSync } from "node:child_process";
import fs from "node:fs";
import path from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import { PROGRAM } from "../support/program.ts";
import { temporaryFolder } from "./command.ts";

let home: string;
beforeEach(() => {
  home = temporaryFolder();
});
afterEach(() => fs.rmSync(home, { recursive: true }));

function start(env: NodeJS.ProcessEnv = {}): void {
  const { XDG_CACHE_HOME: _, ...inherited } = process.env;
  const said = execFileSync(process.execPath, [...PROGRAM, "completion", "bash"], {
    ...{
      encoding: "utf8",
      stdio: ["ignore", "pipe", "pipe"],
      timeout: 15_000,
      env: { ...inherited, HOME: home, ...env },
    },
  });
  expect(said).toContain("complete ");
}

const folder = (): string => path.join(home, ".cache/tslirp");
const file = (): string => path.join(folder(), `completion-${process.version}-${process.arch}.bin`);
const numberOf = (name: string): number => fs.statSync(name).ino;

it("the first start leaves it in the cache folder, for this user alone, and the next one takes it", () => {
  start();
  expect(fs.readdirSync(folder())).toEqual([path.basename(file())]);
  expect(fs.statSync(folder()).mode & 0o777).toBe(0o700);
  expect(fs.statSync(file()).mode & 0o777).toBe(0o600);
  const first = numberOf(file());
  start();
  expect(numberOf(file())).toBe(first);
});

it("XDG_CACHE_HOME says where", () => {
  start({ XDG_CACHE_HOME: path.join(home, "elsewhere") });
  expect(fs.readdirSync(path.join(home, "elsewhere/tslirp"))).toEqual([path.basename(file())]);
  expect(fs.existsSync(folder())).toBe(false);
});

it.each([
  ["empty", () => Buffer.alloc(0)],
  ["cut off", (whole: Buffer) => whole.subarray(0, whole.length >> 1)],
  ["a byte changed", (whole: Buffer) => flipped(whole, whole.length >> 1)],
] as const)("a file that is damaged (%s) is made anew", (_what, damage) => {
  start();
  const first = numberOf(file());
  fs.writeFileSync(file(), damage(fs.readFileSync(file())));
  start();
  expect(numberOf(file())).not.toBe(first);
});

function flipped(whole: Buffer, at: number): Buffer {
  whole[at]! ^= 0xff;
  return whole;
}

it("a folder that others may write, or that a link leads to, is neither read nor written", () => {
  start();
  fs.chmodSync(folder(), 0o777);
  fs.writeFileSync(file(), "");
  start();
  expect(fs.statSync(file()).size).toBe(0);
  fs.renameSync(folder(), path.join(home, "moved"));
  fs.chmodSync(path.join(home, "moved"), 0o700);
  fs.symlinkSync(path.join(home, "moved"), folder());
  start();
  expect(fs.statSync(file()).size).toBe(0);
});

function makePipe(name: string): void {
  execFileSync("mkfifo", [name]);
}

function makeLarge(name: string): void {
  fs.writeFileSync(name, "");
  fs.truncateSync(name, 3_000_000_000);
}

it.each([
  ["a pipe without a writer", makePipe],
  ["larger than any", makeLarge],
] as const)(
  "what stands in its place and is no such file (%s) holds no start up, and is made anew",
  (_what, make) => {
    start();
    fs.rmSync(file());
    make(file());
    start();
    expect(fs.statSync(file()).isFile()).toBe(true);
    expect(fs.statSync(file()).size).toBeLessThan(100_000_000);
  },
  20_000,
);

it("nothing is made where it is not wanted, where there is no room for it, and for root in another's home", () => {
  start({ NODE_DISABLE_COMPILE_CACHE: "1" });
  start({ HOME: "/proc/nowhere" });
  start({ HOME: "relative" });
  if (process.getuid!() === 0) {
    fs.chownSync(home, 65_534, 65_534);
    start();
    fs.chownSync(home, 0, 0);
  }
  expect(fs.readdirSync(home)).toEqual([]);
});

it("files that no start has written for a month go", () => {
  start();
  const old = path.join(folder(), "serve-v18.0.0-x64.bin");
  fs.writeFileSync(old, "");
  fs.utimesSync(old, 1, 1);
  fs.rmSync(file());
  start();
  expect(fs.readdirSync(folder())).toEqual([path.basename(file())]);
});
