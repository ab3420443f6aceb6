import { spawn } from "node:child_process";
import { once } from "node:events";
import fs from "node:fs";
import net from "node:net";
import os from "node:os";
import path from "node:path";
import { Duplex, duplexPair } from "node:stream";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import type { StreamAddress } from "../../src/attach/address.ts";
import type { Attachment, CableEnv } from "../../src/attach/attachment.ts";
import { connectStream, inheritStream } from "../../src/attach/client.ts";
import { listenStream } from "../../src/attach/server.ts";
import { SlabPool } from "../../src/attach/slab.ts";
import { attachDuplex } from "../../src/attach/stream.ts";
import { TX_SLAB } from "../../src/attach/transmit.ts";
import { DEFAULT_LIMITS } from "../../src/core/limits.ts";
import { MAX_FRAME, type Slab } from "../../src/core/link.ts";
import { NO_TAP } from "../../src/core/tap.ts";
import { baseOf } from "../../src/wire/arena.ts";
import { proves } from "../cases/proves.ts";
import { Drops, expectFrames, frame, GuestReader, padded, Recorder, transmit, wire } from "./recorder.ts";

let dir: string;
let open: { close(): unknown }[] = [];

beforeEach(() => {
  dir = fs.mkdtempSync(path.join(os.tmpdir(), "attach-"));
});

afterEach(async () => {
  for (const it of open) await it.close();
  open = [];
  fs.rmSync(dir, { recursive: true, force: true });
});

function rig() {
  const receiver = new Recorder();
  const drops = new Drops();
  const pool = new SlabPool();
  const env: CableEnv = {
    receiver,
    pool,
    trace: drops,
    clock: { now: () => performance.now() },
    tap: NO_TAP,
    limits: DEFAULT_LIMITS,
    sent: { frames: 0, bytes: 0 },
  };
  return { receiver, drops, pool, env };
}

function keep<T extends { close(): unknown }>(it: T): T {
  open.push(it);
  return it;
}

/** A guest's end. */
function dial(address: StreamAddress): net.Socket {
  const socket = address.kind === "unix" ? net.connect(address.path) : net.connect(address.port, address.host);
  socket.on("error", () => {});
  keep({ close: () => socket.destroy() });
  return socket;
}

function readFrames(socket: Duplex, count: number): Promise<Uint8Array[]> {
  const reader = new GuestReader();
  return new Promise((resolve) => {
    socket.on("data", (chunk: Buffer) => {
      reader.push(chunk);
      if (reader.frames.length >= count) resolve(reader.frames);
    });
  });
}

async function serve(env: CableEnv, kind: "unix" | "tcp" = "unix"): Promise<Attachment & { address: StreamAddress }> {
  const at: StreamAddress =
    kind === "unix" ? { kind, path: path.join(dir, "s.sock") } : { kind, host: "127.0.0.1", port: 0 };
  return keep((await listenStream(at, env)) as Attachment & { address: StreamAddress });
}

