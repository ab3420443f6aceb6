/** A TAP as a cable: over a real kernel, in a namespace that the test makes. */
import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { once } from "node:events";
import fs from "node:fs";
import http from "node:http";
import type { AddressInfo } from "node:net";
import os from "node:os";
import path from "node:path";
import { afterEach, describe, expect, test } from "vitest";
import { finished } from "../../src/attach/undone.ts";
import { readableDescriptor } from "../../src/host/readable.ts";
import { type TapDevice, taps } from "../../src/host/tap-device.ts";
import { openTap } from "../../src/host/tap-namespace.ts";
import { createNetwork } from "../../src/index.ts";
import { replayFile } from "../../src/record/run.ts";
import { VIRTIO_NET_HEADER, virtioUndone, virtioWrite } from "../../src/wire/virtio-net.ts";
import { decodeFrame, type FrameSpec } from "../support/frames.ts";
import { handlesWithout } from "../support/handles.ts";
import { undoneFrame } from "../support/offload.ts";

const able = taps() !== null && fs.existsSync("/dev/net/tun");

/** A user and network namespace that somebody holds open. */
class Namespace implements AsyncDisposable {
  readonly #holder: ChildProcess;
  private constructor(holder: ChildProcess) {
    this.#holder = holder;
  }

  static async make(): Promise<Namespace> {
    const holder = spawn("unshare", ["--user", "--map-root-user", "--net", "sh", "-c", "echo ready; read _"], {
      stdio: ["pipe", "pipe", "inherit"],
    });
    await once(holder.stdout!, "data");
    return new Namespace(holder);
  }

  get pid(): number {
    return this.#holder.pid!;
  }

