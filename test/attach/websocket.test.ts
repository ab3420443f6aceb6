import { once } from "node:events";
import net from "node:net";
import { afterEach, describe, expect, it, vi } from "vitest";
import { WebSocket, WebSocketServer } from "ws";
import type { WsAddress } from "../../src/attach/address.ts";
import { listenAt } from "../../src/attach/attach.ts";
import type { Attachment, CableEnv } from "../../src/attach/attachment.ts";
import { SlabPool } from "../../src/attach/slab.ts";
import { TX_SLAB } from "../../src/attach/transmit.ts";
import { attachWebSocket, type FrameSocket } from "../../src/attach/websocket.ts";
import { NO_BROWSERS, type WsAccess } from "../../src/attach/ws-access.ts";
import { DEFAULT_LIMITS, type Limits } from "../../src/core/limits.ts";
import { MAX_FRAME } from "../../src/core/link.ts";
import { NO_TAP } from "../../src/core/tap.ts";
import { Drops, expectFrames, frame, padded, Recorder, transmit } from "./recorder.ts";

let open: { close(): unknown }[] = [];
afterEach(async () => {
  vi.useRealTimers();
  for (const each of open) await each.close();
  open = [];
});

function keep<T extends { close(): unknown }>(it: T): T {
  open.push(it);
  return it;
}

interface Rig {
  readonly receiver: Recorder;
  readonly drops: Drops;
  readonly pool: SlabPool;
  readonly env: CableEnv;
  readonly port: number;
}

function rig(limits: Partial<Limits> = {}): Omit<Rig, "port"> {
  const receiver = new Recorder();
  const drops = new Drops();
  const pool = new SlabPool();
  const env: CableEnv = {
    receiver,
    pool,
    trace: drops,
    clock: { now: () => performance.now() },
    tap: NO_TAP,
    limits: { ...DEFAULT_LIMITS, ...limits },
    sent: { frames: 0, bytes: 0 },
  };
  return { receiver, drops, pool, env };
}

async function serve(access: WsAccess = NO_BROWSERS, limits: Partial<Limits> = {}, path = "/"): Promise<Rig> {
  const parts = rig(limits);
  const attachment: Attachment = keep(
    await listenAt({ kind: "ws", host: "127.0.0.1", port: 0, path }, parts.env, access),
  );
  return { ...parts, port: (attachment.address as WsAddress).port };
}

interface Guest {
  readonly ws: WebSocket;
  readonly frames: Uint8Array[];
  /** Resolves with the close code. */
  readonly closed: Promise<number>;
  until(count: number): Promise<void>;
}

async function dial(port: number, options: { path?: string; headers?: Record<string, string> } = {}): Promise<Guest> {
  const ws = new WebSocket(`ws://127.0.0.1:${port}${options.path ?? "/"}`, { headers: options.headers ?? {} });
  keep({ close: () => ws.terminate() });
  const frames: Uint8Array[] = [];
  let wake = (): void => {};
  ws.on("message", (data: Buffer) => {
    frames.push(new Uint8Array(data));
    wake();
  });
  const closed = new Promise<number>((resolve) => ws.on("close", resolve));
  await once(ws, "open");
  ws.on("error", () => {});
  const until = async (count: number): Promise<void> => {
    while (frames.length < count)
      await new Promise<void>((resolve) => {
        wake = resolve;
      });
  };
  return { ws, frames, closed, until };
}

/** The status of the answer in place of a WebSocket; 101 when it is one. */
async function status(port: number, headers: Record<string, string>, path = "/"): Promise<number> {
  const ws = new WebSocket(`ws://127.0.0.1:${port}${path}`, { headers });
  return new Promise((resolve) => {
    // Nobody answers.
    ws.on("error", () => resolve(0));
    ws.on("open", () => {
      resolve(101);
      ws.terminate();
    });
    ws.on("unexpected-response", (_request, response) => {
      resolve(response.statusCode!);
      response.destroy();
    });
  });
}

