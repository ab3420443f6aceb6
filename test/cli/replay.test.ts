/** `tslirp replay` on files that are none, and with files that must not be written. */
import fs from "node:fs";
import path from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { crc32 } from "../../src/record/crc.ts";
import { RecordingReader } from "../../src/record/file.ts";
import { Command, temporaryFolder } from "./command.ts";

let folder: string;
let file: string;

beforeAll(() => {
  folder = temporaryFolder();
  file = path.join(folder, "run.tslirp");
  fs.copyFileSync("fixtures/recordings/little-guest.tslirp", file);
});
afterAll(() => fs.rmSync(folder, { recursive: true }));

test("a capture never takes the recording's own place, by whatever name", async () => {
  const before = fs.readFileSync(file);
  const link = path.join(folder, "link");
  fs.symlinkSync(file, link);
  for (const name of [file, link])
    expect(await new Command(["replay", file, "--pcap", name]).finished).toMatchObject({
      status: 2,
      stderr: `tslirp: --pcap: got ${JSON.stringify(name)}; expected another file than the recording, which would be lost\n`,
    });
  expect(fs.readFileSync(file).equals(before)).toBe(true);
});

test.skipIf(!fs.existsSync("/dev/full"))("a full disk, and a file that never ends, are told in one line", async () => {
  expect((await new Command(["replay", file, "--pcap", "/dev/full"]).finished).stderr).toBe(
    "tslirp: cannot write /dev/full: no space left on device\n",
  );
  expect((await new Command(["replay", "/dev/zero"]).finished).stderr).toBe(
    "tslirp: /dev/zero is no recording of tslirp's\n",
  );
});

test("frames are printed, each in a line with its time, cable and direction", async () => {
  const { status, stdout } = await new Command(["replay", file, "--print"]).finished;
  expect(status).toBe(0);
  expect(stdout).toMatch(/^\d+\.\d{6} memory#1 > IP 10\.0\.2\.15\.\d+ > 10\.0\.2\.2\.\d+: Flags \[S\]/m);
});

test("what is no recording is status 2", async () => {
  const none = path.join(folder, "none");
  expect(await new Command(["replay", none]).finished).toMatchObject({
    status: 2,
    stderr: `tslirp: cannot read ${none}: there is no such file or folder\n`,
  });
});

test("--until stops before what came in as that entry, and says how far it has come", async () => {
  const entries = [...new RecordingReader(file)];
  const fifth = entries.flatMap(({ name }, i) => (name === "frame" ? [i] : []))[4]!;
  const { status, stdout } = await new Command(["replay", file, "--until", String(fifth)]).finished;
  expect(status).toBe(0);
  expect(stdout).toContain(`: ${fifth} entries, `);
  expect(stdout).toMatch(/\nNo difference up to there\.\n$/);
});

test("--anonymise writes a recording that replays, and goes with nothing else that writes or prints", async () => {
  const { status, stdout } = await new Command(["replay", "--anonymise", file]).finished;
  expect(stdout).toMatch(
    new RegExp(
      `^\\d+ addresses, 1 MACs and \\d+ words of names .*\n\\d+ entries, \\d+ bytes\\.\ntslirp replay ${file}.anon\n$`,
    ),
  );
  expect(status).toBe(0);
  const { header } = new RecordingReader(`${file}.anon`);
  expect([header.anonymous, header.payload]).toEqual([true, false]);
  expect(await new Command(["replay", file, "--anonymise", "--minimise"]).finished).toMatchObject({
    status: 2,
    stderr: 'tslirp: --anonymise: got "true"; expected it without --minimise: one after the other\n',
  });
});

test("a recording's own texts do not speak to the terminal", async () => {
  const bytes = fs.readFileSync(file);
  const begin = bytes.indexOf("\n") + 1;
  const end = begin + 8 + bytes.readUInt32LE(begin);
  const header = { ...JSON.parse(bytes.toString("utf8", begin + 8, end)), node: "\x1b[2J", package: "\x1b]0;x\x07" };
  const block = Buffer.from(JSON.stringify(header));
  const sizes = Buffer.alloc(8);
  sizes.writeUInt32LE(block.length);
  sizes.writeUInt32LE(crc32(block), 4);
  const forged = path.join(folder, "forged.tslirp");
  fs.writeFileSync(forged, Buffer.concat([bytes.subarray(0, begin), sizes, block, bytes.subarray(end)]));
  const { stdout } = await new Command(["replay", forged]).finished;
  expect(stdout).toContain("\\u001b[2J");
  expect(stdout.replaceAll("\n", "")).not.toMatch(/\p{Cc}/u);
});
