/** Bytes that are sent past Node's streams arrive in their place among those that are written to them. */
import { once } from "node:events";
import fs from "node:fs";
import net, { type AddressInfo } from "node:net";
import os from "node:os";
import path from "node:path";
import tls from "node:tls";
import { afterEach, describe, expect, it } from "vitest";
import { isPlain, readyDescriptor, sendPast } from "../../src/host/send-past.ts";
import { streamLibc } from "../../src/host/stream-libc.ts";

const cleanup: (() => unknown)[] = [];
afterEach(async () => {
  for (const one of cleanup.splice(0).reverse()) await one();
});

/** Two ends of a connection, TCP or UNIX. */
async function pair(unix: boolean): Promise<[net.Socket, net.Socket]> {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), "past-"));
  const server = net.createServer().listen(unix ? path.join(folder, "s") : { port: 0, host: "127.0.0.1" });
  await once(server, "listening");
  const ours = unix ? net.connect(path.join(folder, "s")) : net.connect((server.address() as AddressInfo).port);
  const [theirs] = (await once(server, "connection")) as [net.Socket];
  if (ours.connecting) await once(ours, "connect");
  cleanup.push(() => {
    for (const each of [ours, theirs, server]) "destroy" in each ? each.destroy() : each.close();
    fs.rmSync(folder, { recursive: true });
  });
  return [ours, theirs];
}

describe.skipIf(streamLibc() === null)("past Node", () => {
  it.each([false, true])("bytes keep their order when the kernel takes some of them only (UNIX: %s)", async (unix) => {
    const [ours, theirs] = await pair(unix);
    expect(isPlain(ours)).toBe(true);
    const whole = Buffer.alloc(20_000_000);
    for (let i = 0; i < whole.length; i += 4) whole.writeUInt32LE(i, i);
    let past = 0;
    let waited = 0;
    const heard: Buffer[] = [];
    const all = new Promise<void>((done) => {
      let got = 0;
      theirs.on("data", (chunk) => {
        heard.push(chunk);
        got += chunk.length;
        if (got === whole.length) done();
      });
      theirs.pause();
      setImmediate(() => theirs.resume());
    });
    for (let at = 0; at < whole.length; ) {
      const piece = whole.subarray(at, at + 300_000);
      at += piece.length;
      const taken = sendPast(ours, piece);
      past += taken;
      if (taken === piece.length) continue;
      // From here on Node has bytes of its own, which go first.
      waited++;
      const written = new Promise((done) => ours.write(piece.subarray(taken), done));
      expect(readyDescriptor(ours)).toBe(-1);
      expect(sendPast(ours, piece)).toBe(0);
      await written;
    }
    await all;
    expect(Buffer.concat(heard).equals(whole)).toBe(true);
    expect(past).toBeGreaterThan(whole.length / 10);
    expect(waited).toBeGreaterThan(0);
  });

  it("nothing goes to a socket that connects, has ended or is destroyed", async () => {
    const [ours] = await pair(false);
    const connecting = net.connect({ port: 1, host: "127.0.0.1" }).on("error", () => {});
    expect(sendPast(connecting, Buffer.from("x"))).toBe(0);
    ours.end();
    expect(sendPast(ours, Buffer.from("x"))).toBe(0);
    ours.destroy();
    expect(sendPast(ours, Buffer.from("x"))).toBe(0);
  });

  it("nothing goes to the descriptor beneath TLS, or beneath a socket with a write of its own", async () => {
    const [ours] = await pair(false);
    const secure = tls.connect({ socket: ours }).on("error", () => {});
    cleanup.push(() => secure.destroy());
    expect(isPlain(secure)).toBe(false);
    class Counting extends net.Socket {}
    expect(isPlain(new Counting())).toBe(false);
    const [other] = await pair(true);
    expect(isPlain(other)).toBe(true);
    other.write = () => true;
    expect(isPlain(other)).toBe(false);
    // The connection of a TLS socket, moved to a socket of another class, is TLS still.
    const handle = (secure as unknown as { _handle: object })._handle;
    const moved = new net.Socket({ handle } as unknown as net.SocketConstructorOpts);
    expect(isPlain(moved)).toBe(false);
  });
});
