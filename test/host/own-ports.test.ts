/** Ports of this process that are nobody's to reach from a guest, though the host's loopback is. */
import { execFile, spawn } from "node:child_process";
import { createSocket } from "node:dgram";
import { once } from "node:events";
import fs from "node:fs";
import inspector from "node:inspector";
import net from "node:net";
import os, { networkInterfaces } from "node:os";
import path from "node:path";
import { promisify } from "node:util";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { libc } from "../../src/host/libc.ts";
import { NodeHostNet } from "../../src/host/net.ts";
import { OwnPorts } from "../../src/host/own-ports.ts";
import { PortRegistry } from "../../src/host/port-registry.ts";
import { dial } from "../support/dial.ts";
import { SeededRandom } from "../support/random.ts";

describe.each([
  ["the C library's sockets", true],
  ["Node's sockets", false],
])("with %s", (_name, useLibc) => {
  test.skipIf(useLibc && libc() === null)("a protected UDP port gets nothing, until it is let go", async () => {
    const host = new NodeHostNet({ random: new SeededRandom(), libc: useLibc });
    const server = createSocket("udp4").bind(0, "127.0.0.1");
    await once(server, "listening");
    const { port } = server.address();
    const unprotect = host.ownPorts.protect(port);
    const errors: string[] = [];
    let told = (): void => {};
    const refused = new Promise<void>((resolve) => {
      told = resolve;
    });
    const socket = host.openUdp(4, {
      onDatagram() {},
      onUdpError: (error) => {
        errors.push(error.code);
        told();
      },
    });
    const to = { host: "127.0.0.1", port };
    const heard = once(server, "message");
    socket.send(Buffer.from("first"), 0, 5, to, 64, false);
    await refused;
    expect(errors).toEqual(["ECONNREFUSED"]);
    unprotect();
    socket.send(Buffer.from("second"), 0, 6, to, 64, false);
    expect(String((await heard)[0])).toBe("second");
    socket.close();
    server.close();
  });
});

test.each(["127.0.0.1", "127.1.2.3", "::1", "0.0.0.0", "::ffff:127.0.0.1"])(
  "a protected TCP port is refused at %s",
  async (address) => {
    const host = new NodeHostNet({ random: new SeededRandom() });
    const server = net.createServer((socket) => socket.destroy()).listen(0);
    await once(server, "listening");
    const { port } = server.address() as net.AddressInfo;
    host.ownPorts.protect(port);
    expect(await dial(host, address, port)).toBe("ECONNREFUSED");
    server.close();
  },
);

test("the port of an uplink's other end takes no datagrams at any address, until all have let it go", () => {
  const { ownPorts } = new NodeHostNet({ random: new SeededRandom() });
  const [first, second] = [ownPorts.protectEnd(4789), ownPorts.protectEnd(4789)];
  first();
  first();
  for (const address of ["192.0.2.1", "198.51.100.9", "2001:db8::1"]) {
    expect(ownPorts.hasUdp(address, 4789)).toBe(true);
    expect(ownPorts.has(address, 4789)).toBe(false);
  }
  second();
  expect(ownPorts.hasUdp("192.0.2.1", 4789)).toBe(false);
});

test("a port is closed at an address with one of this machine's in it", () => {
  const { ownPorts } = new NodeHostNet({ random: new SeededRandom() });
  ownPorts.protect(8_080);
  const own = Object.values(networkInterfaces()).flatMap((list) => list ?? []);
  for (const { address, family } of own) {
    expect(ownPorts.has(address, 8_080)).toBe(true);
    if (family === "IPv4") expect(ownPorts.has(`64:ff9b::${address}`, 8_080)).toBe(true);
  }
  expect(ownPorts.has("64:ff9b::198.51.100.7", 8_080)).toBe(false);
});

