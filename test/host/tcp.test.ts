/** What is Node's own about TCP: assumptions about undocumented behaviour, time-outs, UNIX paths. */

import { fork } from "node:child_process";
import { chmodSync, existsSync, mkdtempSync, rmSync, statSync, writeFileSync } from "node:fs";
import net from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import type { AcceptedTcp, HostTcp, HostTcpEvents, Landing } from "../../src/core/host-net.ts";
import { streamLibc } from "../../src/host/stream-libc.ts";
import { NodeTcp } from "../../src/host/tcp.ts";
import { ChunkPool } from "../../src/proto/tcp/chunk-pool.ts";
import { SendBuffer } from "../../src/proto/tcp/send-buffer.ts";
import { NodeRig } from "./node-rig.ts";

class Log implements HostTcpEvents {
  readonly log: string[] = [];
  text = "";
  memory: ArrayBufferLike | null = null;

  onConnect(): void {
    this.log.push("connect");
  }
  onData(bytes: Uint8Array, at: number, len: number): void {
    this.memory = bytes.buffer;
    this.text += Buffer.from(bytes.subarray(at, at + len)).toString();
  }
  onEnd(): void {
    this.log.push("end");
  }
  onDrain(): void {}
  onClose(code: string | null): void {
    this.log.push(`close ${code}`);
  }
}

/** Keeps what it reads in a send buffer, as a flow does. */
class Lander extends Log {
  readonly buffer = new SendBuffer(new ChunkPool({ sendBytes: 1 << 28 }).of(null));
  readonly taken: Uint8Array[] = [];
  landedBytes = 0;
  largest = 0;
  onMuch: () => void = () => {};

  override onData(bytes: Uint8Array, at: number, len: number): void {
    this.buffer.append(bytes, at, len);
  }
  /** The most that one read may land, which may end within a chunk. */
  readonly most: number;

  constructor(most: number = Number.POSITIVE_INFINITY) {
    super();
    this.most = most;
  }
  landing(bytes: Uint8Array, at: number, len: number, most: number): Landing {
    this.buffer.append(bytes, at, len);
    const room = this.buffer.land(Math.min(most, this.most));
    return { ...room, len: Math.min(room.len, this.most) };
  }
  landed(len: number): void {
    this.buffer.landed(len);
    this.landedBytes += len;
    this.largest = Math.max(this.largest, len);
    if (this.landedBytes > 1_000_000) this.onMuch();
  }
  /** Takes all bytes out. */
  take(): void {
    const out = new Uint8Array(this.buffer.length);
    this.buffer.copyOut(0, out.length, out, 0);
    this.buffer.clear();
    this.taken.push(out);
  }
}

function slab(text: string): { bytes: Uint8Array; scarce: boolean; pin(): void; unpin(): void } {
  return { bytes: Buffer.from(text), scarce: false, pin() {}, unpin() {} };
}

let rig: NodeRig;
beforeEach(() => {
  rig = new NodeRig();
});
afterEach(() => rig.close());

