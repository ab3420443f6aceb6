import { execFileSync } from "node:child_process";
import fs from "node:fs";
import path from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import { leaveToken, leftTokens, runtimeFolder } from "../../src/cli/runtime-folder.ts";
import { temporaryFolder } from "./command.ts";

let base: string;
beforeEach(() => {
  base = temporaryFolder();
});
afterEach(() => fs.rmSync(base, { recursive: true }));

it("is made for this user alone, and found again", () => {
  const folder = runtimeFolder({ XDG_RUNTIME_DIR: base });
  expect(folder).toBe(path.join(base, "tslirp"));
  expect(fs.statSync(folder).mode & 0o777).toBe(0o700);
  expect(runtimeFolder({ XDG_RUNTIME_DIR: base })).toBe(folder);
});

it("is not one that others can enter", () => {
  fs.mkdirSync(path.join(base, "tslirp"));
  fs.chmodSync(path.join(base, "tslirp"), 0o755);
  expect(() => runtimeFolder({ XDG_RUNTIME_DIR: base })).toThrow("not a folder of this user alone");
});

it("is not a link to somewhere else", () => {
  fs.mkdirSync(path.join(base, "elsewhere"), { mode: 0o700 });
  fs.symlinkSync(path.join(base, "elsewhere"), path.join(base, "tslirp"));
  expect(() => runtimeFolder({ XDG_RUNTIME_DIR: base })).toThrow("not a folder of this user alone");
});

it("a pipe in a token's place holds up neither who leaves the token nor who looks for it", () => {
  const before = process.env.XDG_RUNTIME_DIR;
  process.env.XDG_RUNTIME_DIR = base;
  try {
    const file = path.join(runtimeFolder(), "api-7.token");
    execFileSync("mkfifo", [file]);
    expect(leftTokens()).toEqual([]);
    leaveToken(file, "secret", "tcp:127.0.0.1:7");
    expect(leftTokens()).toMatchObject([{ token: "secret", address: "tcp:127.0.0.1:7" }]);
    expect(fs.statSync(file).mode & 0o777).toBe(0o600);
  } finally {
    process.env.XDG_RUNTIME_DIR = before;
  }
});
