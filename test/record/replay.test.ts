/** A recording replays to the byte, and says where a network does something else. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import fc from "fast-check";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { dhcp } from "../../src/cli/guest/dhcp.ts";
import { Guest } from "../../src/cli/guest/guest.ts";
import { httpGet } from "../../src/cli/guest/http.ts";
import { tftpGet } from "../../src/cli/guest/tftp.ts";
import { runOnTimers } from "../../src/cli/guest/timers.ts";
import { HostClock } from "../../src/host/clock.ts";
import { HostRandom } from "../../src/host/random.ts";
import { createNetwork, type NetworkOptions } from "../../src/index.ts";
import { BlockWriter, readEntries } from "../../src/record/codec.ts";
import { crc32, scalarCrc32 } from "../../src/record/crc.ts";
import { RecordingReader } from "../../src/record/file.ts";
import { type Entry, MAGIC } from "../../src/record/format.ts";
import { type ReplayResult, replay } from "../../src/record/replay.ts";
import { replayFile } from "../../src/record/run.ts";

const MAC = new Uint8Array([0x52, 0x54, 0, 0x12, 0x34, 0x56]);
let folder: string;
let server: Server;
let runs = 0;
const body = Buffer.alloc(300_000, "what the guest fetches; ");

beforeEach(async () => {
  folder = mkdtempSync(path.join(tmpdir(), "tslirp-record-"));
  writeFileSync(path.join(folder, "file"), body.subarray(0, 50_000));
  server = createServer((_, response) => response.end(body));
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
});

afterEach(() => {
  server.close();
  rmSync(folder, { recursive: true });
});

/** A guest boots, reads a file, fetches a page, is dialled, and goes. The recording's name. */
async function record(payload: boolean, options: NetworkOptions = {}): Promise<string> {
  const file = path.join(folder, `run-${runs++}.tslirp`);
  const net = await createNetwork({
    ...options,
    tftp: folder,
    hostfwd: ["tcp:127.0.0.1:0-:7"],
    record: { file, payload },
  });
  const cable = net.cable();
  const guest = new Guest({ cable, mac: MAC, clock: new HostClock(), random: new HostRandom() });
  const stop = runOnTimers(guest);
  try {
    await dhcp(guest);
    await guest.ping(guest.gateway);
    expect((await tftpGet(guest, guest.gateway, "file")).length).toBe(50_000);
    const { body: fetched } = await httpGet(guest, `http://10.0.2.2:${(server.address() as AddressInfo).port}/`);
    expect(Buffer.from(fetched).equals(body)).toBe(true);
    net.leases();
    net.flows();
    const udp = await net.bindGuestUdp({ host: "10.0.2.100", port: 5000 });
    udp.send("to a guest", 9, "10.0.2.15");
    // Served within the process: by an address, and by a verdict that takes the connection over.
    await net.listenGuest({ host: "10.0.2.100", port: 80 }, (socket) => {
      socket.once("data", () => socket.end("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"));
    });
    expect((await httpGet(guest, "http://10.0.2.100/")).body.length).toBe(2);
    net.setRules(["deny tcp 10.9.9.9", "default allow"]);
    await net.publish("tcp:127.0.0.1:0-:8");
    await new Promise((resolve) => setTimeout(resolve, 20));
  } finally {
    stop();
    cable.close();
    await net.close();
  }
  return file;
}

describe.each([true, false])("with payload %s", (payload) => {
  it("a guest's whole run replays without a difference", async () => {
    const file = await record(payload);
    const result = await replayFile(file);
    expect(result.difference?.message).toBeUndefined();
    expect(result.crash).toBeNull();
    expect(result.broken).toBeNull();
    expect(result.entries).toBeGreaterThan(400);
    expect(result.seconds).toBeGreaterThan(0);
  });

  it("replaying twice gives the same frames, byte by byte", async () => {
    const file = await record(payload);
    const frames = async (): Promise<string[]> => {
      const seen: string[] = [];
      await replayFile(file, {
        onFrame: (_, toGuest, frame) => seen.push(`${toGuest} ${Buffer.from(frame).toString("hex")}`),
      });
      return seen;
    };
    const first = await frames();
    expect(first.length).toBeGreaterThan(50);
    expect(await frames()).toEqual(first);
  });
});

it("a network whose user takes flows over replays", async () => {
  const file = await record(true, {
    onFlow: (flow) =>
      flow.remote.port === 80 && flow.proto === "tcp"
        ? (socket) => socket.once("data", () => socket.end("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"))
        : "allow",
  });
  const { difference, crash } = await replayFile(file);
  expect([difference?.message, crash]).toEqual([undefined, null]);
});

it("without payload a recording holds nothing of what was fetched", async () => {
  const whole = readFileSync(await record(true));
  const blanked = readFileSync(await record(false));
  expect(whole.includes("what the guest fetches")).toBe(true);
  expect(blanked.includes("what the guest fetches")).toBe(false);
  expect(blanked.length).toBeLessThan(whole.length / 4);
});

