/** Captures as Wireshark reads them. What tshark says needs tshark; the rest reads the bytes. */
import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { PassThrough, Writable } from "node:stream";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { Capture } from "../../src/control/capture.ts";
import type { Link } from "../../src/core/link.ts";
import { INBOUND, OUTBOUND } from "../../src/wire/pcapng.ts";
import { encodeFrame } from "../support/frames.ts";

const CABLE = { name: "unix:/run/x#1" } as Link;
const SYN = encodeFrame({
  ip: { src: "10.0.2.15", dst: "198.51.100.1" },
  tcp: { srcPort: 40000, dstPort: 80, seq: 0, ack: 0, flags: "SYN", window: 1000 },
});
const FLOW = { proto: "tcp", guest: "10.0.2.15:40000", remote: "198.51.100.1:80", host: null } as const;
const TSHARK = ["/usr/bin/tshark", "/usr/local/bin/tshark"].find((file) => existsSync(file));
/** In CI nothing may be missing. */
const withTshark = test.skipIf(TSHARK === undefined && process.env.CI === undefined);

let dir: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "capture-"));
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

function tshark(file: string, ...fields: string[]): string[] {
  const args = ["-r", file, "-T", "fields", ...fields.flatMap((field) => ["-e", field])];
  return execFileSync(TSHARK!, args, { encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] })
    .trimEnd()
    .split("\n");
}

function collect(): { out: PassThrough; bytes(): Buffer } {
  const out = new PassThrough();
  const chunks: Buffer[] = [];
  out.on("data", (chunk: Buffer) => chunks.push(chunk));
  return { out, bytes: () => Buffer.concat(chunks) };
}

