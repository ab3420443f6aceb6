/** `replay(file)` of the library: what a recording's run says when it is run again. */
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { afterAll, expect, it } from "vitest";
import { replay } from "../../src/index.ts";

const LITTLE = "fixtures/recordings/little-guest.tslirp";
const folder = fs.mkdtempSync(path.join(os.tmpdir(), "replay-"));
afterAll(() => fs.rmSync(folder, { recursive: true }));

it("says that nothing differs, and shows each frame with its time", async () => {
  const frames: number[] = [];
  const report = await replay(LITTLE, { onFrame: (_cable, _toGuest, frame) => frames.push(frame.length) });
  expect(report).toMatchObject({ difference: null, crash: null, broken: null, version: expect.any(String) });
  expect(report.entries).toBeGreaterThan(frames.length);
  expect(frames.length).toBeGreaterThan(10);
  expect(new Date(report.date).toISOString()).toBe(report.date);
});

it("stops where it is told to", async () => {
  const { entries, difference } = await replay(LITTLE, { untilEntry: 40 });
  expect([entries, difference]).toEqual([41, null]);
});

it("goes on to the last good block of a file that is cut, and says so", async () => {
  const cut = path.join(folder, "cut.tslirp");
  const bytes = fs.readFileSync(LITTLE);
  fs.writeFileSync(cut, bytes.subarray(0, bytes.length - 5));
  expect(await replay(cut)).toMatchObject({ difference: null, broken: expect.any(String) });
});

it("rejects with one line for what is no recording", async () => {
  const other = path.join(folder, "other");
  fs.writeFileSync(other, "no recording\n".repeat(10));
  await expect(replay(other)).rejects.toThrow(/^[^\n]+$/);
  await expect(replay(path.join(folder, "none"))).rejects.toThrow(/^[^\n]+$/);
});
