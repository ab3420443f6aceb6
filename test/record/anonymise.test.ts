/** A recording in which addresses and names are others, consistently, does what the recording did, and holds none of them. */
import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { resolveName } from "../../src/cli/guest/dns.ts";
import { resolveOptions } from "../../src/control/options.ts";
import { SeededRandom } from "../../src/core/random.ts";
import { createNetwork } from "../../src/index.ts";
import { Addresses } from "../../src/record/anonymous/addresses.ts";
import { type Anonymised, anonymise } from "../../src/record/anonymous/anonymise.ts";
import { RecordingReader, writeRecording } from "../../src/record/file.ts";
import { type Entry, type Header, toJson } from "../../src/record/format.ts";
import { type ReplayResult, replay } from "../../src/record/replay.ts";
import { configOf } from "../../src/record/run.ts";
import { corpusOf } from "../fuzz/fuzz.ts";
import { HEADER, recorded } from "../fuzz/recording.ts";
import { sessionSeeds } from "../fuzz/seeds.ts";
import { embeddedGuest } from "../support/embedded-guest.ts";
import { recordGuest, serveGuest } from "./guest-run.ts";

const CORPUS = "fixtures/recordings";
let folder: string;

beforeAll(() => {
  folder = mkdtempSync(path.join(tmpdir(), "tslirp-anonymous-"));
});
afterAll(() => rmSync(folder, { recursive: true }));

interface Result extends Anonymised {
  readonly written: readonly Entry[];
  readonly replayed: ReplayResult;
}

let files = 0;

async function anonymous(header: Header, entries: readonly Entry[], seed = 1): Promise<Result> {
  const file = path.join(folder, `${files++}.tslirp`);
  writeRecording(file, header, entries);
  const written: Entry[] = [];
  const result = await anonymise(new RecordingReader(file), new SeededRandom(seed), {
    begin() {},
    entry: (entry) => void written.push(entry),
  });
  const out = `${file}.anon`;
  writeRecording(out, result.header, written);
  const reader = new RecordingReader(out);
  return { ...result, written, replayed: await replay(reader.header, reader, configOf(reader.header)) };
}

/** All of a recording's bytes, but for random numbers and times, as Latin-1. */
function contents(header: Header, entries: readonly Entry[]): string {
  const texts = [toJson({ ...header, date: "", config: { ...(header.config as object), limits: null } })];
  for (const { name, values } of entries)
    if (name !== "random" && name !== "clock")
      for (const value of values)
        texts.push(value instanceof Uint8Array ? Buffer.from(value).toString("latin1") : (toJson(value) ?? ""));
  return texts.join("\n");
}

const bytes = (...values: readonly number[]): string => Buffer.from(values).toString("latin1");

describe.each(readdirSync(CORPUS))("%s", (name) => {
  it("does the same when it is anonymous, and replays without a difference", async () => {
    const reader = new RecordingReader(path.join(CORPUS, name));
    const { differs, replayed, crash, macs } = await anonymous(reader.header, [...reader]);
    expect([differs, crash, replayed.difference?.message, replayed.crash]).toEqual([null, null, undefined, null]);
    expect(macs).toBeGreaterThan(0);
  });
});

it("whatever a network was told, it can be told with other addresses", async () => {
  const inputs = [...sessionSeeds(), ...corpusOf("session").map(({ input }) => input)].slice(0, 40);
  for (const [i, input] of inputs.entries()) {
    const { header, written, crash, replayed } = await anonymous(HEADER, recorded(input), i);
    expect([i, crash, replayed.difference?.message, replayed.crash]).toEqual([i, null, undefined, null]);
    // The guest's MAC, its addresses that are made of that, and its peers.
    const after = contents(header, written);
    for (const secret of [
      bytes(0x12, 0x34, 0x56),
      bytes(198, 51, 100, 1),
      "198.51.100.1",
      bytes(0x20, 0x01, 0x0d, 0xb8),
    ])
      expect([i, secret, after.includes(secret)]).toEqual([i, secret, false]);
  }
});

