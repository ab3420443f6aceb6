/** Files of rules that include others. */
import { execFileSync } from "node:child_process";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { afterEach, beforeEach, expect, it, test } from "vitest";
import { readRules } from "../../src/cli/arguments.ts";
import { readRulesFile, saveRulesFile } from "../../src/cli/rules-file.ts";

let folder: string;
beforeEach(() => {
  folder = fs.mkdtempSync(path.join(os.tmpdir(), "rules-"));
});
afterEach(() => fs.rmSync(folder, { recursive: true }));

const write = (name: string, text: string): string => {
  const file = path.join(folder, name);
  fs.mkdirSync(path.dirname(file), { recursive: true });
  fs.writeFileSync(file, text);
  return file;
};
const read = (file: string) => readRulesFile("--rules", file);

it("rules of an included file stand in its place, each known by its own file and line", () => {
  const main = write("main", "allow tcp a.test:1\ninclude sets/one # the first\nallow tcp d.test:4\n");
  const one = write("sets/one", "\ninclude two\nallow tcp c.test:3");
  const two = write("sets/two", "allow tcp b.test:2");
  expect(read(main)).toMatchObject({
    lines: ["allow tcp a.test:1", "allow tcp b.test:2", "allow tcp c.test:3", "allow tcp d.test:4"],
    fields: [`${main}:1`, `${two}:1`, `${one}:3`, `${main}:3`],
  });
});

it("an absolute name is taken as it is, and a name may have blanks", () => {
  const other = write("far away/the rules", "allow tcp a.test:1\n");
  expect(read(write("main", `include ${other}\n`)).fields).toEqual([`${other}:1`]);
  expect(read(write("main", "include far away/the rules\n")).fields).toEqual([`${other}:1`]);
});

it("the same file may be included twice, by two others", () => {
  write("base", "allow tcp a.test:1\n");
  write("one", "include base\n");
  write("two", "include base\n");
  expect(read(write("main", "include one\ninclude two\n")).lines).toHaveLength(2);
});

test("one that includes itself is refused where it does, by others and by another spelling too", () => {
  write("one", "\ninclude ../x/../x/two\n".replaceAll("x", path.basename(folder)));
  write("two", "include ./one\n");
  expect(() => read(write("main", "include one\n"))).toThrow(
    `${folder}/two:1: got "include ./one"; expected no file that includes itself`,
  );
  expect(() => read(write("me", "include me\n"))).toThrow(/me:1: got "include me"/);
});

test("a link to itself ends at the depth", () => {
  fs.symlinkSync(folder, path.join(folder, "d"));
  expect(() => read(write("main", "include d/main\n"))).toThrow(
    /expected files that include others 8 deep at the most$/,
  );
});

test("eight deep is taken, nine is not", () => {
  for (let i = 0; i < 8; i++) write(`f${i}`, `include f${i + 1}\n`);
  write("f8", "allow tcp a.test:1\n");
  expect(read(path.join(folder, "f0")).lines).toEqual(["allow tcp a.test:1"]);
  write("f8", "include f9\n");
  write("f9", "allow tcp a.test:1\n");
  expect(() => read(path.join(folder, "f0"))).toThrow(/f8:1: got "include f9"; expected .* 8 deep/);
});

test("files that each include the next twice do not multiply without bound", () => {
  for (let i = 0; i < 8; i++) write(`f${i}`, `include f${i + 1}\ninclude f${i + 1}\n`);
  write("f8", "allow tcp a.test:1\n");
  expect(() => read(path.join(folder, "f0"))).toThrow(/expected at most 64 files of rules/);
});

test.each([
  ["include", 'main:1: got "include"; expected include FILE'],
  ["include none", 'main:1: got "include none"; expected a file that can be read (there is no such file or folder)'],
  ["include .", 'main:1: got "include ."; expected a file that can be read (it is a folder)'],
])("%s is told with its place", (line, error) => {
  expect(() => read(write("main", line))).toThrow(error);
});

test("a file that cannot be read is told by the option", () => {
  expect(() => read(path.join(folder, "none"))).toThrow(/^--rules: got .*there is no such file or folder/);
});

it("a pipe and a device are none, and hold nobody up", () => {
  const pipe = path.join(folder, "pipe");
  execFileSync("mkfifo", [pipe]);
  for (const file of [pipe, "/dev/zero", "/dev/null"]) {
    expect(() => read(file)).toThrow("expected a file, no pipe and no device");
    expect(() => read(write("main", `include ${file}\n`))).toThrow(/main:1: .*no pipe and no device/);
  }
});

it("what ends within a line is half written, when it is read again", () => {
  const file = write("main", "default deny\nallow tcp");
  expect(read(file).lines).toHaveLength(2);
  expect(() => readRulesFile("--rules", file, new Map())).toThrow("half written");
});

it("without a rule in it all would be allowed, which nobody has said", () => {
  for (const text of ["", "# nothing\n"]) {
    const file = write("main", text);
    expect(() => readRules({ file, typed: [] }, new Map())).toThrow("without any all is allowed");
    expect(readRules({ file, typed: ["default deny"] }, new Map()).lines).toEqual(["default deny"]);
  }
});

it("a file that had rules and has none when it is read again is being written: all stays as it was", () => {
  const none = ["", "# nothing\n", "\n\n"];
  write("denied", "deny tcp 192.0.2.9\n");
  write("empty", "# none yet\n");
  write("outer", "include denied\n");
  const file = write("main", "include outer\ninclude empty\ndefault allow\n");
  const { counts } = readRules({ file, typed: [] });
  for (const text of none) {
    write("denied", text);
    expect(() => readRules({ file, typed: [] }, counts), text).toThrow(/outer:1: .*a rule in it, as there was/);
  }
  // One that had none may go on having none, and one that is included no more may be empty.
  write("outer", "deny tcp 192.0.2.10\n");
  expect(readRules({ file, typed: [] }, counts).lines).toEqual(["deny tcp 192.0.2.10", "default allow"]);
});

it("rules are saved in place of rules or of nothing: whatever else a file holds, or is, stays", () => {
  const rules = ["allow tcp a.test:443", "default deny"];
  for (const file of [path.join(folder, "new"), write("none", "")]) {
    for (const saved of [rules, rules.slice(1)]) {
      saveRulesFile("file", file, saved);
      expect(read(file).lines).toEqual(saved);
    }
  }
  const pipe = path.join(folder, "a-pipe");
  execFileSync("mkfifo", [pipe]);
  const link = path.join(folder, "a-link");
  fs.symlinkSync(write("led-to", "default deny\n"), link);
  for (const file of [pipe, link, folder, "/dev/null"])
    expect(() => saveRulesFile("file", file, rules), file).toThrow("expected a file, not a link");
  const other = write("other", "root:x:0:0:root:/root:/bin/sh\n");
  expect(() => saveRulesFile("file", other, rules)).toThrow("holds something else");
  expect(fs.readFileSync(other, "utf8")).toMatch(/^root/);
  expect(fs.readdirSync(folder).filter((name) => name.endsWith(".new"))).toEqual([]);
  expect(() => saveRulesFile("file", path.join(folder, "no/folder"), rules)).toThrow("there is no such file or folder");
});