describe("several processes of one user", () => {
  const registry = (pid: number, ...more: string[]): OwnPorts => new OwnPorts(new PortRegistry([...more, folder], pid));
  let folder: string;
  beforeEach(() => {
    folder = path.join(fs.mkdtempSync(path.join(os.tmpdir(), "ports-")), "ports");
    fs.mkdirSync(folder, { mode: 0o700 });
  });
  afterEach(() => fs.rmSync(path.dirname(folder), { recursive: true }));

  test("know each other's ports, as long as they are held", () => {
    const other = registry(process.ppid);
    const first = other.protect(1_080);
    const second = other.protect(1_081);
    expect(registry(1).has("127.0.0.1", 1_080)).toBe(true);
    expect(registry(1).has("127.0.0.1", 1_082)).toBe(false);
    expect(registry(1).has("192.0.2.1", 1_080)).toBe(false);
    first();
    expect(registry(1).has("127.0.0.1", 1_080)).toBe(false);
    expect(registry(1).has("127.0.0.1", 1_081)).toBe(true);
    second();
    expect(fs.readdirSync(folder)).toEqual([]);
  });
  test("know each other whichever runtime folder each was told, if they have one folder in common", () => {
    const [one, two] = ["one", "two"].map((name) => path.join(path.dirname(folder), name, "ports"));
    const release = registry(process.ppid, one!).protect(1_080);
    expect(registry(1, two!).has("127.0.0.1", 1_080)).toBe(true);
    release();
    expect(registry(1, two!).has("127.0.0.1", 1_080)).toBe(false);
    expect(fs.readdirSync(one!)).toEqual([]);
  });
  test("make nothing in a folder that others may write to", () => {
    const foreign = path.join(path.dirname(folder), "foreign");
    fs.mkdirSync(foreign);
    fs.chmodSync(foreign, 0o777);
    registry(process.ppid, path.join(foreign, "ports")).protect(1_080);
    expect(fs.readdirSync(foreign)).toEqual([]);
    expect(registry(1).has("127.0.0.1", 1_080)).toBe(true);
  });
  test("a file whose process is gone counts no more, and goes", async () => {
    const child = spawn(process.execPath, ["-e", ""]);
    await once(child, "close");
    fs.writeFileSync(path.join(folder, `${child.pid}.ports`), "1080");
    expect(registry(1).has("127.0.0.1", 1_080)).toBe(false);
    expect(fs.readdirSync(folder)).toEqual([]);
  });
  test("a file of a process that had its number before counts no more, and goes", () => {
    const release = registry(process.ppid).protect(1_080);
    const file = path.join(folder, `${process.ppid}.ports`);
    expect(registry(1).has("127.0.0.1", 1_080)).toBe(true);
    fs.writeFileSync(file, fs.readFileSync(file, "utf8").replace(/^started \d+/, "started 1"));
    // Only Linux says when a process began.
    if (process.platform === "linux") {
      expect(registry(1).has("127.0.0.1", 1_080)).toBe(false);
      expect(fs.readdirSync(folder)).toEqual([]);
    }
    release();
  });
  test("however many files stand in the way: before all are read any port may be another's, and old files go", () => {
    const most = 2_500;
    for (let i = 0; i < most; i++) fs.writeFileSync(path.join(folder, `${4_194_305 + i}.ports`), "1081");
    const release = registry(process.ppid).protect(1_080);
    const reader = registry(1);
    for (let dial = 0; dial < 2; dial++) {
      expect(reader.has("127.0.0.1", 1_080)).toBe(true);
      expect(reader.has("127.0.0.1", 1_081)).toBe(dial === 0);
    }
    expect(fs.readdirSync(folder)).toEqual([`${process.ppid}.ports`]);
    expect(reader.has("127.0.0.1", 1_080)).toBe(true);
    release();
  });
  test("one file that cannot be read keeps no other from being read", () => {
    const release = registry(process.ppid).protect(1_080);
    // As if its process had ended: but a folder is not removed as a file is.
    for (let pid = 4_194_305; pid < 4_194_315; pid++) fs.mkdirSync(path.join(folder, `${pid}.ports`));
    expect(registry(1).has("127.0.0.1", 1_080)).toBe(true);
    release();
  });
  test("a process that was killed leaves no file, where who started it says so", async () => {
    const child = spawn(process.execPath, ["-e", "process.stdin.resume()"]);
    const ports = registry(child.pid!);
    ports.protect(1_080);
    const starter = new PortRegistry([folder], 1);
    starter.ended(child.pid!);
    expect(fs.readdirSync(folder)).toEqual([`${child.pid}.ports`]);
    child.kill("SIGKILL");
    await once(child, "close");
    starter.ended(child.pid!);
    expect(fs.readdirSync(folder)).toEqual([]);
  });
  test("a network that has ended holds none any more, whoever closed its ports", () => {
    const ports = registry(process.ppid);
    ports.protect(1_080);
    const release = ports.protect(1_081);
    ports.close();
    release();
    expect(fs.readdirSync(folder)).toEqual([]);
  });
  test("what others may have put there is not believed", () => {
    const other = registry(process.ppid);
    const release = other.protect(1_080);
    fs.chmodSync(folder, 0o777);
    expect(registry(1).has("127.0.0.1", 1_080)).toBe(false);
    fs.chmodSync(folder, 0o700);
    release();
    fs.mkdirSync(path.join(folder, `${process.ppid}.ports`));
    fs.writeFileSync(path.join(folder, "x.ports"), "1080");
    expect(registry(1).has("127.0.0.1", 1_080)).toBe(false);
  });
});