describe("a capture", () => {
  test("into a file that another one is writing is refused, by whatever path, until that one has ended", async () => {
    const file = join(dir, "a.pcapng");
    const first = new Capture(file, { rotateBytes: 1 });
    await first.opened;
    symlinkSync(dir, join(dir, "elsewhere"));
    for (const same of [file, `${dir}/./a.pcapng`, join(dir, "elsewhere", "a.pcapng")]) {
      expect(() => new Capture(same)).toThrow(
        expect.objectContaining({ name: "ConfigError", expectation: expect.stringContaining("no other capture") }),
      );
    }
    // A rotated file's name may be taken as well: that ends the one that comes to it, not the one that is there.
    const second = new Capture(join(dir, "a-0002.pcapng"));
    first.frame(CABLE, INBOUND, SYN, 0, SYN.length);
    first.frame(CABLE, INBOUND, SYN, 0, SYN.length);
    expect((await first.closed)?.message).toContain("no other capture");
    expect(await second.stop()).toBeNull();
    const third = new Capture(file);
    expect(await third.stop()).toBeNull();
  });

  test("into a file that holds something else is refused, and leaves it as it is", async () => {
    const file = join(dir, "passwd");
    for (const held of ["root:x:0:0:root:/root:/bin/sh\n", "x"]) {
      writeFileSync(file, held);
      expect((await new Capture(file).opened)?.message).toContain("holds something else");
      expect(readFileSync(file, "utf8")).toBe(held);
    }
    writeFileSync(file, "");
    for (let i = 0; i < 2; i++) expect(await new Capture(file).stop()).toBeNull();
  });

  test("into a pipe that nobody reads is refused at once; one that is read gets it", async () => {
    const fifo = join(dir, "fifo");
    execFileSync("mkfifo", [fifo]);
    const refused = new Capture(fifo);
    expect((await refused.opened)?.message).toContain("start its reader first");
    const reader = spawn("cat", [fifo], { stdio: ["ignore", "pipe", "inherit"] });
    const chunks: Buffer[] = [];
    reader.stdout.on("data", (chunk: Buffer) => chunks.push(chunk));
    // The reader opens when it likes: what is refused until then is tried again.
    let capture = new Capture(fifo);
    for (let n = 0; n < 500 && (await capture.opened) !== null; n++) {
      await new Promise((resolve) => setTimeout(resolve, 10));
      capture = new Capture(fifo);
    }
    capture.frame(CABLE, INBOUND, SYN, 0, SYN.length);
    expect(await capture.stop()).toBeNull();
    await once(reader, "close");
    expect(Buffer.concat(chunks).readUInt32BE(0)).toBe(0x0a0d0d0a);
  });

  withTshark("is what Wireshark reads: interface, direction, time, length and the flow's comment", async () => {
    const file = join(dir, "a.pcapng");
    const before = Date.now() / 1000;
    const capture = new Capture(file, { snapLength: 60 });
    capture.frame(CABLE, INBOUND, SYN, 0, SYN.length);
    capture.event({ type: "flow-open", ...FLOW, direction: "out" });
    const long = encodeFrame({ udp: { srcPort: 1, dstPort: 2 }, payload: "x".repeat(900) });
    capture.frame({ name: "other" } as Link, OUTBOUND, long, 0, long.length);
    expect(await capture.stop()).toBeNull();
    const rows = tshark(
      file,
      "frame.interface_name",
      "frame.packet_flags_direction",
      "frame.len",
      "frame.cap_len",
      "frame.comment",
    );
    expect(rows[0]!.split("\t")).toEqual([
      ...["unix:/run/x#1", "0x00000001", String(SYN.length), String(SYN.length)],
      "tcp 10.0.2.15:40000 -> 198.51.100.1:80: flow opened",
    ]);
    expect(rows[1]!.split("\t").slice(0, 4)).toEqual(["other", "0x00000002", String(long.length), "60"]);
    const [time] = tshark(file, "frame.time_epoch");
    expect(Number(time)).toBeGreaterThan(before - 1);
    expect(Number(time)).toBeLessThan(Date.now() / 1000 + 1);
  });

  withTshark("is read live by Wireshark's reader of pipes, while it goes on", async () => {
    const args = ["-l", "-n", "-i", "-", "-T", "fields", "-e", "tcp.dstport"];
    const shark = spawn(TSHARK!, args, { stdio: ["pipe", "pipe", "pipe"] });
    let said = "";
    shark.stderr.on("data", (piece) => {
      said += piece;
    });
    shark.stdin.on("error", () => {});
    const seen = Promise.race([once(shark.stdout, "data"), once(shark, "close").then(() => said)]);
    const capture = new Capture(shark.stdin);
    capture.frame(CABLE, INBOUND, SYN, 0, SYN.length);
    expect(String(await seen)).toBe("80\n");
    const over = once(shark, "close");
    shark.kill();
    await capture.stop();
    await over;
  });

  test("can be read while it grows: the file is whole blocks soon after a frame has passed", async () => {
    const { out, bytes } = collect();
    const capture = new Capture(out);
    const head = bytes().length;
    capture.frame(CABLE, INBOUND, SYN, 0, SYN.length);
    await new Promise((resolve) => out.once("data", resolve));
    expect(bytes().length).toBeGreaterThan(head + SYN.length);
    await capture.stop();
  });

  test("a comment that comes before its packet waits for it", async () => {
    const { out, bytes } = collect();
    const capture = new Capture(out);
    const other = encodeFrame({ udp: { srcPort: 1, dstPort: 2 }, payload: "first" });
    capture.frame(CABLE, INBOUND, other, 0, other.length);
    capture.event({ type: "flow-open", ...FLOW, direction: "in" });
    capture.frame(CABLE, OUTBOUND, SYN, 0, SYN.length);
    await capture.stop();
    const text = bytes().toString("latin1");
    expect(text.indexOf("flow opened")).toBeGreaterThan(text.indexOf(Buffer.from(SYN).toString("latin1")));
  });

  test("keeps only what its filter means", async () => {
    const { out } = collect();
    const capture = new Capture(out, { filter: "udp" });
    capture.frame(CABLE, INBOUND, SYN, 0, SYN.length);
    expect(capture.stats.packets).toBe(0);
    await capture.stop();
  });

  test("begins a new file by size, each complete in itself, and keeps so many", async () => {
    const capture = new Capture(join(dir, "r.pcapng"), { rotateBytes: 2000, keepFiles: 2 });
    for (let i = 0; i < 60; i++) capture.frame(CABLE, INBOUND, SYN, 0, SYN.length);
    await capture.stop();
    const files = readdirSync(dir);
    expect(files.length).toBe(2);
    expect(files.every((file) => /^r-\d{4}\.pcapng$/.test(file))).toBe(true);
    for (const file of files) {
      const bytes = readFileSync(join(dir, file));
      expect(bytes.readUInt32BE(0)).toBe(0x0a0d0d0a);
      expect(bytes.includes("unix:/run/x#1")).toBe(true);
    }
  });

  test("whose writer is slow leaves packets out, counts them, and holds no more than its bound", async () => {
    const stuck: (() => void)[] = [];
    const out = new Writable({
      highWaterMark: 1,
      write(_chunk, _encoding, done) {
        stuck.push(done);
      },
    });
    const capture = new Capture(out);
    const big = new Uint8Array(60_000);
    for (let i = 0; i < 1000; i++) capture.frame(CABLE, INBOUND, big, 0, big.length);
    const { packets, dropped } = capture.stats;
    expect(packets + dropped).toBe(1000);
    expect(packets * big.length).toBeLessThan(17 * 1_048_576);
    expect(dropped).toBeGreaterThan(0);
    out.destroy();
    await capture.closed;
  });

  test("may hold as much as it is told, and takes packets again once its writer has taken some", async () => {
    const stuck: (() => void)[] = [];
    const out = new Writable({ highWaterMark: 1, write: (_chunk, _encoding, done) => void stuck.push(done) });
    const capture = new Capture(out, {}, 400_000);
    const big = new Uint8Array(60_000);
    const some = (): void => {
      for (let i = 0; i < 50; i++) capture.frame(CABLE, INBOUND, big, 0, big.length);
    };
    some();
    const { packets, dropped } = capture.stats;
    expect(packets).toBeLessThan(16);
    expect(packets + dropped).toBe(50);
    for (let done = stuck.shift(); done !== undefined; done = stuck.shift()) {
      done();
      await new Promise(setImmediate);
    }
    capture.frame(CABLE, INBOUND, big, 0, big.length);
    expect(capture.stats).toMatchObject({ packets: packets + 1, dropped });
    out.destroy();
    await capture.closed;
  });

  test("whose disk is full ends and says why; frames go on passing", async () => {
    const capture = new Capture(existsSync("/dev/full") ? "/dev/full" : join(dir, "no", "folder"));
    capture.frame(CABLE, INBOUND, SYN, 0, SYN.length);
    const error = (await capture.closed) as NodeJS.ErrnoException;
    expect(["ENOSPC", "ENOENT"]).toContain(error.code);
    capture.frame(CABLE, INBOUND, SYN, 0, SYN.length);
    await capture.stop();
  });

  test("into a folder that is not there ends with that error", async () => {
    const capture = new Capture(join(dir, "no", "such", "folder.pcapng"));
    expect(((await capture.closed) as NodeJS.ErrnoException).code).toBe("ENOENT");
  });
});
