/** A disk that fills, that stalls, that never answers: the recording ends with a word, and bounded memory, and nothing else does. */
import fs, { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import { type Disk, RecordingFile, RecordingReader } from "../../src/record/file.ts";
import { HEADER } from "../fuzz/recording.ts";

let folder: string;

beforeEach(() => {
  folder = mkdtempSync(path.join(tmpdir(), "tslirp-record-"));
});

afterEach(() => rmSync(folder, { recursive: true }));

type Write = (...args: readonly unknown[]) => void;
type Done = (error: NodeJS.ErrnoException | null, bytes?: number) => void;
const answered = (args: readonly unknown[]): Done => args.at(-1) as Done;
/** The usual disk, but for how it writes. */
const diskThat = (write: Write): Disk => ({ open: fs.open, close: fs.close, write: write as never });

const MEGABYTE = new Uint8Array(1_048_576);

/** Records megabytes until the recording ends by itself. Returns why, and how many they were. */
async function recordUntilEnd(file: string, disk: Disk): Promise<{ why: string | null; count: number }> {
  let why: string | null | undefined;
  const ended = (reason: string | null): void => {
    why ??= reason;
  };
  const out = await RecordingFile.create(file, HEADER, ended, disk);
  let count = 0;
  for (; why === undefined && count < 300; count++) {
    out.entry("data", [1, MEGABYTE.length, MEGABYTE]);
    if (count % 8 === 0) await new Promise((resolve) => setTimeout(resolve, 20));
  }
  await out.close();
  // Whatever is told now is let go of.
  out.entry("data", [1, MEGABYTE.length, MEGABYTE]);
  return { why: why ?? null, count };
}

it("a disk that takes nothing ends it when 64 MiB wait, and closing does not wait for the disk", async () => {
  let begun = false;
  const { why, count } = await recordUntilEnd(
    path.join(folder, "stalled"),
    diskThat((...args) => {
      // Its beginning is on the disk before anybody is told that it records.
      if (!begun) (fs.write as unknown as Write)(...args);
      begun = true;
    }),
  );
  expect(why).toBe("the recording has ended: the disk is slower than the network");
  expect(count).toBeLessThanOrEqual(66);
}, 15_000);

it("a disk that fills ends it with the system's word, and what stands there is good up to the last whole block", async () => {
  let room = 5_000_000;
  const file = path.join(folder, "full");
  const full = (args: readonly unknown[]): void =>
    answered(args)(
      Object.assign(new Error("ENOSPC: no space left on device, write"), { code: "ENOSPC", syscall: "write" }),
    );
  const disk = diskThat((...args) => {
    const length = typeof args[3] === "number" ? args[3] : (args[1] as Uint8Array).length;
    if (room <= 0) return full(args);
    room -= length;
    (fs.write as unknown as Write)(...args);
  });
  const { why } = await recordUntilEnd(file, disk);
  expect(why).toBe("the recording has ended: no space left on device");
  const reader = new RecordingReader(file);
  expect([...reader].length).toBeGreaterThan(2);
});

it("a disk that is full from the start is told in place of a success, and leaves no file", async () => {
  const file = path.join(folder, "none");
  const full = diskThat((...args) =>
    answered(args)(Object.assign(new Error("full"), { code: "ENOSPC", syscall: "open" })),
  );
  const begun = RecordingFile.create(file, HEADER, () => {}, full);
  await expect(begun).rejects.toThrow(`cannot record to ${file}: no space left on device`);
  await expect.poll(() => fs.existsSync(file)).toBe(false);
});
