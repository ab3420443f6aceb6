/** What a guest may read of one folder, whatever it calls it and whoever changes the folder meanwhile. */
import { execFileSync } from "node:child_process";
import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  renameSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import type { FileRefusal, OpenFile } from "../../src/core/files.ts";
import { NodeFiles } from "../../src/host/files.ts";
import { proves } from "../cases/proves.ts";

let folder = "";
let root = "";
let files: NodeFiles;

beforeEach(() => {
  folder = mkdtempSync(path.join(tmpdir(), "files-test-"));
  root = path.join(folder, "root");
  mkdirSync(path.join(root, "sub"), { recursive: true });
  writeFileSync(path.join(root, "f"), "inside");
  writeFileSync(path.join(root, "sub", "g"), "below");
  writeFileSync(path.join(folder, "secret"), "outside");
  mkdirSync(path.join(folder, "root-too"));
  writeFileSync(path.join(folder, "root-too", "secret"), "outside");
  files = new NodeFiles(root);
});
afterEach(() => rmSync(folder, { recursive: true }));

function open(name: string): Promise<OpenFile | FileRefusal> {
  return new Promise((resolve) => files.open(name, resolve));
}

async function content(name: string): Promise<string> {
  const file = await open(name);
  if (typeof file === "string") return file;
  const into = new Uint8Array(file.size);
  const bytes = await new Promise<number>((resolve) => file.read(0, into, resolve));
  file.close();
  return Buffer.from(into.subarray(0, bytes)).toString();
}

/** Descriptors of this process that lead into the test's folder. */
function descriptors(): number {
  const links = readdirSync("/proc/self/fd").map((fd) => {
    try {
      return execFileSync("readlink", [`/proc/${process.pid}/fd/${fd}`], { encoding: "utf8" });
    } catch {
      return "";
    }
  });
  return links.filter((link) => link.startsWith(folder)).length;
}

it("reads files, below too, and by links that stay within", async () => {
  symlinkSync("sub/g", path.join(root, "link"));
  symlinkSync(path.join(root, "sub"), path.join(root, "linked"));
  expect(await content("f")).toBe("inside");
  expect(await content("sub/g")).toBe("below");
  expect(await content("link")).toBe("below");
  expect(await content("linked/g")).toBe("below");
});

it("the folder itself may be a link, and may be replaced", async () => {
  const link = path.join(folder, "link");
  symlinkSync(root, link);
  files = new NodeFiles(link);
  expect(await content("f")).toBe("inside");
  renameSync(root, path.join(folder, "before"));
  mkdirSync(root);
  expect(await content("f")).toBe("missing");
});

it.each([
  ["nothing", "missing"],
  ["f/below", "missing"],
  ["x".repeat(300), "missing"],
  ["sub", "refused"],
  [".", "refused"],
  ["../secret", "refused"],
  ["sub/../../secret", "refused"],
])("%j is %s", async (name, refusal) => {
  expect(await open(name)).toBe(refusal);
});

it(
  proves(
    "bad.tftp.escape",
    "links that lead out are refused: to a file, a folder, the root's namesake, a device, in a circle",
  ),
  async () => {
    symlinkSync("../secret", path.join(root, "file"));
    symlinkSync("/", path.join(root, "all"));
    symlinkSync("../root-too", path.join(root, "namesake"));
    symlinkSync("/dev/zero", path.join(root, "device"));
    symlinkSync("circle", path.join(root, "circle"));
    for (const name of ["file", "all/etc/passwd", "namesake/secret", "device"])
      expect(await open(name)).toBe("refused");
    expect(await open("circle")).toBe("missing");
  },
);

it("what is no regular file is refused, a FIFO without waiting for its writer", async () => {
  execFileSync("mkfifo", [path.join(root, "fifo")]);
  expect(await open("fifo")).toBe("refused");
});

it.skipIf(process.platform !== "linux")(
  proves("bad.tftp.escape", "a folder that becomes a link meanwhile never leads out"),
  async () => {
    const real = path.join(folder, "real");
    const link = path.join(folder, "link");
    const name = path.join(root, "flips");
    mkdirSync(real);
    writeFileSync(path.join(real, "secret"), "inside");
    symlinkSync("../root-too", link);
    const results = new Set<string>();
    for (let i = 0; i < 1_000; i++) {
      renameSync(real, name);
      const opening = content("flips/secret");
      for (let k = i % 7; k > 0; k--) await new Promise((resolve) => setImmediate(resolve));
      renameSync(name, real);
      renameSync(link, name);
      results.add(await opening);
      renameSync(name, link);
    }
    expect(results).not.toContain("outside");
    expect(descriptors()).toBe(0);
  },
);

it("a file that shrinks gives fewer bytes; one that is removed, all of them", async () => {
  const file = (await open("f")) as OpenFile;
  truncateSync(path.join(root, "f"), 3);
  const into = new Uint8Array(10);
  expect(await new Promise((resolve) => file.read(0, into, resolve))).toBe(3);
  rmSync(path.join(root, "f"));
  expect(await new Promise((resolve) => file.read(1, into, resolve))).toBe(2);
  file.close();
});

it("a read that is under way when the file is closed is called back", async () => {
  const file = (await open("f")) as OpenFile;
  const reading = new Promise((resolve) => file.read(0, new Uint8Array(6), resolve));
  file.close();
  expect([6, -1]).toContain(await reading);
  await new Promise((resolve) => setTimeout(resolve, 20));
  expect(descriptors()).toBe(0);
});
