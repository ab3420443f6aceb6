/** What `host/udp.ts` assumes of Node and the kernel, and what it does where they set limits. */
import { createSocket, type Socket } from "node:dgram";
import { afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import type { Endpoint } from "../../src/core/host-net.ts";
import { libc } from "../../src/host/libc.ts";
import { NodeHostNet } from "../../src/host/net.ts";
import { OwnPorts } from "../../src/host/own-ports.ts";
import { MAX_PEERS, NodeUdp } from "../../src/host/udp.ts";
import { SeededRandom } from "../support/random.ts";
import { NodeRig } from "./node-rig.ts";

const X = Buffer.from("x");
const quietly = { onDatagram() {}, onUdpError() {} };

/** How many UDP sockets this process has: Node's own, and those that a handle of another kind watches (`host/readable`). */
function sockets(): number {
  return process.getActiveResourcesInfo().filter((kind) => kind === "UDPWrap" || kind === "PipeWrap").length;
}

let rig: NodeRig;
/** Which of the two kinds of mapping: that of the C library, or of Node alone. */
let useLibc = true;
beforeEach(async () => {
  rig = new NodeRig({ libc: useLibc });
  // The test before has closed its own.
  await rig.quiet();
});
afterEach(() => rig.close());

describe("Node", () => {
  it("has bound and connected a socket when the calls return, given addresses and a lookup that answers at once", () => {
    const lookup = (host: string, _: unknown, done: (e: null, a: string, f: number) => void) => done(null, host, 4);
    const socket = createSocket({ type: "udp4", lookup: lookup as never });
    socket.bind({ address: "127.0.0.1", port: 0, exclusive: true });
    expect(socket.address().port).toBeGreaterThan(0);
    socket.connect(9, "127.0.0.1");
    expect(socket.remoteAddress().port).toBe(9);
    socket.close();
  });
});

describe("the kernel", () => {
  let open: Socket[] = [];
  const bound = (port: number): Promise<Socket> =>
    new Promise((resolve) => {
      const socket = createSocket({ type: "udp4", reuseAddr: true });
      open.push(socket);
      socket.bind(port, () => resolve(socket));
    });
  afterEach(() => {
    for (const socket of open) socket.close();
    open = [];
  });

  it("gives a connected socket what comes from its peer, and the wide one on the same port the rest", async () => {
    const [peer, other] = [await rig.udpFar(), await rig.udpFar()];
    const wide = await bound(0);
    const { port } = wide.address();
    const connected = await bound(port);
    await new Promise<void>((resolve) => connected.connect(peer.at.port, peer.at.host, resolve));
    const log: string[] = [];
    wide.on("message", (m) => log.push(`wide ${m}`));
    connected.on("message", (m) => log.push(`connected ${m}`));
    const to = { host: "127.0.0.1", port };
    peer.send("from the peer", to);
    other.send("from another", to);
    await rig.until(() => log.length === 2);
    expect(log.sort()).toEqual(["connected from the peer", "wide from another"]);
  });
});

describe.each([true, false])("a mapping (with the C library: %s)", (withLibc) => {
  beforeAll(() => {
    useLibc = withLibc;
  });

  it("takes no port that somebody has, be it with SO_REUSEADDR", async () => {
    const first = new SeededRandom(7).u32();
    const port = 32_768 + (first >>> 17);
    const taken = createSocket({ type: "udp4", reuseAddr: true });
    await new Promise<void>((resolve) => taken.bind(port, "127.0.0.1", resolve));
    const host = new NodeHostNet({ random: new SeededRandom(7), libc: withLibc });
    const far = await rig.udpFar();
    const [one, two] = [
      host.openUdp(4, quietly),
      new NodeHostNet({ random: new SeededRandom(7), libc: withLibc }).openUdp(4, quietly),
    ];
    one.send(X, 0, 1, far.at, 64, false);
    two.send(X, 0, 1, far.at, 64, false);
    await rig.until(() => far.received.length === 2);
    const ports = far.received.map((d) => d.from.port);
    expect(new Set([port, ...ports]).size).toBe(3);
    for (const p of ports) expect(p).toBeGreaterThanOrEqual(32_768);
    one.close();
    two.close();
    taken.close();
  });

  it("says that a datagram is too long, and sends the longest there is", async () => {
    const far = await rig.udpFar();
    const errors: string[] = [];
    const udp = rig.net.openUdp(4, { onDatagram() {}, onUdpError: ({ code }) => errors.push(code) });
    const bytes = Buffer.alloc(65_535, "abcdefg");
    udp.send(bytes, 0, 65_535, far.at, 64, false);
    await rig.until(() => errors.length === 1);
    expect(errors).toEqual(["EMSGSIZE"]);
    udp.send(bytes, 0, 65_507, far.at, 64, false);
    await rig.until(() => far.received.length === 1);
    expect(far.received[0]!.bytes).toEqual(bytes.subarray(0, 65_507));
    udp.close();
  });

  it("speaks IPv6", async () => {
    const socket = createSocket("udp6");
    const got: string[] = [];
    socket.on("message", (m, from) => {
      got.push(m.toString());
      socket.send("pong", from.port, from.address);
    });
    await new Promise<void>((resolve) => socket.bind(0, "::1", resolve));
    const from: Endpoint[] = [];
    const udp = rig.net.openUdp(6, { ...quietly, onDatagram: (_b, _a, _l, f) => from.push(f) });
    udp.send(Buffer.from("ping"), 0, 4, { host: "::1", port: socket.address().port }, 64, false);
    await rig.until(() => from.length === 1);
    expect(got).toEqual(["ping"]);
    expect(from).toEqual([{ host: "::1", port: socket.address().port }]);
    udp.close();
    socket.close();
  });

  it("comes at once through a burst, whole and in order", async () => {
    const far = await rig.udpFar();
    const udp = rig.net.openUdp(4, quietly);
    const bytes = Buffer.alloc(4);
    for (let i = 0; i < 100; i++) {
      bytes.writeUInt32BE(i);
      udp.send(bytes, 0, 4, far.at, 64, false);
    }
    bytes.fill(0xee);
    await rig.until(() => far.received.length === 100);
    expect(far.received.map((d) => Buffer.from(d.bytes).readUInt32BE())).toEqual(
      Array.from({ length: 100 }, (_, i) => i),
    );
    udp.close();
  });
});

describe("a mapping of Node's sockets alone", () => {
  beforeAll(() => {
    useLibc = false;
  });

  it("has a wide socket and four peers at the most, and gives them all back", async () => {
    const before = sockets();
    const fars = await Promise.all(Array.from({ length: 12 }, () => rig.udpFar()));
    const udp = rig.net.openUdp(4, quietly);
    expect(sockets()).toBe(before + 12);
    for (const far of fars) udp.send(X, 0, 1, far.at, 64, false);
    await rig.until(() => fars.every((far) => far.received.length === 1));
    expect(sockets()).toBe(before + 12 + 5);
    udp.close();
    await rig.until(() => sockets() === before + 12);
  });

  it("has none when all mappings together have as many as may be, and sends all the same", async () => {
    const env = { random: new SeededRandom(1), outboundAddr: null, ownPorts: new OwnPorts(), peers: MAX_PEERS };
    const far = await rig.udpFar();
    const before = sockets();
    const udp = new NodeUdp(env, 4, quietly);
    for (let i = 0; i < 3; i++) udp.send(X, 0, 1, far.at, 64);
    await rig.until(() => far.received.length === 3);
    expect(sockets()).toBe(before + 1);
    udp.close();
  });

  it("hears of a refusal by a new destination when an old one has been idle for a second", async () => {
    const fars = await Promise.all(Array.from({ length: 4 }, () => rig.udpFar()));
    const errors: Endpoint[] = [];
    const udp = rig.net.openUdp(4, { onDatagram() {}, onUdpError: (_, to) => errors.push(to) });
    for (const far of fars) udp.send(X, 0, 1, far.at, 64, false);
    udp.send(X, 0, 1, rig.refused, 64, false);
    await rig.quiet();
    expect(errors).toEqual([]);
    const later = performance.now() + 1_050;
    await rig.until(() => performance.now() > later);
    udp.send(X, 0, 1, rig.refused, 64, false);
    await rig.until(() => errors.length === 1);
    expect(errors).toEqual([rig.refused]);
    udp.close();
  });
});

describe.skipIf(libc() === null)(`a mapping through the C library${libc() === null ? " (SKIPPED: koffi)" : ""}`, () => {
  beforeAll(() => {
    useLibc = true;
  });

  it("is one socket, hears all that refuse, and keeps its port to itself", async () => {
    const before = sockets();
    const far = await rig.udpFar();
    const errors: string[] = [];
    const udp = rig.net.openUdp(4, {
      onDatagram() {},
      onUdpError: ({ code, from, type, icmpCode }, to) => errors.push(`${code} ${from} ${type}/${icmpCode} ${to.port}`),
    });
    for (let port = 1; port <= 8; port++) udp.send(X, 0, 1, { host: "127.0.0.1", port }, 64, false);
    udp.send(X, 0, 1, far.at, 64, false);
    await rig.until(() => errors.length === 8 && far.received.length === 1);
    expect(errors).toEqual(Array.from({ length: 8 }, (_, i) => `ECONNREFUSED 127.0.0.1 3/3 ${i + 1}`));
    expect(sockets()).toBe(before + 2);
    const thief = createSocket({ type: "udp4", reuseAddr: true });
    const stolen = await new Promise<string | undefined>((resolve) => {
      thief.once("error", (error: NodeJS.ErrnoException) => resolve(error.code));
      thief.bind(far.received[0]!.from.port, () => resolve(undefined));
    });
    expect(stolen).toBe("EADDRINUSE");
    thief.close();
    udp.close();
  });
});
