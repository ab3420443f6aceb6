/** The session of docs/recording.md: a hang that was recorded becomes a handful of frames, and those a packet script. */
import { copyFileSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, expect, it } from "vitest";
import { Command } from "../cli/command.ts";
import { PacketScript } from "../support/packet-script.ts";
import { recordHang } from "./hang.ts";

const HANG = "fixtures/hangs/closed-window.tslirp";
const folder = mkdtempSync(path.join(tmpdir(), "tslirp-session-"));

afterAll(() => rmSync(folder, { recursive: true }));

// By itself, not by `npm run recordings`: what docs/recording.md shows of it must be written anew with it.
if (process.env.RECORDINGS_WRITE === "1")
  it("the hang is recorded anew", async () => {
    rmSync(HANG, { force: true });
    await recordHang(HANG);
  });

it("a network with the fault hangs, and its recording says so to one without", async () => {
  const file = path.join(folder, "now.tslirp");
  await recordHang(file);
  const { status, stdout } = await new Command(["replay", file]).finished;
  expect([status, stdout]).toEqual([1, expect.stringMatching(/; replayed sent link=/)]);
});

it("the commands of docs/recording.md print what stands there", async () => {
  const session = /<!-- session -->\n([\s\S]*?)<!-- \/session -->/.exec(readFileSync("docs/recording.md", "utf8"))![1]!;
  const lines = session.split("\n").filter((line) => !line.startsWith("```"));
  const file = path.join(folder, "hang.tslirp");
  copyFileSync(HANG, file);
  const said: string[] = [];
  for (const line of lines.filter((each) => each.startsWith("$ "))) {
    const args = line.slice(2).replace("tslirp ", "").replaceAll("hang.tslirp", file).split(" ");
    const { stdout, stderr } = await new Command(args).finished;
    expect(stderr).toBe("");
    said.push(line, ...stdout.replaceAll(file, "hang.tslirp").trimEnd().split("\n"));
  }
  // Who has replayed it is another than who wrote the page.
  const plain = (each: readonly string[]): string[] =>
    each.filter((line) => line !== "").map((line) => line.replace(/ by tslirp \S+ on Node [\d.]+/, ""));
  const told = plain(said);
  const shown = plain(lines).map((line, i) =>
    line.endsWith("…") && told[i]?.startsWith(line.slice(0, -1)) ? told[i] : line,
  );
  expect(told).toEqual(shown);
  expect(said.filter((line) => / > IP /.test(line)).length).toBeLessThan(12);
});

// The packet script that the session ends with.
it("a guest that opens a closed window again is sent what waits", () => {
  const script = new PacketScript();
  const tcp = script.tcp({ dstPort: 80 });
  tcp.establish({ mss: 1460 }, 2920);
  script.host.dialled[0]!.send(new Uint8Array(12_000));
  tcp.expect({ flags: "ACK", seq: 1 });
  tcp.expect({ flags: "ACK", seq: 1461 });
  tcp.send({ flags: "ACK", seq: 1, ack: 2921, window: 0 });
  script.expectNothing();
  tcp.send({ flags: "ACK", seq: 1, ack: 2921, window: 2920 });
  tcp.expect({ flags: "ACK", seq: 2921 });
  tcp.expect({ flags: "ACK", seq: 4381 });
});