  get #enter(): string[] {
    return ["--target", String(this.pid), "--user", "--preserve-credentials", "--net", "--"];
  }

  run(script: string): string {
    return execFileSync("nsenter", [...this.#enter, "sh", "-ec", script], { encoding: "utf8" });
  }

  async start(script: string): Promise<Buffer> {
    const child = spawn("nsenter", [...this.#enter, "sh", "-ec", script], { stdio: ["ignore", "pipe", "inherit"] });
    const parts: Buffer[] = [];
    child.stdout.on("data", (part: Buffer) => parts.push(part));
    const [code] = (await once(child, "close")) as [number];
    if (code !== 0) throw new Error(`${script}: ${code}`);
    return Buffer.concat(parts);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const gone = once(this.#holder, "exit");
    this.#holder.stdin!.end();
    await gone;
  }
}

const CONFIGURE = `ip link set lo up; ip link set tap0 up; ip addr add 10.0.2.15/24 dev tap0; ip route add default via 10.0.2.2
ip -6 addr add fec0::15/64 dev tap0 nodad; ip -6 route add default via fec0::2`;

describe.runIf(able)("a TAP in another namespace", () => {
  const closing: (() => Promise<unknown>)[] = [];
  afterEach(async () => {
    for (const close of closing.splice(0).reverse()) await close();
  });

  test("reaches the host in both families, with frames longer than the MTU both ways, and all of it replays", async () => {
    await using namespace = await Namespace.make();
    const body = Buffer.alloc(20_000_000, "0123456789abcdef");
    const server = http.createServer(async (request, response) => {
      if (request.method === "GET") return void response.end(body);
      const hash = createHash("sha256");
      for await (const part of request) hash.update(part as Buffer);
      response.end(hash.digest("hex"));
    });
    server.listen(0, "::");
    await once(server, "listening");
    closing.push(async () => server.close());
    const { port } = server.address() as AddressInfo;
    const folder = fs.mkdtempSync(path.join(os.tmpdir(), "tap-cable-"));
    closing.push(async () => fs.rmSync(folder, { recursive: true }));
    const record = { file: path.join(folder, "run.tslirp"), payload: false };
    const network = await createNetwork({ mtu: 1500, record });
    closing.push(() => network.close());
    await network.makeTap(`tap0@${namespace.pid}`);
    namespace.run(CONFIGURE);
    const sha = createHash("sha256").update(body).digest("hex");
    for (const host of ["10.0.2.2", "[fec0::2]"]) {
      const got = await namespace.start(`curl -sS --max-time 30 http://${host}:${port}/`);
      expect(createHash("sha256").update(got).digest("hex")).toBe(sha);
      const told = await namespace.start(
        `head -c 20000000 /dev/zero | tr '\\0' x | curl -sS --max-time 30 -T - http://${host}:${port}/`,
      );
      const sent = createHash("sha256").update(Buffer.alloc(20_000_000, "x")).digest("hex");
      expect(told.toString()).toBe(sent);
    }
    const { framesIn, bytesIn, framesOut, bytesOut } = network.stats();
    expect(bytesIn).toBeGreaterThan(40_000_000);
    expect(bytesIn / framesIn).toBeGreaterThan(1_514);
    expect(bytesOut).toBeGreaterThan(40_000_000);
    expect(bytesOut / framesOut).toBeGreaterThan(1_514);
    expect(Object.entries(network.stats().drops).filter(([reason, n]) => n > 0 && reason !== "icmp-type")).toEqual([]);
    await network.close();
    const { difference, crash } = await replayFile(record.file);
    expect([difference?.message, crash]).toEqual([undefined, null]);
  });

  test("pings, and is gone when the device is", async () => {
    await using namespace = await Namespace.make();
    const network = await createNetwork();
    closing.push(() => network.close());
    const { closed } = await network.makeTap(`tap0@${namespace.pid}`);
    namespace.run(CONFIGURE);
    await namespace.start("ping -c 2 -i 0.1 -W 5 10.0.2.2; ping -6 -c 1 -W 5 fec0::2");
    namespace.run("ip link del tap0");
    await closed;
  });

  test("is asked by a timer where Node has changed, and nobody waits for its next frame", async () => {
    await using namespace = await Namespace.make();
    const device = await openTap("tap0", { pid: namespace.pid });
    const flags = /^flags:\s*([0-7]+)$/m.exec(fs.readFileSync(`/proc/self/fdinfo/${device.fd}`, "latin1"))![1]!;
    // Else the test would wait in a read, for ever.
    expect(Number.parseInt(flags, 8) & fs.constants.O_NONBLOCK).toBe(fs.constants.O_NONBLOCK);
    const network = await createNetwork();
    closing.push(() => network.close());
    using _ = handlesWithout("useUserBuffer");
    const closed = network.attachTap(device.fd);
    namespace.run(CONFIGURE);
    await namespace.start("ping -c 2 -i 0.1 -W 5 10.0.2.2");
    namespace.run("ip link del tap0");
    await closed;
  });

  test("is gone when the namespace's network closes; its descriptor is closed", async () => {
    await using namespace = await Namespace.make();
    const network = await createNetwork();
    const { closed } = await network.makeTap(`tap0@${namespace.pid}`);
    await network.close();
    await closed;
    expect(() => namespace.run("ip link show tap0 2>/dev/null")).toThrow();
  });

  test("a name that is taken, a process that has gone, and a descriptor that is no TAP are one line each", async () => {
    await using namespace = await Namespace.make();
    const network = await createNetwork();
    closing.push(() => network.close());
    await network.makeTap(`tap0@${namespace.pid}`);
    await expect(network.makeTap(`tap0@${namespace.pid}`)).rejects.toThrow("cannot make TAP tap0: that name is taken");
    await expect(network.makeTap("tap0@4194303")).rejects.toThrow("there is no process 4194303");
    await expect(network.makeTap("tap0@/run/netns/none")).rejects.toThrow("there is no network namespace at");
    await expect(network.makeTap("tap0@none")).rejects.toThrow("tap: ");
    const fd = fs.openSync("/dev/null", "r");
    expect(() => network.attachTap(fd)).toThrow(`descriptor ${fd} is no TAP`);
    fs.closeSync(fd);
  });
});

const BRIDGE = `echo 1 > /proc/sys/net/ipv6/conf/default/disable_ipv6
ip link add name br0 type bridge; for i in from to; do ip link set dev $i master br0 up; done; ip link set dev br0 up`;

describe.runIf(able)("what the kernel makes of unfinished frames", () => {
  const cases: [string, FrameSpec, number][] = [];
  const payload = Uint8Array.from({ length: 6_000 }, (_, i) => (i * 31 + (i >> 8)) & 0xff);
  const eth = { src: "52:54:00:00:00:01", dst: "52:54:00:00:00:02" };
  for (const [name, ip] of [
    ["IPv4", { ip: { src: "10.9.9.1", dst: "10.9.9.2", id: 65_534 } }],
    ["IPv6", { ip6: { src: "fd00::1", dst: "fd00::2" } }],
  ] as const) {
    const tcp = { seq: 0xffff_f000, ack: 7, flags: "FIN PSH ACK", options: { timestamps: [1, 2] as const } };
    cases.push([`TCP over ${name}, in pieces of 1448`, { eth, ...ip, tcp, payload }, 1_448]);
    cases.push([`TCP over ${name}, in pieces of 700`, { eth, ...ip, tcp: { ...tcp, flags: "ACK" }, payload }, 700]);
    cases.push([`TCP over ${name}, summed`, { eth, ...ip, tcp, payload: payload.slice(0, 777) }, 1]);
    cases.push([`UDP over ${name}, summed`, { eth, ...ip, udp: {}, payload: payload.slice(0, 777) }, 1]);
  }

  test.each(cases)("%s: ours are the same, byte by byte", async (_name, spec, undone) => {
    await using namespace = await Namespace.make();
    const from = await openTap("from", { pid: namespace.pid });
    const to = await openTap("to", { pid: namespace.pid });
    // Takes nothing unfinished: the kernel has to finish what the bridge brings.
    taps()!.offload(to.fd, 0);
    namespace.run(BRIDGE);
    const frame = undoneFrame(spec);
    const expected = finished(frame, 0, frame.length, undone)!;
    const got = (await through(from, to, written(frame, undone), expected.length)).map(bare);
    expect(got.map((each) => decodeFrame(each))).toEqual(expected.map((each) => decodeFrame(each)));
    expect(got).toEqual(expected);
  });

  test.each([
    ["IPv4", { ip: { src: "10.9.9.1", dst: "10.9.9.2" } }, 1],
    ["IPv6", { ip6: { src: "fd00::1", dst: "fd00::2" } }, 4],
  ] as const)(
    "what bears a mark of congestion over %s comes cut, since we do not offer to take it",
    async (_, ip, gso) => {
      await using namespace = await Namespace.make();
      const from = await openTap("from", { pid: namespace.pid });
      const to = await openTap("to", { pid: namespace.pid });
      namespace.run(BRIDGE);
      const frame = undoneFrame({ eth, ...ip, tcp: { seq: 1, ack: 7, flags: "PSH ACK" }, payload });
      // Congestion window reduced (RFC 3168); the sum that is written so far does not cover it.
      frame[14 + (gso === 1 ? 20 : 40) + 13]! |= 0x80;
      const out = written(frame, 1_400);
      out[1] = gso | 0x80;
      const expected = finished(frame, 0, frame.length, 1_400)!;
      const got = await through(from, to, out, expected.length);
      expect(got.map((each) => each[1])).toEqual(expected.map(() => 0));
      expect(got.map((each) => each.length - VIRTIO_NET_HEADER)).toEqual(expected.map((each) => each.length));
      for (const each of got) {
        const len = each.length - VIRTIO_NET_HEADER;
        expect(virtioUndone(each, 0, each, VIRTIO_NET_HEADER, len)).toBeOneOf([0, 1]);
      }
    },
  );
});

/** A frame with its header. */
function written(frame: Uint8Array, undone: number): Uint8Array {
  const out = Buffer.allocUnsafeSlow(VIRTIO_NET_HEADER + frame.length);
  out.set(frame, VIRTIO_NET_HEADER);
  virtioWrite(out, 0, undone, frame, 0, frame.length);
  return out;
}

const bare = (frame: Uint8Array): Uint8Array => frame.slice(VIRTIO_NET_HEADER);

/** Writes a frame to one TAP; the first `count` frames of its sender that come by the other. With their headers, all of them. */
async function through(from: TapDevice, to: TapDevice, out: Uint8Array, count: number): Promise<Uint8Array[]> {
  const library = taps()!;
  const area = Buffer.allocUnsafeSlow(70_000);
  const address = library.addressOf(area);
  const got: Uint8Array[] = [];
  let done = () => {};
  const all = new Promise<void>((resolve) => {
    done = resolve;
  });
  const readable = readableDescriptor(to.fd, () => {
    for (let n = library.read(to.fd, address, 70_000); n >= 0; n = library.read(to.fd, address, 70_000)) {
      const each = new Uint8Array(area.subarray(0, n));
      if (each[VIRTIO_NET_HEADER + 11] === 1 && each[VIRTIO_NET_HEADER + 6] === 0x52) got.push(each);
    }
    if (got.length >= count) done();
  });
  // A bridge's port forwards after it has come up; nothing tells when.
  const sending = setInterval(() => {
    if (got.length === 0) library.write(from.fd, library.addressOf(out), out.length);
  }, 50);
  try {
    await all;
    return got.slice(0, count);
  } finally {
    clearInterval(sending);
    readable.close();
    fs.closeSync(from.fd);
  }
}
