/** Whose the file is that `learn` writes. */
import fs from "node:fs";
import path from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import { LEARNED_HEADER } from "../../src/control/learned-rules.ts";
import { DEFAULT_LIMITS } from "../../src/core/limits.ts";
import { LearnedFile } from "../../src/embed/learned-file.ts";
import { createNetwork } from "../../src/index.ts";

let folder: string;
let file: string;
beforeEach(() => {
  folder = fs.mkdtempSync("/tmp/learned-test-");
  file = path.join(folder, "rules");
});
afterEach(() => fs.rmSync(folder, { recursive: true, force: true }));

function learned(): LearnedFile {
  return new LearnedFile(file, DEFAULT_LIMITS, () => [], { full() {}, failed() {} });
}

const FLOW = { guest: "10.0.2.15:1", cable: "tap", rule: "default allow", needs: "allow tcp a.test:80" };
const TAKEN = /^cannot write the rules learned to [^\n]*: expected a file that no other run writes$/;

it("is one run's: another is refused, also once the first has written it anew, and may have it afterwards", async () => {
  const first = learned();
  await first.open();
  await expect(learned().open()).rejects.toThrow(TAKEN);
  first.allowed(FLOW);
  await first.save();
  await expect(learned().open()).rejects.toThrow(TAKEN);
  await first.close();
  expect(fs.readFileSync(file, "utf8")).toContain("allow tcp a.test:80");
  const next = learned();
  await next.open();
  await next.close();
  expect(fs.readdirSync(folder)).toEqual(["rules"]);
});

it("is one network's in the library, too", async () => {
  const network = await createNetwork({ learn: file });
  await expect(createNetwork({ learn: file })).rejects.toThrow(TAKEN);
  await network.close();
  await (await createNetwork({ learn: file })).close();
});

it("is left alone where `learn` has not made it; an empty one is taken", async () => {
  fs.writeFileSync(file, "keep me\n");
  await expect(createNetwork({ learn: file })).rejects.toThrow(/: expected a new file, or one that --learn has made/);
  expect(fs.readFileSync(file, "utf8")).toBe("keep me\n");
  fs.writeFileSync(file, "");
  await (await createNetwork({ learn: file })).close();
  expect(fs.readFileSync(file, "utf8")).toContain(LEARNED_HEADER);
});