describe("of what a guest did", () => {
  const COMPANY = "private-company";
  const PEER = [203, 0, 113, 77];
  const PEER6 = "2001:470:beef::77";
  let header: Header;
  let entries: readonly Entry[];
  let result: Result;

  beforeAll(async () => {
    const file = path.join(folder, "told.tslirp");
    const served = await serveGuest(folder);
    await recordGuest(path.join(folder, "run.tslirp"), true, folder, served);
    served.close();
    const net = await createNetwork({
      record: file,
      domainname: `${COMPANY}.example`,
      dnsHosts: [
        `db.${COMPANY}.example=${PEER.join(".")}`,
        `db.${COMPANY}.example=${PEER6}`,
        `lan.${COMPANY}.example=192.168.178.23`,
      ],
      rules: [
        `allow tcp *.${COMPANY}.example:80,443 private=allow`,
        "deny tcp 198.51.100.0/24 guest 52:54:00:0b:0b:0b",
        "allow tcp 203.0.113.0/24",
        "default allow",
      ],
      staticLeases: { "52:54:00:0a:0a:0a": "10.0.2.40" },
      onFlow: ({ proto, remote }) =>
        proto === "tcp" && remote.host === PEER.join(".") ? (socket) => socket.end("hello") : "allow",
    });
    const { guest, dial, stop } = await embeddedGuest(net, 0x0a, "the-secretary");
    try {
      const found = await resolveName(guest, `db.${COMPANY}.example`);
      expect(await dial(found, 81)).toBe("connected");
      await resolveName(guest, `lan.${COMPANY}.example`);
      await resolveName(guest, `77.113.0.203.in-addr.arpa`).catch(() => {});
      await guest.ping(guest.gateway);
    } finally {
      stop();
      await net.close();
    }
    const reader = new RecordingReader(file);
    ({ header } = reader);
    entries = [...reader];
    result = await anonymous(header, entries);
  });

  it("nothing is left: no address of its peers in bytes or in text, no MAC, no name, in the header as in the entries", () => {
    const secrets = [
      bytes(...PEER),
      PEER.join("."),
      bytes(192, 168, 178, 23),
      "192.168.178.23",
      bytes(0x20, 0x01, 0x04, 0x70, 0xbe, 0xef),
      "2001:470:beef",
      bytes(0x52, 0x54, 0, 0, 0, 0x0a),
      "52:54:00:00:00:0a",
      "52:54:00:0a:0a:0a",
      "52:54:00:0b:0b:0b",
      "198.51.100.",
      "203.0.113.",
      COMPANY,
      "secretary",
      "hello",
    ];
    const before = contents(header, entries);
    const after = contents(result.header, result.written);
    for (const secret of secrets) expect([secret, after.includes(secret)]).toEqual([secret, false]);
    for (const secret of [bytes(...PEER), "203.0.113.", "52:54:00:0a:0a:0a", COMPANY, "secretary"])
      expect([secret, before.includes(secret)]).toEqual([secret, true]);
    expect(result.header.payload).toBe(false);
  });

  it("the network does on it what it had done, and does it again", () => {
    expect([result.differs, result.crash]).toEqual([null, null]);
    expect([result.replayed.difference?.message, result.replayed.crash]).toEqual([undefined, null]);
  });

  it("an address is the same other one in packets, answers, rules and the configuration", () => {
    const { dnsHosts } = result.header.config as { dnsHosts: { address: string }[] };
    const other = dnsHosts[0]!.address;
    expect(other).toMatch(/^\d{3}\.\d\.\d{3}\.\d{2}$/);
    const after = contents(result.header, result.written);
    const [a = 0, b = 0, c = 0, d = 0] = other.split(".").map(Number);
    expect(after).toContain(bytes(a, b, c, d));
    // It is in the network that stands for that of the rule, and a private one is private.
    expect(result.header.rules[2]).toBe(`allow tcp ${a}.${b}.${c}.0/24`);
    expect(dnsHosts[2]!.address).toMatch(/^192\.168\.\d{3}\.\d{2}$/);
    expect(after).toContain(`${d}.${c}.${b}.${a}.in-addr.arpa`);
  });

  it("chance decides: another run has others", async () => {
    const again = await anonymous(header, entries, 2);
    expect(toJson(again.header.config)).not.toBe(toJson(result.header.config));
    expect(again.differs).toBeNull();
  });
});

