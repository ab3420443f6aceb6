/** What `host/send-room` assumes of the kernel: a UNIX socket takes what it has been given room for at once. */
import { once } from "node:events";
import fs from "node:fs";
import net from "node:net";
import os from "node:os";
import path from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { TX_SLAB } from "../../src/attach/transmit.ts";
import { libc } from "../../src/host/libc.ts";
import { sendRoom } from "../../src/host/send-room.ts";

let dir: string;
let open: { destroy(): unknown }[];

beforeEach(() => {
  dir = fs.mkdtempSync(path.join(os.tmpdir(), "send-room-"));
  open = [];
});

afterEach(() => {
  for (const socket of open) socket.destroy();
  fs.rmSync(dir, { recursive: true, force: true });
});

/** A connected socket whose far end does not read. */
async function unread(): Promise<net.Socket> {
  const server = net.createServer({ pauseOnConnect: true });
  const at = path.join(dir, `s${open.length}`);
  await new Promise<void>((resolve) => server.listen(at, resolve));
  const socket = net.connect(at);
  const [[far]] = await Promise.all([once(server, "connection"), once(socket, "connect")]);
  open.push(socket, far as net.Socket);
  server.close();
  return socket;
}

describe.skipIf(libc() === null)("a UNIX socket", () => {
  it("takes a transmit slab in one go once it has room, and does not by itself", async () => {
    const [narrow, wide] = [await unread(), await unread()];
    sendRoom(wide, TX_SLAB);
    for (const socket of [narrow, wide]) socket.write(new Uint8Array(TX_SLAB));
    expect(narrow.writableLength).toBe(TX_SLAB);
    expect(wide.writableLength).toBe(0);
  });

  it("that is not connected, or is gone, is left alone", async () => {
    const socket = await unread();
    socket.destroy();
    sendRoom(socket, TX_SLAB);
    sendRoom(new net.Socket(), TX_SLAB);
  });
});