/** A connection that has become a WebSocket and says what bytes it likes. */
async function raw(port: number): Promise<net.Socket> {
  const socket = keep(Object.assign(net.connect(port, "127.0.0.1"), { close() {} }));
  socket.on("error", () => {});
  keep({ close: () => socket.destroy() });
  socket.write(
    "GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
  );
  await once(socket, "data");
  return socket;
}

/** A masked frame of the protocol (RFC 6455 section 5.2), under a mask of zeros. */
function message(first: number, payload: Uint8Array, announced = payload.length): Buffer {
  const head =
    announced < 126
      ? [first, 0x80 | announced]
      : announced < 65_536
        ? [first, 0x80 | 126, announced >> 8, announced & 255]
        : [first, 0x80 | 127, 0, 0, 0, 0, ...new Uint8Array(new Uint32Array([announced]).buffer).reverse()];
  return Buffer.concat([Buffer.from([...head, 0, 0, 0, 0]), payload]);
}
const FIN = 0x80;
const TEXT = 1;
const BINARY = 2;
const PING = 9;

describe("a cable over WebSocket", () => {
  it("carries one frame a message, both ways, of all lengths", async () => {
    const { receiver, port, env } = await serve();
    const guest = await dial(port);
    await receiver.until(() => receiver.links.length === 1);
    const frames = [1, 13, 14, 60, 125, 126, 1514, 9000, 65_535, 65_536, MAX_FRAME].map((len, i) => frame(len, i));
    for (const each of frames) guest.ws.send(each);
    await receiver.until(() => receiver.frames.length === frames.length);
    expectFrames(receiver.frames, frames);
    for (const each of frames) expect(transmit(receiver.links[0]!, each)).toBe(true);
    await guest.until(frames.length);
    expectFrames(guest.frames, frames.map(padded));
    expect(env.sent).toEqual({ frames: frames.length, bytes: frames.reduce((sum, { length }) => sum + length, 0) });
    expect(receiver.links[0]!.name).toBe(`ws://127.0.0.1:${port}/#1`);
  });

  it("hands what one read brings over as one batch, and holds no read slab between two", async () => {
    const { receiver, port, pool } = await serve();
    const socket = await raw(port);
    await receiver.until(() => receiver.links.length === 1);
    const frames = Array.from({ length: 20 }, (_, i) => frame(100, i));
    socket.write(Buffer.concat(frames.map((each) => message(FIN | BINARY, each))));
    await receiver.until(() => receiver.frames.length === 20);
    expectFrames(receiver.frames, frames);
    expect(receiver.batches).toBe(1);
    expect(pool.inUse).toBe(0);
  });

  it("sends a batch as one write", async () => {
    const { receiver, port } = await serve();
    const guest = net.connect(port, "127.0.0.1");
    keep({ close: () => guest.destroy() });
    guest.write(
      "GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
    );
    await receiver.until(() => receiver.links.length === 1);
    await once(guest, "data");
    const [link] = receiver.links;
    for (let i = 0; i < 10; i++) {
      const at = link!.reserve(50);
      link!.tx.set(frame(50, i), at);
      link!.commit(50);
    }
    link!.flush();
    const [chunk] = (await once(guest, "data")) as [Buffer];
    expect(chunk.length).toBe(10 * 62);
  });

  it("bounds what a guest that does not read makes us hold, and goes on when it reads", async () => {
    const { receiver, port } = await serve();
    const guest = await dial(port);
    await receiver.until(() => receiver.links.length === 1);
    const [link] = receiver.links;
    guest.ws.pause();
    let sent = 0;
    let refused = 0;
    while (refused < 50) {
      if (transmit(link!, frame(60_000, sent))) sent++;
      else {
        refused++;
        await new Promise((resolve) => setImmediate(resolve));
      }
    }
    // The kernel's buffers at both ends of the loopback, and two slabs of ours.
    expect(sent * 60_000).toBeLessThan(16_000_000 + 2 * TX_SLAB);
    const writable = receiver.writables;
    guest.ws.resume();
    await receiver.until(() => receiver.writables > writable);
    await guest.until(sent);
    expectFrames(
      guest.frames,
      Array.from({ length: sent }, (_, i) => frame(60_000, i)),
    );
  });

  it("ends with its guest, and the next one has another name", async () => {
    const { receiver, port, pool } = await serve();
    const first = await dial(port);
    await receiver.until(() => receiver.links.length === 1);
    first.ws.close();
    await receiver.until(() => receiver.gone.length === 1);
    await dial(port);
    await receiver.until(() => receiver.links.length === 2);
    expect(receiver.links[1]!.name).toMatch(/#2$/);
    expect(pool.inUse).toBe(0);
  });

  it("delivers what was flushed before it is closed, and says why", async () => {
    const { receiver, port } = await serve();
    const guest = await dial(port);
    await receiver.until(() => receiver.links.length === 1);
    transmit(receiver.links[0]!, frame(1000));
    receiver.links[0]!.close();
    expect(await guest.closed).toBe(1001);
    expectFrames(guest.frames, [frame(1000)]);
    await receiver.until(() => receiver.gone.length === 1);
  });

  it("asks a silent guest every thirty seconds whether it is there, and ends it when it does not answer", async () => {
    vi.useFakeTimers({ toFake: ["setInterval", "clearInterval"] });
    const { receiver, port } = await serve();
    const guest = await dial(port);
    const deaf = await raw(port);
    await receiver.until(() => receiver.links.length === 2);
    const asked = once(guest.ws, "ping");
    const answered = new Promise((resolve) => deaf.once("data", resolve));
    vi.advanceTimersByTime(30_000);
    await Promise.all([asked, answered]);
    // The pong of the one that answers has to arrive first: so does a frame behind it.
    guest.ws.send(frame(60));
    await receiver.until(() => receiver.frames.length === 1);
    vi.advanceTimersByTime(30_000);
    await receiver.until(() => receiver.gone.length === 1);
    expect(receiver.gone[0]!.name).toMatch(/#2$/);
    expect(guest.ws.readyState).toBe(WebSocket.OPEN);
  });
});

describe("what is no guest ends alone:", () => {
  const hostile: Readonly<Record<string, (socket: net.Socket) => void>> = {
    "a text message": (socket) => socket.write(message(FIN | TEXT, Buffer.from("hello"))),
    "a message longer than any frame": (socket) => socket.write(message(FIN | BINARY, frame(10), MAX_FRAME + 1)),
    "one of two gigabytes": (socket) => socket.write(message(FIN | BINARY, frame(10), 0x7fff_ffff)),
    fragments: (socket) => socket.write(Buffer.concat([message(BINARY, frame(10)), message(FIN, frame(10))])),
    "fragments without an end": (socket) =>
      socket.write(Buffer.concat([message(BINARY, frame(10)), ...Array(2000).fill(message(0, frame(1)))])),
    "an unmasked message": (socket) => socket.write(Buffer.from([FIN | BINARY, 2, 1, 2])),
    "compression that nobody agreed to": (socket) => socket.write(message(FIN | 0x40 | BINARY, frame(10))),
    "an unknown opcode": (socket) => socket.write(message(FIN | 5, frame(10))),
    "pings whose answers nobody reads": (socket) => {
      socket.pause();
      socket.write(Buffer.concat(Array(100_000).fill(message(FIN | PING, frame(125)))));
    },
    noise: (socket) => socket.write(frame(5000)),
  };
  for (const [what, say] of Object.entries(hostile)) {
    it(what, async () => {
      const { receiver, port } = await serve();
      const other = await dial(port);
      const socket = await raw(port);
      await receiver.until(() => receiver.links.length === 2);
      const closed = new Promise((resolve) => socket.on("close", resolve));
      say(socket);
      await receiver.until(() => receiver.gone.length === 1);
      expect(receiver.gone[0]).toBe(receiver.links[1]);
      expect(receiver.frames).toEqual([]);
      await closed;
      other.ws.send(frame(60));
      await receiver.until(() => receiver.frames.length === 1);
      transmit(receiver.links[0]!, frame(61));
      await other.until(1);
    });
  }

  it("an empty message is dropped and counted, and the cable goes on", async () => {
    const { receiver, port, drops } = await serve();
    const guest = await dial(port);
    guest.ws.send(new Uint8Array(0));
    guest.ws.send(frame(60));
    await receiver.until(() => receiver.frames.length === 1);
    expect(drops.counts["eth-short"]).toBe(1);
  });
});

describe("who may come by WebSocket:", () => {
  const EVIL = { origin: "https://evil.example" };

  it("without a word, only those that are no browser", async () => {
    const { port, drops } = await serve();
    expect(await status(port, {})).toBe(101);
    expect(await status(port, EVIL)).toBe(403);
    expect(await status(port, { origin: "null" })).toBe(403);
    expect(drops.counts["ws-refused"]).toBe(2);
  });

  it("no page that has its own name point here (DNS rebinding), and none that is served from here", async () => {
    const { port } = await serve();
    expect(await status(port, { origin: `http://rebound.example:${port}`, host: `rebound.example:${port}` })).toBe(403);
    expect(await status(port, { origin: `http://127.0.0.1:${port}` })).toBe(403);
    expect(await status(port, { origin: `http://localhost:${port}` })).toBe(403);
  });

  it("a page that is listed, as a whole: neither another port, scheme nor a longer name", async () => {
    const { port } = await serve({ origins: ["https://good.example"], token: null });
    expect(await status(port, { origin: "https://good.example" })).toBe(101);
    expect(await status(port, { origin: "https://GOOD.example" })).toBe(101);
    for (const origin of [
      ...["http://good.example", "https://good.example:8443", "https://good.example.evil.example"],
      ...["https://evil.example/https://good.example", "https://sub.good.example", "", "*"],
    ])
      expect(await status(port, { origin }), origin).toBe(403);
  });

  it("every page for *", async () => {
    const { port } = await serve({ origins: ["*"], token: null });
    expect(await status(port, EVIL)).toBe(101);
    expect(await status(port, { origin: "null" })).toBe(101);
  });

  it("who shows the token, when there is one; saying that one is a listed page does not do instead", async () => {
    const { port } = await serve({ origins: ["https://good.example"], token: "s3cret" });
    expect(await status(port, {})).toBe(401);
    expect(await status(port, {}, "/?token=wrong")).toBe(401);
    expect(await status(port, {}, "/?token=s3cret")).toBe(101);
    expect(await status(port, { authorization: "Bearer s3cret" })).toBe(101);
    expect(await status(port, { origin: "https://good.example" })).toBe(401);
    expect(await status(port, { origin: "https://good.example" }, "/?token=s3cret")).toBe(101);
    expect(await status(port, EVIL, "/?token=s3cret")).toBe(403);
  });

  it("at its path only", async () => {
    const { port } = await serve(NO_BROWSERS, {}, "/relay");
    expect(await status(port, {}, "/relay")).toBe(101);
    expect(await status(port, {}, "/relay?x=1")).toBe(101);
    expect(await status(port, {})).toBe(404);
  });

  it("so many at a time; the others are told to come again", async () => {
    const { receiver, port, drops } = await serve(NO_BROWSERS, { cables: 2 });
    const [first] = [await dial(port), await dial(port)];
    await receiver.until(() => receiver.links.length === 2);
    expect(await (await dial(port)).closed).toBe(1013);
    expect(drops.counts["cables-full"]).toBe(1);
    first.ws.close();
    await receiver.until(() => receiver.gone.length === 1);
    await dial(port);
    await receiver.until(() => receiver.links.length === 3);
  });

  it("more connections than guests and others may be are closed, and those who say nothing are let go", async () => {
    const { port, drops } = await serve(NO_BROWSERS, { cables: 1 });
    const sockets = Array.from({ length: 80 }, () => {
      const socket = net.connect(port, "127.0.0.1");
      keep({ close: () => socket.destroy() });
      return socket.on("error", () => {});
    });
    await vi.waitFor(() => expect(drops.counts["cables-full"]).toBe(15), 5_000);
    for (const socket of sockets.slice(0, 65)) socket.destroy();
    await vi.waitFor(() => expect(status(port, {})).resolves.toBe(101), 5_000);
  });

  it("two hundred at once", async () => {
    const { receiver, port } = await serve(NO_BROWSERS, { cables: 200 });
    const guests = await Promise.all(Array.from({ length: 200 }, () => dial(port)));
    await receiver.until(() => receiver.links.length === 200);
    for (const [i, guest] of guests.entries()) guest.ws.send(frame(60, i));
    await receiver.until(() => receiver.frames.length === 200);
    for (const link of receiver.links) transmit(link, frame(70));
    await Promise.all(guests.map((guest) => guest.until(1)));
  });

  it("plain HTTP gets a page that says what this is", async () => {
    const { port } = await serve();
    const response = await fetch(`http://127.0.0.1:${port}/`);
    expect(response.status).toBe(200);
    expect(await response.text()).toContain("tslirp");
    expect((await fetch(`http://127.0.0.1:${port}/other`)).status).toBe(404);
  });
});

describe("attachWebSocket", () => {
  it("takes a socket of the `ws` package that a server of the user's has accepted", async () => {
    const { receiver, env } = rig();
    const server = keep(new WebSocketServer({ host: "127.0.0.1", port: 0 }));
    await once(server, "listening");
    server.on("connection", (ws) => attachWebSocket(ws as unknown as FrameSocket, "mine", env, () => {}));
    const guest = await dial((server.address() as net.AddressInfo).port);
    await receiver.until(() => receiver.links.length === 1);
    guest.ws.send(frame(100));
    await receiver.until(() => receiver.frames.length === 1);
    transmit(receiver.links[0]!, frame(200));
    await guest.until(1);
    expectFrames(guest.frames, [frame(200)]);
  });

  it("takes a standard WebSocket, which is still connecting, and waits while much is on its way", async () => {
    const { receiver, env } = rig();
    const server = keep(new WebSocketServer({ host: "127.0.0.1", port: 0 }));
    await once(server, "listening");
    const { port } = server.address() as net.AddressInfo;
    const accepted = once(server, "connection") as Promise<[WebSocket]>;
    let gone = false;
    // Node 22 and later have one of their own; `ws` has the same interface, so that one is taken for it without what is more.
    const Standard = (globalThis as { WebSocket?: new (url: string) => FrameSocket }).WebSocket;
    const socket: FrameSocket =
      Standard === undefined ? plain(`ws://127.0.0.1:${port}`) : new Standard(`ws://127.0.0.1:${port}`);
    attachWebSocket(socket, "standard", env, () => {
      gone = true;
    });
    const [far] = await accepted;
    const got: Uint8Array[] = [];
    far.on("message", (data: Buffer) => got.push(new Uint8Array(data)));
    await receiver.until(() => receiver.links.length === 1);
    far.send(frame(100));
    await receiver.until(() => receiver.frames.length === 1);
    expectFrames(receiver.frames, [frame(100)]);
    const frames = Array.from({ length: 200 }, (_, i) => frame(60_000, i));
    for (const each of frames) {
      while (!transmit(receiver.links[0]!, each)) {
        const { writables } = receiver;
        await receiver.until(() => receiver.writables > writables);
      }
      expect(socket.bufferedAmount).toBeLessThan(3 * TX_SLAB);
    }
    await vi.waitFor(() => expect(got).toHaveLength(200), 5_000);
    expectFrames(got, frames);
    far.terminate();
    await receiver.until(() => receiver.gone.length === 1);
    expect(gone).toBe(true);
  });

  it("a socket that was over before it came is over", async () => {
    const { receiver, env } = rig();
    const { port } = await serve();
    const { ws } = await dial(port);
    ws.terminate();
    await once(ws, "close");
    await new Promise<void>((resolve) => attachWebSocket(ws as unknown as FrameSocket, "late", env, resolve));
    expect(receiver.links).toEqual([]);
  });
});

/** What a standard WebSocket has, and no more. */
function plain(url: string): FrameSocket {
  const ws = new WebSocket(url);
  return {
    set binaryType(type: "arraybuffer") {
      ws.binaryType = type;
    },
    get readyState() {
      return ws.readyState;
    },
    get bufferedAmount() {
      return ws.bufferedAmount;
    },
    send: (data: Uint8Array) => ws.send(data.slice()),
    close: (code?: number) => ws.close(code),
    addEventListener: (type: string, listener: never) => ws.addEventListener(type as "message", listener),
  } as unknown as FrameSocket;
}
