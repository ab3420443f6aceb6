/** What `attach/stream` assumes of Node and Node does not document: an accepted socket's handle can be moved. */
import { once } from "node:events";
import fs from "node:fs";
import net from "node:net";
import os from "node:os";
import path from "node:path";
import { describe, expect, it } from "vitest";
import { adopt } from "../../src/attach/stream.ts";

/** Accepts one connection on a UNIX or TCP socket; both ends, and the server. */
async function accept(kind: string): Promise<{ server: net.Server; client: net.Socket; accepted: net.Socket }> {
  const server = net.createServer({ pauseOnConnect: true });
  const dir = fs.mkdtempSync(path.join(os.tmpdir(), "platform-"));
  const connection = once(server, "connection") as Promise<[net.Socket]>;
  await new Promise<void>((resolve) => {
    if (kind === "unix") server.listen(path.join(dir, "s"), resolve);
    else server.listen(0, "127.0.0.1", resolve);
  });
  const address = server.address() as net.AddressInfo | string;
  const client = typeof address === "string" ? net.connect(address) : net.connect(address.port, "127.0.0.1");
  const [accepted] = await connection;
  server.once("close", () => fs.rmSync(dir, { recursive: true, force: true }));
  return { server, client, accepted };
}

describe.each(["unix", "tcp"])("an accepted socket's handle (%s)", (kind) => {
  it("reads into our buffers, asks for the next after each read, and writes", async () => {
    const { server, client, accepted } = await accept(kind);
    // Sent before the handle is moved: nothing may be lost.
    client.write("early ");
    await new Promise(setImmediate);
    const areas: Uint8Array[] = [new Uint8Array(4), new Uint8Array(4)];
    let asked = 0;
    let text = "";
    const where = new Set<number>();
    const got = new Promise<void>((resolve) => {
      const socket = adopt(accepted, {
        buffer: () => areas[asked++ % 2]!,
        callback: (n, buffer) => {
          where.add(areas.indexOf(buffer));
          text += Buffer.from(buffer.subarray(0, n)).toString();
          if (text === "early and late") resolve();
          return true;
        },
      })!;
      expect(socket).not.toBeNull();
      socket.write("answer");
      socket.once("end", () => socket.destroy());
    });
    client.write("and late");
    const [answer] = (await once(client, "data")) as [Buffer];
    await got;
    expect(answer.toString()).toBe("answer");
    expect(where).toEqual(new Set([0, 1]));
    expect(asked).toBeGreaterThan(3);
    // The server does not wait for a connection that it no longer has, and the far end's close arrives.
    const closed = once(server, "close");
    server.close();
    await closed;
    client.destroy();
  });

  it("keeps the buffer when none is given, and ends when the far end does", async () => {
    const { server, client, accepted } = await accept(kind);
    const area = new Uint8Array(64);
    let asked = 0;
    const seen: unknown[] = [];
    const socket = adopt(accepted, {
      buffer: () => (asked++ === 0 ? area : undefined) as Uint8Array,
      callback: (_, buffer) => {
        seen.push(buffer);
        return true;
      },
    })!;
    socket.resume();
    for (let i = 0; i < 3; i++) {
      client.write("x");
      while (seen.length <= i) await new Promise(setImmediate);
    }
    expect(seen.every((buffer) => buffer === area)).toBe(true);
    const ended = once(socket, "end");
    const closed = once(socket, "close");
    client.end();
    await ended;
    await closed;
    server.close();
  });

  it("stays where it is when Node has changed", async () => {
    const { server, client, accepted } = await accept(kind);
    const holder = accepted as unknown as { _handle: { useUserBuffer?: unknown } };
    const handle = holder._handle;
    handle.useUserBuffer = undefined;
    expect(adopt(accepted, { buffer: new Uint8Array(4), callback: () => true })).toBeNull();
    expect(holder._handle).toBe(handle);
    client.write("still read");
    accepted.resume();
    const [chunk] = (await once(accepted, "data")) as [Buffer];
    expect(chunk.toString()).toBe("still read");
    accepted.destroy();
    client.destroy();
    server.close();
  });
});