describe("reading", () => {
  it("uses one buffer for dialled and accepted connections", async () => {
    const dialled = new Log();
    const accepted = new Log();
    const listener = await rig.net.listenTcp({ host: "127.0.0.1", port: 0 }, (offer) => {
      const tcp = offer.accept(accepted);
      tcp.resume();
      tcp.write(slab("down"), 0, 4);
    });
    const tcp = rig.net.connectTcp(listener.address, dialled);
    tcp.resume();
    tcp.write(slab("up"), 0, 2);
    await rig.until(() => dialled.text === "down" && accepted.text === "up");
    expect(dialled.memory).toBe(accepted.memory);
    expect(dialled.memory?.byteLength).toBe(1_048_576);
    listener.close();
    tcp.reset();
  });

  it("takes more at a time while each read is full, and begins anew when it has been paused", async () => {
    const areas: number[] = [];
    let tcp: HostTcp | null = null;
    const near = new Log();
    near.onData = (bytes) => {
      areas.push(bytes.length);
      if (bytes.length > 262_144) tcp!.pause();
    };
    const server = net.createServer((socket) => void socket.on("error", () => {}).write(Buffer.alloc(64 * 1_048_576)));
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    tcp = rig.net.connectTcp({ host: "127.0.0.1", port: (server.address() as net.AddressInfo).port }, near);
    tcp.resume();
    await rig.until(() => areas.at(-1) === 1_048_576);
    expect(areas[0]).toBe(262_144);
    const before = areas.length;
    tcp.resume();
    await rig.until(() => areas.length > before);
    expect(areas[before]).toBe(262_144);
    tcp.reset();
    server.close();
  });

  it.skipIf(streamLibc() === null).each([Number.POSITIVE_INFINITY, 100_001])(
    "reads a long transfer into the flow's own memory, in order and whole, up to its end; at most %i bytes at a time",
    async (most) => {
      const noise = Buffer.from(Array.from({ length: 65_521 }, (_, i) => (i * 31) ^ (i >> 7)));
      const all = Buffer.concat(Array.from({ length: 400 }, () => noise));
      const near = new Lander(most);
      const server = net.createServer((socket) => void socket.end(all));
      await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
      const tcp = rig.net.connectTcp({ host: "127.0.0.1", port: (server.address() as net.AddressInfo).port }, near);
      tcp.resume();
      let full = 0;
      await rig.until(() => {
        // As a guest that acknowledges now and then, and a flow that stops when it has much.
        if (near.buffer.length > 4_000_000) {
          full++;
          tcp.pause();
          near.take();
          tcp.resume();
        }
        return near.log.includes("end");
      });
      near.take();
      expect(Buffer.concat(near.taken).equals(all)).toBe(true);
      expect(near.landedBytes).toBeGreaterThan(all.length / 2);
      expect(near.largest).toBeLessThanOrEqual(most);
      expect(full).toBeGreaterThan(0);
      tcp.end();
      await rig.until(() => near.log.length === 3);
      expect(near.log).toEqual(["connect", "end", "close null"]);
      server.close();
    },
  );

  it.skipIf(streamLibc() === null)("tells of a reset within a long transfer", async () => {
    const near = new Lander();
    const server = net.createServer((socket) => {
      socket.on("error", () => {});
      socket.write(Buffer.alloc(64 * 1_048_576));
      near.onMuch = () => socket.resetAndDestroy();
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const tcp = rig.net.connectTcp({ host: "127.0.0.1", port: (server.address() as net.AddressInfo).port }, near);
    tcp.resume();
    await rig.until(() => near.log.length === 2);
    expect(near.log).toEqual(["connect", "close ECONNRESET"]);
    server.close();
  });

  it("takes more at a time of sixteen sockets only", async () => {
    rig = new NodeRig({ libc: false });
    const server = net.createServer((socket) => void socket.on("error", () => {}).write(Buffer.alloc(64 * 1_048_576)));
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const at = { host: "127.0.0.1", port: (server.address() as net.AddressInfo).port };
    let reads = 0;
    let most = 0;
    const open = Array.from({ length: 40 }, () => {
      const near = new Log();
      near.onData = () => {
        reads++;
        most = Math.max(most, open.filter((tcp) => tcp.streams).length);
      };
      return rig.net.connectTcp(at, near) as NodeTcp;
    });
    for (const tcp of open) tcp.resume();
    await rig.until(() => reads > 800);
    expect(most).toBeGreaterThan(0);
    expect(most).toBeLessThanOrEqual(16);
    for (const tcp of open) tcp.reset();
    expect(open.filter((tcp) => tcp.streams)).toEqual([]);
    server.close();
  });

  it("goes by 'data' where an accepted connection cannot be moved", async () => {
    const near = new Log();
    let tcp: HostTcp | null = null;
    const server = net.createServer({ allowHalfOpen: true, pauseOnConnect: true }, (socket) => {
      // As a Node whose handles are not what we think they are.
      Object.defineProperty((socket as { _handle?: object })._handle, "useUserBuffer", { value: undefined });
      tcp = new NodeTcp(near, socket, false);
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const far = rig.dial({ host: "127.0.0.1", port: (server.address() as net.AddressInfo).port });
    far.send("hello");
    await rig.until(() => tcp !== null);
    await rig.quiet();
    expect(near.text).toBe("");
    tcp!.resume();
    await rig.until(() => near.text === "hello");
    expect(near.memory?.byteLength).not.toBe(1_048_576);
    tcp!.write(slab("world"), 0, 5);
    far.end();
    await rig.until(() => near.log.length === 1);
    tcp!.end();
    await rig.until(() => near.log.length === 2);
    expect(near.log).toEqual(["end", "close null"]);
    expect(Buffer.from(far.received).toString()).toBe("world");
    server.close();
  });
});

describe("dialling", () => {
  it("gives up when nobody answers", async () => {
    // A listener that never accepts: once its queue is full the kernel answers no SYN.
    const child = fork(fileURLToPath(new URL("./deaf-listener.mjs", import.meta.url)));
    const port = await new Promise<number>((resolve) => child.once("message", (m) => resolve(m as number)));
    const patient = new NodeRig({ connectTimeout: 300 });
    const logs = Array.from({ length: 6 }, () => new Log());
    const tcps = logs.map((log) => patient.net.connectTcp({ host: "127.0.0.1", port }, log));
    await rig.until(() => logs.every((log) => log.log.length > 0));
    expect(logs.at(-1)!.log).toEqual(["close ETIMEDOUT"]);
    expect(logs[0]!.log).toEqual(["connect"]);
    for (const tcp of tcps) tcp.reset();
    child.kill("SIGKILL");
    await new Promise((resolve) => child.once("exit", resolve));
  });

  it("comes from the outbound address, to the loopback from its own", async () => {
    const from = new NodeRig({ outboundAddr: "127.0.0.2" });
    const { at, far } = await rig.serve();
    const near = new Log();
    const tcp = from.net.connectTcp(at, near);
    await rig.until(() => far.length === 1);
    expect(tcp.local?.host).toBe("127.0.0.1");
    tcp.reset();
    const peer = await rig.udpFar();
    const udp = from.net.openUdp(4, { onDatagram() {}, onUdpError() {} });
    udp.send(Buffer.from("x"), 0, 1, peer.at, 64, false);
    await rig.until(() => peer.received.length === 1);
    expect(peer.received[0]!.from.host).toBe("127.0.0.2");
    udp.close();
  });

  it("tells the end of descriptors by its code, and a listener outlives it", async () => {
    const script = fileURLToPath(new URL("./few-descriptors.ts", import.meta.url));
    const child = fork(script, {
      execPath: "/bin/sh",
      execArgv: ["-c", `ulimit -n 100; exec "${process.execPath}" --import tsx "$0"`],
    });
    const report = await new Promise((resolve) => child.once("message", resolve));
    child.kill("SIGKILL");
    await new Promise((resolve) => child.once("exit", resolve));
    expect(report).toEqual({ codes: ["connected", "EMFILE", "EMFILE"], udp: ["EMFILE"], served: true });
  });
});

describe("a socket that has been used", () => {
  // Where the C library can be had, connections on the loopback have none of Node's.
  beforeEach(() => {
    rig = new NodeRig({ libc: false });
  });

  /** Connects, says `text` and ends, as the far end does. Tells which of Node's sockets it was. */
  async function once(text: string, to: Awaited<ReturnType<NodeRig["serve"]>>): Promise<[HostTcp, net.Socket]> {
    const connect = vi.spyOn(net.Socket.prototype, "connect");
    const near = new Log();
    const count = to.far.length;
    const tcp = rig.net.connectTcp(to.at, near);
    const socket = connect.mock.contexts.at(-1) as net.Socket;
    connect.mockRestore();
    tcp.resume();
    tcp.write(slab(text), 0, text.length);
    tcp.end();
    await rig.until(() => to.far.length > count && to.far[count]!.ended);
    const far = to.far[count]!;
    expect(Buffer.from(far.received).toString()).toBe(text);
    far.send("bye");
    far.end();
    await rig.until(() => near.log.at(-1) === "close null");
    expect(near.text).toBe("bye");
    expect(near.log).toEqual(["connect", "end", "close null"]);
    return [tcp, socket];
  }

  it("dials again when its connection has ended in order", async () => {
    const to = await rig.serve();
    const [, first] = await once("one", to);
    const [, second] = await once("two", to);
    const [, third] = await once("three", to);
    expect(second).toBe(first);
    expect(third).toBe(first);
  });

  it("no longer listens to whom it belonged to", async () => {
    const to = await rig.serve();
    const [old] = await once("one", to);
    const near = new Log();
    const tcp = rig.net.connectTcp(to.at, near);
    tcp.resume();
    await rig.until(() => near.log.length === 1);
    old.pause();
    old.write(slab("stale"), 0, 5);
    old.end();
    old.reset();
    await rig.until(() => to.far.length === 2);
    to.far[1]!.send("hello");
    await rig.until(() => near.text === "hello");
    expect(old.local).toBe(null);
    expect(old.backlog).toBe(0);
    expect(tcp.local).not.toBe(null);
    expect(to.far[1]!.received.length).toBe(0);
    expect(to.far[1]!.ended).toBe(false);
    tcp.reset();
    await rig.until(() => to.far[1]!.closed === "ECONNRESET");
  });

  it("is not used again after an error or a reset", async () => {
    const to = await rig.serve();
    const [, used] = await once("one", to);
    const near = new Log();
    const broken = rig.net.connectTcp(to.at, near);
    broken.resume();
    await rig.until(() => to.far.length === 2);
    to.far[1]!.reset();
    await rig.until(() => near.log.at(-1) === "close ECONNRESET");
    const [, next] = await once("two", to);
    expect(next).not.toBe(used);
    const refused = new Log();
    rig.net.connectTcp(rig.refused, refused);
    await rig.until(() => refused.log.length > 0);
    expect(refused.log).toEqual(["close ECONNREFUSED"]);
    expect((await once("three", to))[1]).not.toBe(next);
  });
});

describe("UNIX sockets", () => {
  let folder: string;
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), "host-"));
  });
  afterEach(() => rmSync(folder, { recursive: true, force: true }));

  it("belong to their user alone, replace stale ones and go away", async () => {
    const path = join(folder, "s");
    const stale = fork(fileURLToPath(new URL("./deaf-listener.mjs", import.meta.url)), [path]);
    await new Promise((resolve) => stale.once("message", resolve));
    await expect(rig.net.listenTcp({ path }, () => {})).rejects.toMatchObject({ code: "EADDRINUSE" });
    stale.kill("SIGKILL");
    await new Promise((resolve) => stale.once("exit", resolve));
    chmodSync(path, 0o777);

    const near = new Log();
    let offer: AcceptedTcp | null = null;
    let tcp: HostTcp | null = null;
    const listener = await rig.net.listenTcp({ path }, (o) => {
      offer = o;
      tcp = o.accept(near);
      tcp.resume();
    });
    expect(statSync(path).mode & 0o777).toBe(0o600);
    const far = rig.dial({ path });
    far.send("hello");
    await rig.until(() => near.text === "hello");
    expect(offer!.remote).toEqual({ host: "127.0.0.1", port: 0 });
    expect(tcp!.local).toBeNull();
    far.end();
    tcp!.end();
    await rig.until(() => near.log.length === 2);
    expect(near.log).toEqual(["end", "close null"]);

    const second = new Log();
    const dialled = rig.net.connectTcp({ path }, second);
    await rig.until(() => second.log.length === 1);
    dialled.reset();
    listener.close();
    await rig.until(() => !existsSync(path));
  });

  it("replace nothing that is not a socket", async () => {
    const path = join(folder, "precious");
    writeFileSync(path, "data");
    await expect(rig.net.listenTcp({ path }, () => {})).rejects.toMatchObject({ code: "EEXIST" });
    expect(statSync(path).isFile()).toBe(true);
  });

  it("say that a path is too long, or that its folder is missing", async () => {
    const long = join(folder, "x".repeat(120));
    await expect(rig.net.listenTcp({ path: long }, () => {})).rejects.toMatchObject({ code: "ENAMETOOLONG" });
    const missing = join(folder, "no", "s");
    await expect(rig.net.listenTcp({ path: missing }, () => {})).rejects.toMatchObject({ code: "ENOENT" });
  });
});
