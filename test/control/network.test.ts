import fs from "node:fs";
import net from "node:net";
import os from "node:os";
import path from "node:path";
import { duplexPair } from "node:stream";
import { afterEach, beforeEach, expect, it } from "vitest";
import { ConfigError, createNetwork, type Endpoint, type Network, type NetworkOptions } from "../../src/index.ts";
import { arpRequest, isGatewayReply, prefixed } from "../cli/command.ts";

let folder: string;
const made: Network[] = [];

async function network(options: NetworkOptions = {}): Promise<Network> {
  const created = await createNetwork(options);
  made.push(created);
  return created;
}

beforeEach(() => {
  folder = fs.mkdtempSync(path.join(os.tmpdir(), "tslirp-net-"));
});
afterEach(async () => {
  await Promise.all(made.splice(0).map((each) => each.close()));
  fs.rmSync(folder, { recursive: true });
});

/** A DHCP REQUEST of 52:54:00:12:34:56 for 10.0.2.15 as after a reboot (RFC 2131 section 4.3.2), without UDP checksum. */
function dhcpRequest(): Uint8Array {
  const frame = Buffer.alloc(14 + 20 + 8 + 300);
  frame.write("ffffffffffff5254001234560800", 0, "hex");
  frame.write("450001480000000040110000", 14, "hex");
  frame.write("00000000ffffffff", 26, "hex");
  let sum = 0;
  for (let i = 14; i < 34; i += 2) sum += frame.readUInt16BE(i);
  frame.writeUInt16BE(~((sum & 0xffff) + (sum >>> 16)) & 0xffff, 24);
  frame.write("0044004301340000", 34, "hex");
  frame.write("0101060012345678", 42, "hex");
  frame.write("525400123456", 42 + 28, "hex");
  frame.write("6382536335010332040a00020f0c02766dff", 42 + 236, "hex");
  return frame;
}

it("answers at once on a cable within the process", async () => {
  const frames: Uint8Array[] = [];
  const created = await network();
  created.cable((frame) => frames.push(frame)).send(arpRequest());
  expect(frames).toHaveLength(1);
  expect(isGatewayReply(frames[0]!)).toBe(true);
  expect(created.stats()).toMatchObject({ framesIn: 1, bytesIn: 42, tcpFlows: 0 });
});

it("counts what it drops by its reason", async () => {
  const created = await network();
  created.cable().send(new Uint8Array(13));
  expect(created.stats().drops).toMatchObject({ "eth-short": 1, "arp-malformed": 0 });
});

it("tells of a lease, once the network's own call has returned", async () => {
  const created = await network();
  const lease = new Promise((resolve) => created.once("lease", resolve));
  let told = false;
  created.once("lease", () => {
    told = true;
  });
  created.cable().send(dhcpRequest());
  expect(told).toBe(false);
  expect(await lease).toEqual({ mac: "52:54:00:12:34:56", ip: "10.0.2.15", hostname: "vm", action: "bound" });
  expect(created.leases()).toMatchObject([{ ip: "10.0.2.15", mac: "52:54:00:12:34:56" }]);
});

it("serves a stream of length-prefixed frames, and ends it when it closes", async () => {
  const created = await network();
  const [ours, theirs] = duplexPair();
  created.attach(theirs);
  const answer = new Promise<Buffer>((resolve) => ours.once("data", resolve));
  ours.write(prefixed(arpRequest()));
  expect(isGatewayReply((await answer).subarray(4))).toBe(true);
  const ended = new Promise((resolve) => ours.once("end", resolve));
  await created.close();
  await ended;
});

it("listens, says how QEMU attaches, and is gone when closed", async () => {
  const created = await network();
  const at = path.join(folder, "vm.sock");
  expect(await created.listen({ path: at }, "n3")).toEqual([
    "-netdev",
    `stream,id=n3,server=off,addr.type=unix,addr.path=${at}`,
    "-device",
    "virtio-net-pci,netdev=n3",
  ]);
  expect(fs.statSync(at).mode & 0o777).toBe(0o600);
  const [, tcp] = await created.listen({ host: "127.0.0.1", port: 0 });
  expect(tcp).toMatch(/addr\.host=127\.0\.0\.1,addr\.port=[1-9]\d*$/);
  await expect(createNetwork().then((other) => other.listen({ path: at }))).rejects.toThrow(
    "another process serves it",
  );
  await created.close();
  expect(fs.existsSync(at)).toBe(false);
});

it("opens and closes forwards while it runs", async () => {
  const created = await network({ hostfwd: ["tcp:127.0.0.1:0-:80"] });
  expect(created.forwards()).toHaveLength(1);
  const [forward] = await created.publish("tcp:127.0.0.1:0-:22");
  const { port } = forward!.address as Endpoint;
  // It listens, and there is no guest yet: a reset is what clients get, where a closed port refuses.
  const client = net.connect(port, "127.0.0.1");
  const end = new Promise((resolve) => client.on("error", ({ code }: NodeJS.ErrnoException) => resolve(code)));
  expect(await end).toBe("ECONNRESET");
  const other = await network();
  await expect(other.publish(`${port}:22`)).rejects.toMatchObject({
    code: "EADDRINUSE",
    message: expect.stringMatching(/^cannot open a forward at 127\.0\.0\.1:\d+: another program has this port$/),
  });
  await expect(createNetwork({ publish: [`${port}:22`] })).rejects.toMatchObject({ code: "EADDRINUSE" });
  expect(created.unpublish(forward!)).toBe(true);
  expect(created.unpublish(forward!)).toBe(false);
  expect(await other.publish(`${port}:22`)).toHaveLength(1);
});

it("opens all forwards of a range or none", async () => {
  const created = await network();
  const taken = (await created.publish("udp:127.0.0.1:0-:1"))[0]!.address as Endpoint;
  const first = taken.port - 1;
  await expect(created.publish(`${first}-${taken.port}:1-2/udp`)).rejects.toThrow("cannot open a forward");
  expect(created.forwards()).toHaveLength(1);
});

it("refuses bad options by their name", async () => {
  await expect(createNetwork({ subnet: "10.0.2.0/33" })).rejects.toMatchObject({
    name: "ConfigError",
    field: "subnet",
  });
  const created = await network();
  await expect(created.publish("x")).rejects.toThrow(ConfigError);
  await expect(created.listen("nowhere")).rejects.toMatchObject({ field: "listen" });
  await expect(created.listen("udp:127.0.0.1:0")).rejects.toMatchObject({ field: "mtu" });
});

it("closes twice, and takes nothing afterwards", async () => {
  const created = await network();
  await Promise.all([created.close(), created[Symbol.asyncDispose]()]);
  expect(() => created.cable()).toThrow("the network is closed");
  await expect(created.listen({ path: path.join(folder, "late.sock") })).rejects.toThrow("the network is closed");
  expect(fs.existsSync(path.join(folder, "late.sock"))).toBe(false);
});
