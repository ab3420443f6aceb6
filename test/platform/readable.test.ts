/** What `host/readable` assumes of Node and Node does not document: a pipe handle tells that a descriptor can be read. */
import { once } from "node:events";
import fs from "node:fs";
import net from "node:net";
import os from "node:os";
import path from "node:path";
import { afterEach, describe, expect, it, vi } from "vitest";
import { EventFds, isEventFd, type Readable, readableSocket } from "../../src/host/readable.ts";
import { sharedLibc } from "../../src/host/shared-libc.ts";
import { eventfd, signal, signals } from "../support/vhost-user/native.ts";

const libc = sharedLibc();
const ends: (() => void)[] = [];
afterEach(() => {
  for (const end of ends.splice(0)) end();
});

/** A connection over a UNIX socket: who has dialled, and what was accepted, unread. */
async function connection(): Promise<{ client: net.Socket; accepted: net.Socket }> {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), "readable-"));
  const server = net.createServer({ pauseOnConnect: true });
  server.listen(path.join(folder, "s"));
  await once(server, "listening");
  const came = once(server, "connection") as Promise<[net.Socket]>;
  const client = net.connect(path.join(folder, "s"));
  const [accepted] = await came;
  ends.push(() => {
    client.destroy();
    server.close();
    fs.rmSync(folder, { recursive: true, force: true });
  });
  return { client, accepted };
}

describe.skipIf(libc === null)("a pipe handle", () => {
  it("tells that a socket can be read, reads nothing of it, and tells its end", async () => {
    const { client, accepted } = await connection();
    let text = "";
    let ended = false;
    let times = 0;
    const readable: Readable = readableSocket(accepted, () => {
      // Told again as long as something is there.
      if (++times < 3) return;
      const n = libc!.receive(readable.fd, 64);
      if (n === 0) {
        ended = true;
        readable.close();
      } else if (n > 0) text += libc!.data.toString("latin1", 0, n);
    })!;
    client.write("hello");
    await vi.waitUntil(() => text === "hello");
    expect(times).toBeGreaterThanOrEqual(3);
    client.end();
    await vi.waitUntil(() => ended);
  });

  it("reads an eventfd whenever it has been signalled, until it is closed", async () => {
    const { accepted } = await connection();
    const fd = eventfd();
    expect(isEventFd(fd)).toBe(true);
    let kicks = 0;
    const readable = new EventFds(accepted).watch(fd, () => kicks++)!;
    for (let i = 1; i <= 3; i++) {
      signal(fd);
      await vi.waitUntil(() => kicks === i);
    }
    // It has been read: nothing is left for another.
    expect(signals(fd)).toBe(0);
    readable.close();
    await vi.waitUntil(() => !isEventFd(fd));
    accepted.destroy();
  });

  it("is not given what epoll refuses", async () => {
    const { accepted } = await connection();
    const file = path.join(os.tmpdir(), `readable-${process.pid}`);
    const fd = fs.openSync(file, "w+");
    fs.rmSync(file);
    expect(new EventFds(accepted).watch(fd, () => {})).toBeNull();
    expect(() => fs.fstatSync(fd)).toThrow(/EBADF/);
    accepted.destroy();
  });

  it("has a timer in its place where Node has changed", async () => {
    const { client, accepted } = await connection();
    const { _handle: handle } = accepted as unknown as { _handle: { useUserBuffer?: unknown } };
    handle.useUserBuffer = undefined;
    let text = "";
    const readable: Readable = readableSocket(accepted, () => {
      const n = libc!.receive(readable.fd, 64);
      if (n > 0) text += libc!.data.toString("latin1", 0, n);
    })!;
    client.write("all the same");
    await vi.waitUntil(() => text === "all the same");
    readable.close();
  });
});