describe.each(["unix", "tcp"] as const)("a server on %s", (kind) => {
  it("carries frames of all lengths both ways", async () => {
    const { receiver, env } = rig();
    const server = await serve(env, kind);
    const guest = dial(server.address);
    const frames = [1, 13, 14, 60, 1514, 9000, MAX_FRAME, 60].map((len, i) => frame(len, i));
    guest.write(wire(...frames));
    await receiver.until(() => receiver.frames.length === frames.length);
    expectFrames(receiver.frames, frames);
    const link = receiver.links[0]!;
    expect(link.name).toMatch(kind === "unix" ? /^unix:.*s\.sock#1$/ : /^tcp:127\.0\.0\.1:\d+#1$/);
    const back = readFrames(guest, frames.length);
    for (const f of frames) transmit(link, f);
    expectFrames(await back, frames.map(padded));
  });

  it("reads elsewhere while a slab is pinned, and comes back to it after", async () => {
    const { receiver, env, pool } = rig();
    const server = await serve(env, kind);
    const guest = dial(server.address);
    const held: { slab: Slab; at: number; was: Uint8Array }[] = [];
    receiver.onReceive = (_, slab, at, len) => {
      if (slab.scarce || held.length >= 8) return;
      slab.pin();
      held.push({ slab, at, was: slab.bytes.slice(at, at + len) });
    };
    for (let i = 1; i <= 12; i++) {
      guest.write(wire(frame(5000, i)));
      await receiver.until(() => receiver.frames.length === i);
    }
    expectFrames(
      held.map(({ slab, at, was }) => slab.bytes.subarray(at, at + was.length)),
      held.map(({ was }) => was),
    );
    expect(pool.inUse).toBe(9);
    for (const { slab } of held) slab.unpin();
    expect(pool.inUse).toBe(1);
  });

  it("gives a gone guest's transmit slabs back to the arena", async () => {
    const { receiver, env } = rig();
    const server = await serve(env, kind);
    const guest = dial(server.address);
    await receiver.until(() => receiver.links.length === 1);
    const link = receiver.links[0]!;
    transmit(link, frame(60));
    const { tx } = link;
    link.flush();
    expect(baseOf(tx)).toBeGreaterThan(0);
    guest.destroy();
    await vi.waitFor(() => expect(baseOf(tx)).toBe(-1), 20_000);
    expect(link.reserve(60)).toBe(-1);
  });

  it("says that a guest is gone, and takes the next one", async () => {
    const { receiver, env, pool } = rig();
    const server = await serve(env, kind);
    for (let i = 1; i <= 3; i++) {
      const guest = dial(server.address);
      guest.write(wire(frame(60, i)));
      await receiver.until(() => receiver.frames.length === i);
      guest.end();
      await receiver.until(() => receiver.gone.length === i);
      expect(receiver.gone).toEqual(receiver.links);
    }
    expect(pool.inUse).toBe(0);
  });

  it(proves("bad.any.lengths", "ends only the cable that announces a frame beyond the limit"), async () => {
    const { receiver, env, drops } = rig();
    const server = await serve(env, kind);
    const good = dial(server.address);
    good.write(wire(frame(60)));
    await receiver.until(() => receiver.frames.length === 1);
    const bad = dial(server.address);
    const ended = once(bad, "close");
    bad.write(Buffer.from([0xff, 0xff, 0xff, 0xff]));
    await ended;
    await receiver.until(() => receiver.gone.length === 1);
    expect(receiver.gone).toEqual([receiver.links[1]]);
    expect(drops.counts["frame-too-long"]).toBe(1);
    good.write(wire(frame(61)));
    await receiver.until(() => receiver.frames.length === 2);
  });

  it("is not put out by a guest that is killed in the middle of a frame: the next one's frames are whole", async () => {
    const { receiver, env, pool } = rig();
    const server = await serve(env, kind);
    for (const cut of [1, 3, 4, 30, 63]) {
      const killed = dial(server.address);
      killed.write(wire(frame(60)).subarray(0, cut));
      const gone = receiver.gone.length;
      await receiver.until(() => receiver.links.length === gone + 1);
      killed.destroy();
      await receiver.until(() => receiver.gone.length === gone + 1);
      expect(receiver.frames).toEqual([]);
    }
    expect(pool.inUse).toBe(0);
    dial(server.address).write(wire(frame(61)));
    await receiver.until(() => receiver.frames.length === 1);
    expectFrames(receiver.frames, [frame(61)]);
  });

  it("delivers what was flushed before the cable is closed", async () => {
    const { receiver, env } = rig();
    const server = await serve(env, kind);
    const guest = dial(server.address);
    await receiver.until(() => receiver.links.length === 1);
    const back = readFrames(guest, 3);
    const closed = once(guest, "close");
    for (let i = 0; i < 3; i++) transmit(receiver.links[0]!, frame(60_000, i));
    receiver.links[0]!.close();
    expectFrames(await back, [frame(60_000, 0), frame(60_000, 1), frame(60_000, 2)]);
    await closed;
    await receiver.until(() => receiver.gone.length === 1);
  });

  it(
    proves("bad.any.bounded", "bounds what a guest that does not read makes us hold, and hears it all the same"),
    async () => {
      const { receiver, env } = rig();
      const server = await serve(env, kind);
      const guest = dial(server.address);
      guest.pause();
      await receiver.until(() => receiver.links.length === 1);
      const link = receiver.links[0]!;
      let sent = 0;
      // The kernel's buffers fill first, a turn of the event loop at a time, until it takes no more.
      for (let quiet = 0; quiet < 20; quiet++) {
        while (transmit(link, frame(1514, sent))) {
          sent++;
          quiet = 0;
        }
        await new Promise(setImmediate);
      }
      expect(transmit(link, frame(1514))).toBe(false);
      // Reading goes on meanwhile.
      guest.write(wire(frame(60)));
      await receiver.until(() => receiver.frames.length === 1);
      const before = receiver.writables;
      const all = readFrames(guest, sent);
      guest.resume();
      const frames = await all;
      expectFrames(
        frames,
        frames.map((_, i) => frame(1514, i)),
      );
      await receiver.until(() => receiver.writables > before);
      expect(sent * 1518).toBeGreaterThan(TX_SLAB);
    },
  );

  it("ends its cables and takes no guest any more once closed", async () => {
    const { receiver, env, pool } = rig();
    const server = await serve(env, kind);
    const guests = [dial(server.address), dial(server.address)];
    await receiver.until(() => receiver.links.length === 2);
    const ends = guests.map((guest) => once(guest, "close"));
    for (const guest of guests) guest.resume();
    await server.close();
    await Promise.all(ends);
    expect(receiver.gone).toHaveLength(2);
    expect(pool.inUse).toBe(0);
    const late = dial(server.address);
    const [error] = (await once(late, "error")) as [NodeJS.ErrnoException];
    expect(error.code).toMatch(/ECONNREFUSED|ENOENT/);
  });

  it("does not wait for ever, when closing, for a guest that takes nothing", async () => {
    const { receiver, env } = rig();
    const server = await serve(env, kind);
    const guest = dial(server.address);
    guest.pause();
    await receiver.until(() => receiver.links.length === 1);
    for (let i = 0; i < 20; i++) {
      while (transmit(receiver.links[0]!, frame(60_000)));
      await new Promise(setImmediate);
    }
    await server.close();
    expect(receiver.gone).toHaveLength(1);
  });
});

describe("a UNIX server's socket", () => {
  it("needs no other folder than its own: that may stand in one where we may not write", async () => {
    const { env } = rig();
    const file = path.join(dir, "own", "s.sock");
    fs.mkdirSync(path.dirname(file));
    const made: string[] = [];
    const watchers = [dir, path.dirname(file)].map((folder) =>
      fs.watch(folder, (_, name) => made.push(`${path.basename(folder)}/${name}`)),
    );
    keep(await listenStream({ kind: "unix", path: file }, env));
    await expect.poll(() => made, { timeout: 20_000 }).toContain("own/s.sock");
    for (const watcher of watchers) watcher.close();
    expect(made.filter((name) => !name.startsWith("own/"))).toEqual([]);
  });

  it("is 0600, alone in its folder, and gone after close", async () => {
    const { env } = rig();
    const server = await serve(env);
    const { mode } = fs.lstatSync(path.join(dir, "s.sock"));
    expect(mode & 0o777).toBe(0o600);
    expect(fs.readdirSync(dir)).toEqual(["s.sock"]);
    await server.close();
    expect(fs.readdirSync(dir)).toEqual([]);
  });

  it("can be connected to as soon as it is seen, and was never open to others", async () => {
    const { env, receiver } = rig();
    const file = path.join(dir, "s.sock");
    const modes: number[] = [];
    let connected: Promise<unknown> | null = null;
    let done = false;
    const watching = (async () => {
      while (!done || connected === null) {
        const stat = fs.lstatSync(file, { throwIfNoEntry: false });
        if (stat !== undefined) {
          modes.push(stat.mode & 0o777);
          connected ??= once(dial({ kind: "unix", path: file }), "connect");
        }
        await new Promise(setImmediate);
      }
    })();
    await serve(env);
    done = true;
    await watching;
    await connected;
    await receiver.until(() => receiver.links.length === 1);
    expect(new Set(modes)).toEqual(new Set([0o600]));
  });

  it("replaces a stale one", async () => {
    const file = path.join(dir, "s.sock");
    // A process that is killed leaves its socket behind.
    const child = spawn(process.execPath, [
      "-e",
      `require("net").createServer().listen(${JSON.stringify(file)}, () => process.stdout.write("x"))`,
    ]);
    await once(child.stdout, "data");
    child.kill("SIGKILL");
    await once(child, "close");
    expect(fs.lstatSync(file).isSocket()).toBe(true);
    const { env, receiver } = rig();
    const server = await serve(env);
    dial(server.address);
    await receiver.until(() => receiver.links.length === 1);
  });

  it("leaves a live one alone", async () => {
    const first = rig();
    const server = await serve(first.env);
    const second = rig();
    const error: NodeJS.ErrnoException = await listenStream(server.address, second.env).then(
      () => expect.unreachable(),
      (e) => e,
    );
    expect(error.code).toBe("EADDRINUSE");
    expect(error.message).toMatch(/^cannot listen on unix:[^\n]*another process serves it$/);
    dial(server.address);
    await first.receiver.until(() => first.receiver.links.length >= 1);
  });

  it("does not take the place of a file that is no socket", async () => {
    const { env } = rig();
    const file = path.join(dir, "s.sock");
    fs.writeFileSync(file, "precious");
    await expect(listenStream({ kind: "unix", path: file }, env)).rejects.toThrow(/not a socket/);
    expect(fs.readFileSync(file, "utf8")).toBe("precious");
  });

  it("is not removed by one whose place another has taken", async () => {
    const { env } = rig();
    const file = path.join(dir, "s.sock");
    const server = await serve(env);
    fs.renameSync(file, `${file}.moved`);
    await serve(env);
    await server.close();
    expect(fs.lstatSync(file).isSocket()).toBe(true);
  });

  it("says in one line what is wrong with a path that cannot be", async () => {
    const { env } = rig();
    await expect(listenStream({ kind: "unix", path: path.join(dir, "none", "s") }, env)).rejects.toThrow(
      /^cannot listen on unix:[^\n]*: its folder is not there$/,
    );
    const long = path.join(dir, "x".repeat(100 - dir.length), "s");
    fs.mkdirSync(path.dirname(long));
    await expect(listenStream({ kind: "unix", path: long }, env)).rejects.toThrow(/too long/);
    expect(fs.readdirSync(path.dirname(long))).toEqual([]);
  });
});

it("takes as many guests at a socket as it may, counts one more, and takes it when another has gone", async () => {
  const { receiver, env, drops } = rig();
  const server = await serve({ ...env, limits: { ...DEFAULT_LIMITS, cables: 2 } });
  const guests = [dial(server.address), dial(server.address)];
  await receiver.until(() => receiver.links.length === 2);
  await once(dial(server.address).resume(), "close");
  expect(drops.counts["cables-full"]).toBe(1);
  guests[0]!.destroy();
  await receiver.until(() => receiver.gone.length === 1);
  const late = dial(server.address);
  late.write(wire(frame(60)));
  await receiver.until(() => receiver.frames.length === 1);
  expect(drops.counts["cables-full"]).toBe(1);
});

it("takes 64 guests at a socket, closes the cable of one more, and takes it when another has gone", async () => {
  const { receiver, env, drops } = rig();
  const server = await serve(env);
  const guests = Array.from({ length: 64 }, () => dial(server.address));
  await receiver.until(() => receiver.links.length === 64);
  await once(dial(server.address).resume(), "close");
  expect(drops.counts["cables-full"]).toBe(1);
  guests[0]!.destroy();
  await receiver.until(() => receiver.gone.length === 1);
  const late = dial(server.address);
  late.write(wire(frame(60)));
  await receiver.until(() => receiver.frames.length === 1);
});

it("a TCP port that is taken is an error of one line", async () => {
  const { env } = rig();
  const server = await serve(env, "tcp");
  await expect(listenStream(server.address, env)).rejects.toThrow(
    /^cannot listen on tcp:[^\n]*: another program has this port$/,
  );
});

describe("a client", () => {
  it("waits for a server, carries frames, and dials again when it is gone", async () => {
    const { receiver, env, pool } = rig();
    const file = path.join(dir, "qemu.sock");
    const client = keep(connectStream({ kind: "unix", path: file }, env));
    for (let i = 1; i <= 2; i++) {
      const server = net.createServer();
      const connection = once(server, "connection") as Promise<[net.Socket]>;
      server.listen(file);
      const [qemu] = await connection;
      qemu.write(wire(frame(60, i), frame(1514, i)));
      await receiver.until(() => receiver.frames.length === 2 * i && receiver.links.length === i);
      const back = readFrames(qemu, 1);
      transmit(receiver.links[i - 1]!, frame(700, i));
      expectFrames(await back, [frame(700, i)]);
      const closed = once(server, "close");
      server.close();
      qemu.destroy();
      await closed;
      await receiver.until(() => receiver.gone.length === i);
    }
    expectFrames(receiver.frames, [frame(60, 1), frame(1514, 1), frame(60, 2), frame(1514, 2)]);
    await client.close();
    expect(pool.inUse).toBe(0);
  });

  it("stops dialling once closed", async () => {
    const { receiver, env } = rig();
    const file = path.join(dir, "qemu.sock");
    const client = connectStream({ kind: "unix", path: file }, env);
    await client.close();
    let dialled = 0;
    const server = net.createServer(() => dialled++).listen(file);
    await once(server, "listening");
    keep({ close: () => server.close() });
    await new Promise((resolve) => setTimeout(resolve, 250));
    expect(dialled).toBe(0);
    expect(receiver.links).toHaveLength(0);
  });
});

describe("an inherited descriptor", () => {
  it("carries frames both ways and is over when the far end is gone", async () => {
    // A child's extra 'pipe' is a UNIX socket pair: its end is inherited as descriptor 3.
    const child = spawn(process.execPath, ["--import", "tsx", path.join(import.meta.dirname, "fd-child.ts")], {
      stdio: ["ignore", "inherit", "inherit", "pipe"],
    });
    const wireEnd = child.stdio[3] as net.Socket;
    const frames = [frame(60), frame(1514, 1), frame(60_000, 2)];
    const back = readFrames(wireEnd, frames.length);
    wireEnd.write(wire(...frames));
    expectFrames(await back, frames);
    const exit = once(child, "exit");
    wireEnd.end();
    expect(await exit).toEqual([0, null]);
  });

  it("is refused in one line when it is none", () => {
    const { env, pool } = rig();
    const fd = fs.openSync(path.join(dir, "file"), "w");
    try {
      for (const bad of [fd, 9999]) {
        expect(() => inheritStream(bad, env)).toThrow(/^cannot use descriptor \d+ as a guest's cable: [^\n]+$/);
      }
    } finally {
      fs.closeSync(fd);
    }
    expect(pool.inUse).toBe(0);
  });
});

describe("a Duplex of the embedder's", () => {
  it("carries frames both ways and is ended with the cable", async () => {
    const { receiver, env, pool } = rig();
    const [ours, guest] = pair();
    const link = attachDuplex(ours, "duplex", env);
    guest.write(wire(frame(60), frame(MAX_FRAME, 1)));
    await receiver.until(() => receiver.frames.length === 2);
    expectFrames(receiver.frames, [frame(60), frame(MAX_FRAME, 1)]);
    const back = readFrames(guest, 1);
    transmit(link, frame(1000));
    expectFrames(await back, [frame(1000)]);
    link.close();
    await receiver.until(() => receiver.gone.length === 1);
    expect(ours.destroyed).toBe(true);
    expect(pool.inUse).toBe(0);
  });

  it("may keep what it is given while more is sent", async () => {
    const { env } = rig();
    const [ours, guest] = pair();
    const link = attachDuplex(ours, "duplex", env);
    const frames = Array.from({ length: 20 }, (_, i) => frame(9000, i));
    for (const f of frames) {
      transmit(link, f);
      await new Promise(setImmediate);
    }
    expectFrames(await readFrames(guest, frames.length), frames);
    link.close();
  });

  it("is detached at once when it was over before", () => {
    const { receiver, env } = rig();
    const dead = new Duplex({ read() {}, write() {} });
    dead.destroy();
    attachDuplex(dead, "dead", env);
    expect(receiver.gone).toEqual(receiver.links);
  });
});

/** Two ends of a stream in the process. */
function pair(): [Duplex, Duplex] {
  return duplexPair() as [Duplex, Duplex];
}