describe("a network that does something else", () => {
  /** Replays with one entry changed. */
  async function changed(change: (entry: Entry) => Entry): Promise<ReplayResult & { readonly at: number }> {
    const reader = new RecordingReader(await record(true));
    const before = [...reader];
    const entries = before.map(change);
    const at = entries.findIndex((entry, i) => entry !== before[i]);
    const config = new RecordingReader(reader.file).header.config;
    return { ...(await replay(reader.header, entries, config as never)), at };
  }

  it("is caught at the first frame that differs, with both in words", async () => {
    let done = false;
    const { difference, at } = await changed((entry) => {
      if (done || entry.name !== "sent") return entry;
      done = true;
      const head = (entry.values[3] as Uint8Array).slice();
      head[20]! ^= 1;
      return { ...entry, values: entry.values.map((value, i) => (i === 3 ? head : value)) };
    });
    expect(difference!.at).toBe(at);
    expect(difference!.message).toMatch(/^entry \d+, \d+\.\d{6} s: recorded sent link=\d+ .*; replayed sent link=\d+ /);
  });

  it("is caught where it does nothing, or something that was not there", async () => {
    const gone = await changed((entry) => (entry.name === "connect" ? { name: "cork", values: [] } : entry));
    expect(gone.difference!.message).toMatch(/recorded cork; replayed connect /);
    const more = await changed((entry) =>
      entry.name === "batchEnd" ? { name: "writable", values: entry.values } : entry,
    );
    expect(more.difference).not.toBeNull();
  });
});

describe("a file that", () => {
  it("ends in the middle of a block, as after a kill, is good up to the block before", async () => {
    const file = await record(true);
    const bytes = readFileSync(file);
    for (const cut of [1, 100, bytes.length >> 1]) {
      writeFileSync(file, bytes.subarray(0, bytes.length - cut));
      const { difference, crash, broken } = await replayFile(file);
      expect([difference, crash]).toEqual([null, null]);
      expect(broken).toMatch(/^block \d+ is cut off$/);
    }
  });

  it("has a bit flipped is good up to that block, and says which", async () => {
    const file = await record(true);
    const bytes = readFileSync(file);
    bytes[bytes.length - 10]! ^= 4;
    writeFileSync(file, bytes);
    expect((await replayFile(file)).broken).toMatch(/^block \d+ has other bytes than were written$/);
  });

  it("is none of ours, or newer, is refused in one line", async () => {
    const file = path.join(folder, "other");
    const block = Buffer.from(JSON.stringify({ version: 99, package: "9.9.9" }));
    const framing = Buffer.alloc(8);
    framing.writeUInt32LE(block.length, 0);
    framing.writeUInt32LE(crc32(block), 4);
    for (const [bytes, complaint] of [
      [Buffer.from("GIF89a"), "is no recording of tslirp's"],
      [Buffer.from(MAGIC), "ends before its header"],
      [Buffer.concat([Buffer.from(MAGIC), framing, block]), "has version 99, written by tslirp 9.9.9"],
    ] as const) {
      writeFileSync(file, bytes);
      await expect(replayFile(file)).rejects.toThrow(complaint);
    }
    await expect(replayFile(path.join(folder, "none"))).rejects.toThrow(/^cannot read .*ENOENT$/);
  });

  it("exists is not written over", async () => {
    const file = await record(true);
    const before = readFileSync(file);
    await expect(createNetwork({ record: file })).rejects.toThrow(
      /^cannot record to .*: the file exists; expected a new one$/,
    );
    expect(readFileSync(file).equals(before)).toBe(true);
  });
});

describe("entries", () => {
  it("are read as they were written", () => {
    const writer = new BlockWriter(4);
    const entries: Entry[] = [
      { name: "clock", values: [-5] },
      { name: "clock", values: [2 ** 40] },
      { name: "random", values: [0xfedcba98] },
      { name: "drop", values: ["cable-full"] },
      { name: "connect", values: [300, { host: "127.0.0.1", port: 1 }, null] },
      { name: "sendUdp", values: [{ map: 1 }, [new Map([["a", 1]])], new Uint8Array([1, 2])] },
    ];
    for (const { name, values } of entries) writer.entry(name, values);
    expect([...readEntries(writer.take())]).toEqual(entries);
  });

  it("of any bytes are entries, or an Error of one line", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
        try {
          for (const { values } of readEntries(bytes)) expect(values.length).toBeGreaterThanOrEqual(0);
        } catch (error) {
          expect((error as Error).message).not.toMatch(/[\r\n]/);
        }
      }),
    );
  });

  it("are checked by the CRC that every Node has", () => {
    fc.assert(fc.property(fc.uint8Array(), (bytes) => crc32(bytes) === scalarCrc32(bytes)));
  });
});