it("a MAC that chance made becomes another as a whole, and so do the addresses and the group that are made of it", () => {
  const addresses = new Addresses(resolveOptions().stack, new SeededRandom(3));
  const use = (): readonly string[] => [
    addresses.macText("9a:9c:cd:ad:75:08"),
    addresses.text("fe80::989c:cdff:fead:7508"),
    addresses.text("fec0::989c:cdff:fead:7508"),
    addresses.text("ff02::1:ffad:7508"),
    addresses.macText("33:33:ff:ad:75:08"),
    addresses.macText("52:54:00:ad:75:08"),
  ];
  use();
  addresses.seal();
  const [mac, local, global, group, groupMac, qemu] = use();
  const [a, b, c, d, e, f] = mac!.split(":").map((byte) => Number.parseInt(byte, 16)) as [
    number,
    number,
    number,
    number,
    number,
    number,
  ];
  const hex = (high: number, low: number): string => ((high << 8) | low).toString(16);
  const made = `${hex(a ^ 2, b)}:${hex(c, 0xff)}:${hex(0xfe, d)}:${hex(e, f)}`;
  expect([local, global]).toEqual([`fe80::${made}`, `fec0::${made}`]);
  expect(group).toBe(`ff02::1:ff${d.toString(16).padStart(2, "0")}:${hex(e, f)}`);
  expect(groupMac).toBe(`33:33:ff:${mac!.slice(9)}`);
  expect(qemu).toBe(`52:54:00:${mac!.slice(9)}`);
  expect(mac!.slice(0, 8)).not.toBe("9a:9c:cd");
  expect(a & 3).toBe(2);
});

it("of a recording from the middle, too, what the network knew of its guests is others'", async () => {
  const net = await createNetwork({ dnsHosts: ["db.private-company.example=203.0.113.9"] });
  const { guest, stop } = await embeddedGuest(net, 0x0a, "the-secretary");
  await resolveName(guest, "db.private-company.example");
  const { file } = await net.record(path.join(folder, "midway.tslirp"), { endFlows: true });
  await guest.ping(guest.gateway);
  net.setRules(["allow tcp db.private-company.example:443", "deny udp [2001:470:5::]/48", "default allow"]);
  await net.stopRecording();
  stop();
  await net.close();
  const reader = new RecordingReader(file);
  const { header, written, differs, replayed } = await anonymous(reader.header, [...reader]);
  expect([differs, replayed.difference?.message, replayed.crash]).toEqual([null, undefined, null]);
  const after = contents(header, written);
  for (const secret of [
    "private-company",
    "secretary",
    "203.0.113.9",
    "2001:470:5",
    "52:54:00:00:00:0a",
    String(0x52540000000a),
  ])
    expect([secret, after.includes(secret)]).toEqual([secret, false]);
  expect(after).toMatch(/allow tcp \w{2}\.[\w-]{15}\.example:443/);
});

it("a run of all seams, with payload, becomes one without, whose guest has another MAC", async () => {
  const reader = new RecordingReader(path.join(folder, "run.tslirp"));
  const result = await anonymous(reader.header, [...reader]);
  expect([result.differs, result.crash, result.replayed.difference?.message]).toEqual([null, null, undefined]);
  const after = contents(result.header, result.written);
  for (const secret of ["what the guest fetches", "HTTP/1.1", bytes(0x52, 0x54, 0, 0x12, 0x34, 0x56)])
    expect([secret, after.includes(secret)]).toEqual([secret, false]);
});
