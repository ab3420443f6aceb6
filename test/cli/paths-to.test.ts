/** A file may be reached by several paths, since its folder may be mounted at several places. */
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { pathsTo } from "../../src/cli/run/paths-to.ts";

const folder = fs.realpathSync(fs.mkdtempSync(path.join(os.tmpdir(), "paths-")));
afterAll(() => fs.rmSync(folder, { recursive: true }));
const at = (...names: string[]): string => path.join(folder, ...names);
fs.mkdirSync(at("real"));
fs.writeFileSync(at("real", "a.sock"), "");
fs.mkdirSync(at("covered"));
fs.writeFileSync(at("covered", "a.sock"), "another file");
// A link stands for the second mount: both lead to the same file.
for (const name of ["other", "with blank"]) fs.symlinkSync(at("real"), at(name));
fs.symlinkSync(folder, at("whole"));

const ODD = Buffer.from([...Buffer.from(at("d")), 0xe9, 0x0a]);
fs.symlinkSync(at("real"), ODD);
const odd = ODD.toString("latin1");

const mount = (device: string, root: string, point: string): string =>
  `30 20 ${device} ${root} ${point.replaceAll(" ", "\\040").replaceAll("\n", "\\012")} rw,relatime shared:1 - ext4 /dev/sda1 rw`;
const ROOT = mount("8:1", "/", "/");
const real = at("real", "a.sock");

describe("the paths of a file", () => {
  test.each([
    ["one mount", [ROOT], []],
    ["its folder, mounted at another place", [ROOT, mount("8:1", at("real"), at("other"))], [at("other", "a.sock")]],
    ["a folder further up", [ROOT, mount("8:1", folder, at("whole"))], [at("whole", "real", "a.sock")]],
    ["a place with a blank", [ROOT, mount("8:1", at("real"), at("with blank"))], [at("with blank", "a.sock")]],
    ["a place that is no UTF-8, with a newline", [ROOT, mount("8:1", at("real"), odd)], [`${odd}/a.sock`]],
    ["the file itself", [ROOT, mount("8:1", real, at("other", "a.sock"))], [at("other", "a.sock")]],
    [
      "a file system below the root",
      [ROOT, mount("9:9", "/", at("real")), mount("9:9", "/", at("other"))],
      [at("other", "a.sock")],
    ],
    ["a mount that another covers", [ROOT, mount("8:1", at("real"), at("covered"))], []],
    ["a mount of another file system", [ROOT, mount("9:9", at("real"), at("other"))], []],
    ["a folder whose name begins the same", [ROOT, mount("8:1", at("rea"), at("other"))], []],
  ])("%s", (_what, lines, others) => {
    expect(pathsTo(real, lines.join("\n"))).toEqual([real, ...others]);
  });

  test("without /proc it is the one that is known", () => {
    expect(pathsTo(real, "")).toEqual([real]);
  });
});
