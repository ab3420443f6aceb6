import dgram from "node:dgram";
import { once } from "node:events";
import type { AddressInfo } from "node:net";
import { afterEach, describe, expect, it } from "vitest";
import { connectTo, listenAt } from "../../src/attach/attach.ts";
import type { Attachment, CableEnv } from "../../src/attach/attachment.ts";
import { SlabPool } from "../../src/attach/slab.ts";
import { DEFAULT_LIMITS } from "../../src/core/limits.ts";
import { NO_TAP } from "../../src/core/tap.ts";
import { Drops, expectFrames, frame, Recorder, transmit } from "./recorder.ts";

let open: { close(): unknown }[] = [];

afterEach(async () => {
  for (const it of open) await it.close();
  open = [];
});

function rig() {
  const receiver = new Recorder();
  const drops = new Drops();
  const pool = new SlabPool();
  const time = { now: 0 };
  const env: CableEnv = {
    receiver,
    pool,
    trace: drops,
    clock: { now: () => time.now },
    tap: NO_TAP,
    limits: DEFAULT_LIMITS,
    sent: { frames: 0, bytes: 0 },
  };
  return { receiver, drops, pool, env, time };
}

async function serve(env: CableEnv): Promise<Attachment & { address: { port: number } }> {
  const server = await listenAt({ kind: "udp", host: "127.0.0.1", port: 0 }, env);
  open.push(server);
  return server as Attachment & { address: { port: number } };
}

async function guestAt(): Promise<{ socket: dgram.Socket; got: Uint8Array[]; port: number }> {
  const socket = dgram.createSocket("udp4");
  open.push({ close: () => socket.close() });
  const got: Uint8Array[] = [];
  socket.on("message", (bytes) => got.push(new Uint8Array(bytes)));
  socket.bind(0, "127.0.0.1");
  await once(socket, "listening");
  return { socket, got, port: (socket.address() as AddressInfo).port };
}

describe("a UDP cable", () => {
  it("carries frames both ways, one a datagram, with the guest that spoke first", async () => {
    const { receiver, env } = rig();
    const server = await serve(env);
    expect(receiver.links).toHaveLength(0);
    const { socket, got } = await guestAt();
    const frames = [frame(60), frame(1514, 1), frame(60_000, 2)];
    for (const f of frames) socket.send(f, server.address.port, "127.0.0.1");
    await receiver.until(() => receiver.frames.length === 3);
    expectFrames(receiver.frames, frames);
    expect(receiver.links).toHaveLength(1);
    for (const f of frames) transmit(receiver.links[0]!, f);
    while (got.length < 3) await once(socket, "message");
    expectFrames(got, frames);
  });

  it("sends a batch at the flush, not before", async () => {
    const { receiver, env } = rig();
    const server = await serve(env);
    const { socket, got } = await guestAt();
    socket.send(frame(14), server.address.port, "127.0.0.1");
    await receiver.until(() => receiver.batches === 1);
    const link = receiver.links[0]!;
    const frames = Array.from({ length: 20 }, (_, i) => frame(1000 + i, i));
    for (const f of frames) {
      link.tx.set(f, link.reserve(f.length));
      link.commit(f.length);
    }
    for (let i = 0; i < 5; i++) await new Promise(setImmediate);
    expect(got).toHaveLength(0);
    link.flush();
    while (got.length < 20) await once(socket, "message");
    expectFrames(got, frames);
  });

  it("is full at a bound, and writable when the kernel has taken some", async () => {
    const { receiver, env } = rig();
    const server = await serve(env);
    const { socket } = await guestAt();
    socket.send(frame(14), server.address.port, "127.0.0.1");
    await receiver.until(() => receiver.batches === 1);
    const link = receiver.links[0]!;
    let sent = 0;
    while (transmit(link, frame(1000)) && sent < 10_000) sent++;
    expect(sent * 1000).toBeLessThan(600_000);
    await receiver.until(() => receiver.writables === 1);
    expect(transmit(link, frame(1000))).toBe(true);
  });

  it("hears nobody else, until the guest has been silent for long", async () => {
    const { receiver, env, time, drops } = rig();
    const server = await serve(env);
    const first = await guestAt();
    const second = await guestAt();
    first.socket.send(frame(14), server.address.port, "127.0.0.1");
    await receiver.until(() => receiver.frames.length === 1);
    second.socket.send(frame(15), server.address.port, "127.0.0.1");
    first.socket.send(frame(16), server.address.port, "127.0.0.1");
    await receiver.until(() => receiver.frames.length === 2);
    expectFrames(receiver.frames, [frame(14), frame(16)]);
    expect(drops.counts["mac-spoofed"]).toBe(1);
    time.now += 30_001;
    second.socket.send(frame(17), server.address.port, "127.0.0.1");
    await receiver.until(() => receiver.frames.length === 3);
    transmit(receiver.links[0]!, frame(18));
    if (second.got.length === 0) await once(second.socket, "message");
    expect(receiver.links).toHaveLength(1);
    expect(first.got).toHaveLength(0);
  });

  it("speaks first with a guest whose address is configured, and hears only that one", async () => {
    const { receiver, env } = rig();
    const guest = await guestAt();
    const stranger = await guestAt();
    const client = await connectTo({ kind: "udp", host: "127.0.0.1", port: guest.port }, env);
    open.push(client);
    expect(receiver.links).toHaveLength(1);
    transmit(receiver.links[0]!, frame(60));
    const [, from] = (await once(guest.socket, "message")) as [Buffer, dgram.RemoteInfo];
    expectFrames(guest.got, [frame(60)]);
    stranger.socket.send(frame(61), from.port, "127.0.0.1");
    guest.socket.send(frame(62), from.port, "127.0.0.1");
    await receiver.until(() => receiver.frames.length === 1);
    expectFrames(receiver.frames, [frame(62)]);
  });

  it("leaves pinned bytes alone", async () => {
    const { receiver, env } = rig();
    const server = await serve(env);
    const { socket } = await guestAt();
    const held: { now: Uint8Array; was: Uint8Array }[] = [];
    receiver.onReceive = (_, slab, at, len) => {
      slab.pin();
      held.push({ now: slab.bytes.subarray(at, at + len), was: slab.bytes.slice(at, at + len) });
    };
    for (let i = 1; i <= 20; i++) {
      socket.send(frame(1000, i), server.address.port, "127.0.0.1");
      await receiver.until(() => receiver.frames.length === i && receiver.batches > 0);
    }
    expectFrames(
      held.map((h) => h.now),
      held.map((h) => h.was),
    );
  });

  it("is detached and quiet once closed", async () => {
    const { receiver, env, pool } = rig();
    const server = await serve(env);
    const { socket } = await guestAt();
    socket.send(frame(14), server.address.port, "127.0.0.1");
    await receiver.until(() => receiver.batches === 1);
    const link = receiver.links[0]!;
    await server.close();
    expect(receiver.gone).toEqual([link]);
    expect(transmit(link, frame(14))).toBe(false);
    expect(pool.inUse).toBe(0);
  });

  it("says in one line that its port is taken", async () => {
    const { env } = rig();
    const server = await serve(env);
    await expect(listenAt({ kind: "udp", host: "127.0.0.1", port: server.address.port }, env)).rejects.toThrow(
      /^cannot listen on udp:127\.0\.0\.1:\d+: another program has this port$/,
    );
  });
});