describe("an address that is on no interface", () => {
  const asked: string[] = [];
  const routedHere = (host: string): boolean => {
    asked.push(host);
    return host === "2001:db8::1" || host.startsWith("192.0.2.");
  };
  test("is this machine's where a route says so, and asked for once and only for a port that is held", () => {
    const ports = new OwnPorts(new PortRegistry([]), routedHere);
    ports.protect(7_001);
    for (const host of ["192.0.2.1", "192.0.2.1", "2001:db8::1", "64:ff9b::192.0.2.1", "::ffff:192.0.2.1"]) {
      expect([ports.has(host, 7_001), ports.hasUdp(host, 7_001)]).toEqual([true, true]);
      expect(ports.has(host, 7_002)).toBe(false);
    }
    expect(ports.has("198.51.100.7", 7_001)).toBe(false);
    expect(asked.filter((host) => host === "192.0.2.1")).toHaveLength(1);
  });

  const root = process.platform === "linux" && process.getuid?.() === 0;
  test.skipIf(!root)("is refused by all sockets, with such routes", async () => {
    const child = path.join(import.meta.dirname, "any-ip-child.ts");
    const commands = [
      "ip link set lo up",
      "ip route add local 192.0.2.0/24 dev lo",
      "ip -6 route add local 2001:db8::/64 dev lo",
      // Another address of this machine, which IPv6 prefers for what it says to itself.
      "ip link add eth0 type veth peer name far && ip link set eth0 up && ip link set far up",
      "ip addr add 10.9.9.1/24 dev eth0 && ip -6 addr add 2001:db8:5::1/64 dev eth0 nodad",
      `exec ${process.execPath} --import tsx ${child}`,
    ];
    const { stdout } = await promisify(execFile)("unshare", ["-n", "sh", "-c", commands.join(" && ")]);
    const refused = { tcp: "ECONNREFUSED", udp: "ECONNREFUSED" };
    expect(JSON.parse(stdout)).toEqual({
      "192.0.2.1": refused,
      "2001:db8::1": refused,
      unheld: { tcp: "connected", udp: "sent" },
    });
  });
});

test("Node's debugger is refused as long as it listens", async () => {
  const host = new NodeHostNet({ random: new SeededRandom() });
  inspector.open(0, "127.0.0.1");
  const port = Number(new URL(inspector.url()!).port);
  expect(await dial(host, "127.0.0.1", port)).toBe("ECONNREFUSED");
  expect(host.ownPorts.holds(port)).toBe(true);
  inspector.close();
  // Somebody else's from now on.
  expect(host.ownPorts.holds(port)).toBe(false);
});

test("a port protected twice is let go when both have let go", async () => {
  const { ownPorts } = new NodeHostNet({ random: new SeededRandom() });
  const [first, second] = [ownPorts.protect(80), ownPorts.protect(80)];
  first();
  first();
  expect(ownPorts.has("127.0.0.1", 80)).toBe(true);
  second();
  expect(ownPorts.has("127.0.0.1", 80)).toBe(false);
});

test("a runtime folder below /proc, where nothing can be made, holds nobody up", async () => {
  const script = `import { PortRegistry } from ${JSON.stringify(path.resolve("src/host/port-registry.ts"))};
    const registry = new PortRegistry(["/proc/self/tslirp/ports"]);
    registry.add(7)();
    console.log(registry.folders());`;
  const node = ["--import", "tsx", "--input-type=module", "-e", script];
  const { stdout } = await promisify(execFile)(process.execPath, node, { timeout: 20_000, killSignal: "SIGKILL" });
  expect(stdout).toBe("[]\n");
}, 30_000);
