/** A socket with a guest behaves as net.Socket: every test runs against that as well. */
import { once } from "node:events";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type AnySocket, dialledRig, type Far, nodeRig } from "./socket-contract.ts";

describe.each([nodeRig(), dialledRig()])("$name", (rig) => {
  let ends: Awaited<ReturnType<typeof rig.start>>;
  beforeAll(async () => {
    ends = await rig.start();
  });
  afterAll(() => rig.stop());

  async function connected(allowHalfOpen = false): Promise<{ near: AnySocket; far: Far; events: string[] }> {
    const { near, far } = ends.connect(allowHalfOpen);
    const events = record(near);
    await once(near, "ready");
    return { near, far: await far, events };
  }

  it("says that it is connecting, and 'connect' and 'ready' when it is connected", async () => {
    const { near } = ends.connect();
    expect([near.connecting, near.pending, near.readyState]).toEqual([true, true, "opening"]);
    const events = record(near);
    await once(near, "ready");
    expect(events).toEqual(["connect", "ready"]);
    expect([near.connecting, near.pending, near.readyState]).toEqual([false, false, "open"]);
    near.destroy();
  });

  it("knows both ends", async () => {
    const { near } = await connected();
    expect(near.remoteFamily).toBe("IPv4");
    expect(near.remotePort).toBeGreaterThan(0);
    expect(near.localPort).toBeGreaterThan(0);
    expect(near.address()).toEqual({ address: near.localAddress, family: "IPv4", port: near.localPort });
    near.destroy();
  });

  it("sends what is written before it is connected", async () => {
    const { near, far } = ends.connect(true);
    near.write("early ");
    near.end("bird");
    const other = await far;
    await other.until(({ ended }) => ended);
    expect(other.text).toBe("early bird");
    other.end();
    await once(near.resume(), "close");
    expect(near.bytesWritten).toBe(10);
  });

  it("reads and counts", async () => {
    const { near, far } = await connected();
    far.write("hello");
    expect(String((await once(near, "data"))[0])).toBe("hello");
    expect(near.bytesRead).toBe(5);
    near.destroy();
  });

  it("ends its own side when the far end has ended, unless allowHalfOpen", async () => {
    const { near, far, events } = await connected();
    near.resume();
    far.end();
    await once(near, "close");
    await far.until(({ ended }) => ended);
    expect(events).toEqual(["connect", "ready", "end", "finish", "close false"]);
  });

  it("goes on writing after the far end's with allowHalfOpen", async () => {
    const { near, far } = await connected(true);
    near.resume();
    far.end();
    await once(near, "end");
    near.write("still ");
    near.end("here");
    await far.until(({ ended }) => ended);
    expect(far.text).toBe("still here");
    if (!near.closed) await once(near, "close");
  });

  it("goes on reading after its own end", async () => {
    const { near, far } = await connected();
    near.end("question");
    await far.until(({ ended }) => ended);
    far.write("answer");
    far.end();
    expect(await text(near)).toBe("answer");
  });

  it("answers writing after the far end's with EPIPE", async () => {
    const { near, far } = await connected();
    near.resume();
    far.end();
    await once(near, "end");
    near.write("late");
    const [error] = await once(near, "error");
    expect(error).toMatchObject({ code: "EPIPE" });
  });

  it("is refused with ECONNREFUSED, with Node's words", async () => {
    const near = ends.refused();
    const events = record(near);
    const [error] = (await once(near, "error")) as [NodeJS.ErrnoException & { address: string; port: number }];
    const { remoteAddress: _, ...rest } = error as unknown as Record<string, unknown>;
    expect(rest).toEqual({
      errno: -111,
      code: "ECONNREFUSED",
      syscall: "connect",
      address: error.address,
      port: error.port,
    });
    expect(error.message).toBe(`connect ECONNREFUSED ${error.address}:${error.port}`);
    await once(near, "close");
    expect(events).toEqual(["error ECONNREFUSED", "close true"]);
  });

  it("is reset with ECONNRESET", async () => {
    const { near, far, events } = await connected();
    near.resume();
    far.reset();
    const [error] = await once(near, "error");
    expect(error).toMatchObject({ code: "ECONNRESET", syscall: "read", errno: -104, message: "read ECONNRESET" });
    await once(near, "close");
    expect(events).toEqual(["connect", "ready", "error ECONNRESET", "close true"]);
  });

  it("destroys with FIN, and with the error that it is given", async () => {
    const { near, far, events } = await connected();
    near.destroy(new Error("enough"));
    expect(near.destroyed).toBe(true);
    await once(near, "error");
    await once(near, "close");
    await far.until(({ ended }) => ended);
    expect(far.closed).toBe(null);
    expect(events).toEqual(["connect", "ready", "error undefined", "close true"]);
    far.end();
    await far.until(({ closed }) => closed !== null);
    expect(far.closed).toBe("ended");
  });

  it("is reset for who goes on sending after destroy", async () => {
    const { near, far } = await connected();
    near.destroy();
    await far.until(({ ended }) => ended);
    // A kernel's socket learns of a RST by the next call only.
    while (far.closed === null) {
      far.write("anybody?");
      await pause(5);
    }
    expect(far.closed).toBe("reset");
  });

  it("resets when told to", async () => {
    const { near, far } = await connected();
    near.resetAndDestroy();
    await far.until(({ closed }) => closed !== null);
    expect(far.closed).toBe("reset");
  });

  it("resets when it is destroyed with bytes unread (RFC 2525 section 2.17)", async () => {
    const { near, far } = await connected();
    near.pause();
    far.write("x".repeat(200_000));
    await once(near, "readable");
    near.destroy();
    await far.until(({ closed }) => closed !== null);
    expect(far.closed).toBe("reset");
  });

  it("tells of a silence once, and of none while bytes pass", async () => {
    const { near, far } = await connected();
    let calls = 0;
    near.setTimeout(400, () => calls++);
    expect(near.timeout).toBe(400);
    near.resume();
    for (let i = 0; i < 5; i++) {
      far.write("x");
      await once(near, "data");
      await pause(100);
    }
    expect(calls).toBe(0);
    await once(near, "timeout");
    expect([calls, near.destroyed]).toEqual([1, false]);
    near.setTimeout(0);
    expect(near.timeout).toBeFalsy();
    near.destroy();
  });

  it("has the settings of a socket, each giving the socket back", async () => {
    const { near } = await connected();
    expect(near.setNoDelay(true)).toBe(near);
    expect(near.setKeepAlive(true, 1000)).toBe(near);
    expect(near.ref().unref()).toBe(near);
    near.destroy();
  });

  it("holds the writer back while the far end does not read, and goes on when it does", async () => {
    const { near, far } = await connected();
    far.pause();
    const chunk = Buffer.alloc(65_536, "y");
    let written = 0;
    let flowing = true;
    // Fills the kernel's or the network's buffers, however large.
    while (flowing && written < 200 * chunk.length) {
      written += chunk.length;
      if (near.write(chunk)) continue;
      flowing = await Promise.race([once(near, "drain").then(() => true), pause(300).then(() => false)]);
    }
    expect(flowing).toBe(false);
    const drained = once(near, "drain");
    far.resume();
    await drained;
    near.end();
    await far.until(({ ended }) => ended);
    expect(far.bytes).toBe(written);
    far.end();
  });

  it("holds the far end back while nobody reads here", async () => {
    const { near, far } = await connected();
    near.pause();
    for (let i = 0; i < 40; i++) far.write("z".repeat(10_000));
    far.end();
    await pause(100);
    expect(near.readableLength).toBeLessThan(400_000);
    expect((await text(near)).length).toBeGreaterThan(0);
    expect(near.bytesRead).toBeGreaterThan(0);
  });
});

/** What it emits, by name; errors by their code. */
function record(socket: AnySocket): string[] {
  const events: string[] = [];
  for (const name of ["connect", "ready", "end", "finish"]) socket.on(name, () => events.push(name));
  socket.on("error", (error: NodeJS.ErrnoException) => events.push(`error ${error.code}`));
  socket.on("close", (broken: boolean) => events.push(`close ${broken}`));
  return events;
}

async function text(socket: AnySocket): Promise<string> {
  let all = "";
  for await (const chunk of socket) all += chunk;
  return all;
}

function pause(millis: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, millis));
}
