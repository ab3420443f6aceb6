/** A recording that begins while its network runs: with another network in its place, and everybody where they were. */
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { createServer, type Server } from "node:http";
import net, { type AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import { httpGet } from "../../src/cli/guest/http.ts";
import { ipv4FromText } from "../../src/core/address.ts";
import { createNetwork, type Network } from "../../src/index.ts";
import { RecordingReader } from "../../src/record/file.ts";
import { replayFile } from "../../src/record/run.ts";
import { type EmbeddedGuest, embeddedGuest } from "../support/embedded-guest.ts";

let folder: string;
let server: Server;
let network: Network;
let guests: EmbeddedGuest[];

beforeEach(async () => {
  folder = mkdtempSync(path.join(tmpdir(), "tslirp-record-"));
  server = createServer((_, response) => response.end("x".repeat(20_000)));
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  network = await createNetwork({ hostfwd: ["tcp:127.0.0.1:0-:7"], rules: ["allow tcp 10.0.2.2", "default deny"] });
  guests = [await embeddedGuest(network, 1, "web"), await embeddedGuest(network, 2)];
});

afterEach(async () => {
  for (const each of guests) each.stop();
  await network.close();
  server.closeAllConnections();
  server.close();
  rmSync(folder, { recursive: true });
});

const at = (name: string): string => path.join(folder, name);
const url = (): string => `http://10.0.2.2:${(server.address() as AddressInfo).port}/`;
const fetched = async (guest: EmbeddedGuest): Promise<number> => (await httpGet(guest.guest, url())).body.length;

/** A connection of the first guest's that stays open, and how it ends. */
async function kept(): Promise<{ readonly end: Promise<string> }> {
  let ended = (_: string): void => {};
  const end = new Promise<string>((resolve) => {
    ended = resolve;
  });
  await new Promise<void>((resolve) => {
    guests[0]!.guest.connect(ipv4FromText("10.0.2.2"), (server.address() as AddressInfo).port, {
      onConnect: () => resolve(),
      onClose: (how) => ended(String(how)),
    });
  });
  return { end };
}

async function replays(file: string): Promise<number> {
  const { difference, crash, broken, entries } = await replayFile(file);
  expect([difference?.message, crash, broken]).toEqual([undefined, null, null]);
  return entries;
}

it("begins at rest with guests, leases, names, rules, forwards and services as they are, and replays", async () => {
  const stop = await network.listenGuest({ host: "10.0.2.100", port: 80 }, (socket) =>
    socket.once("data", () => socket.end("HTTP/1.0 200 OK\r\n\r\nhi")),
  );
  for (const guest of guests) expect(await fetched(guest)).toBe(20_000);
  await expect.poll(() => network.flows(), { timeout: 10_000 }).toEqual([]);
  const before = { leases: network.leases(), forwards: network.forwards(), framesIn: network.stats().framesIn };
  const { file } = await network.record(at("midway.tslirp"));
  expect(network.recording()).toMatchObject({ file, payload: true });
  const addresses = (leases: ReturnType<Network["leases"]>) =>
    leases.map(({ ip, mac, hostname }) => [ip, mac, hostname]);
  expect(addresses(network.leases())).toEqual(addresses(before.leases));
  expect(network.forwards()).toEqual(before.forwards);
  expect(network.forwards()[0]!.rule).toBe(before.forwards[0]!.rule);
  expect(network.stats().framesIn).toBeGreaterThanOrEqual(before.framesIn);
  expect(network.guestNamed("web")).toBe("10.0.2.15");
  expect(network.cableOf("10.0.2.16")).toBe("memory#2");
  // Nobody asks for an address again.
  expect(await fetched(guests[0]!)).toBe(20_000);
  expect(await fetched(guests[1]!)).toBe(20_000);
  expect((await httpGet(guests[1]!.guest, "http://10.0.2.100/")).body.length).toBe(2);
  expect(await guests[0]!.dial(ipv4FromText("10.9.9.9"), 80)).not.toBe("connected");
  const { address } = network.forwards()[0]!;
  const client = net.connect((address as { port: number }).port, "127.0.0.1").on("error", () => {});
  await new Promise((resolve) => client.once("close", resolve));
  expect(network.unpublish(network.forwards()[0]!)).toBe(true);
  network.explain("tcp 10.0.2.2:80");
  stop.close();
  const ended = await network.stopRecording();
  expect([network.recording(), await network.stopRecording()]).toEqual([null, null]);
  expect(ended!.bytes).toBeGreaterThan(20_000);
  expect(await fetched(guests[0]!)).toBe(20_000);
  expect(await replays(file)).toBeGreaterThan(200);
  // A time is since the recording began, not since the process did.
  expect((await replayFile(file, { untilSeconds: 0.000_001 })).entries).toBeLessThan(100);
});

it("flows are in the way, unless they may be ended: then they are reset, and the recording replays", async () => {
  const { end } = await kept();
  const { port } = server.address() as AddressInfo;
  await expect.poll(() => network.flows().length).toBe(1);
  await expect(network.record(at("refused.tslirp"))).rejects.toThrow(
    new RegExp(`^record: got ".*refused.tslirp"; expected no flows, .*: tcp 10.0.2.15:\\d+ to 10.0.2.2:${port}$`),
  );
  expect(existsSync(at("refused.tslirp"))).toBe(false);
  expect(network.flows().length).toBe(1);
  await network.record({ file: at("ended.tslirp"), payload: false }, { endFlows: true });
  expect(network.flows()).toEqual([]);
  expect(await end).toBe("reset");
  expect(await fetched(guests[0]!)).toBe(20_000);
  await network.stopRecording();
  await replays(at("ended.tslirp"));
});

it("one at a time; one after the other; a network that was recorded from the start, too", async () => {
  await network.record(at("1.tslirp"));
  await expect(network.record(at("2.tslirp"))).rejects.toThrow(/expected no recording to run: .*1.tslirp is being/);
  expect(existsSync(at("2.tslirp"))).toBe(false);
  await network.stopRecording();
  await expect(network.record(at("1.tslirp"))).rejects.toThrow(/the file exists/);
  network.setRules(["default allow"]);
  network.setDnsHosts(["db.example.com=10.1.2.3"]);
  await network.record(at("2.tslirp"));
  expect(await fetched(guests[1]!)).toBe(20_000);
  await network.stopRecording();
  expect(new RecordingReader(at("2.tslirp")).header.rules).toEqual(["default allow"]);
  for (const file of ["1.tslirp", "2.tslirp"]) await replays(at(file));
  await using recorded = await createNetwork({ record: at("3.tslirp") });
  const guest = await embeddedGuest(recorded);
  expect((await recorded.stopRecording())!.file).toBe(at("3.tslirp"));
  await recorded.record(at("4.tslirp"));
  expect(await fetched(guest)).toBe(20_000);
  guest.stop();
  await recorded.close();
  for (const file of ["3.tslirp", "4.tslirp"]) await replays(at(file));
});

it("a file that cannot be made leaves the network as it is", async () => {
  await expect(network.record(at("no/such.tslirp"))).rejects.toThrow(
    /^cannot record to .*: there is no such file or folder$/,
  );
  await expect(network.record(undefined as never)).rejects.toThrow(/^record: got nothing; expected/);
  expect(network.recording()).toBeNull();
  expect(await fetched(guests[0]!)).toBe(20_000);
});
