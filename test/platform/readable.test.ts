/** What `host/readable` assumes of Node and Node does not document, point by point, and what it does where Node has changed. */
import { once } from "node:events";
import fs from "node:fs";
import net from "node:net";
import os from "node:os";
import path from "node:path";
import { afterEach, describe, expect, it, vi } from "vitest";
import {
  isEventFd,
  type Readable,
  readableDescriptor,
  readableEventFd,
  readableSocket,
} from "../../src/host/readable.ts";
import { sharedLibc } from "../../src/host/shared-libc.ts";
import { handlesWithout } from "../support/handles.ts";
import { eventfd, signal, signals } from "../support/vhost-user/native.ts";

const libc = sharedLibc();
const ends: (() => void)[] = [];
afterEach(() => {
  for (const end of ends.splice(0)) end();
});

/** A connection over a UNIX socket: who has dialled, and what was accepted, unread. */
async function connection(): Promise<{ client: net.Socket; accepted: net.Socket; server: net.Server }> {
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
  return { client, accepted, server };
}

/** Turns of the loop, longer than the timer's interval, in which nothing should happen. */
const nothing = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, 5));

/** What `make` returns, which must not have needed a timer. */
function untimed<T>(make: () => T): T {
  const timers = vi.spyOn(globalThis, "setInterval");
  try {
    const made = make();
    expect(timers).not.toHaveBeenCalled();
    return made;
  } finally {
    timers.mockRestore();
  }
}

describe.skipIf(libc === null)("a pipe handle", () => {
  it("tells that a socket can be read, reads nothing of it, and tells its end", async () => {
    const { client, accepted } = await connection();
    let text = "";
    let ended = false;
    let times = 0;
    const readable: Readable = untimed(
      () =>
        readableSocket(accepted, () => {
          // Told again as long as something is there.
          if (++times < 3) return;
          const n = libc!.receive(readable.fd, 64);
          if (n === 0) {
            ended = true;
            readable.close();
          } else if (n > 0) text += libc!.data.toString("latin1", 0, n);
        })!,
    );
    client.write("hello");
    await vi.waitUntil(() => text === "hello");
    expect(times).toBeGreaterThanOrEqual(3);
    client.end();
    await vi.waitUntil(() => ended);
  });

  it("of a socket that is taken over is the only one to close it, and the server counts it no more", async () => {
    const { client, accepted, server } = await connection();
    const readable = untimed(() => readableSocket(accepted, () => {})!);
    await vi.waitUntil(() => accepted.closed);
    const connections = () => new Promise((resolve) => server.getConnections((_, n) => resolve(n)));
    expect(await connections()).toBe(0);
    expect(client.closed).toBe(false);
    client.resume();
    const closed = once(client, "close");
    readable.close();
    await closed;
  });

  it("adopts any descriptor that epoll takes, and leaves what is there to whoever reads it", async () => {
    const fd = eventfd();
    let times = 0;
    const readable = untimed(() => readableDescriptor(fd, () => times++));
    await nothing();
    expect(times).toBe(0);
    signal(fd);
    await vi.waitUntil(() => times >= 3);
    expect(signals(fd)).toBe(1);
    const before = times;
    await nothing();
    expect(times).toBe(before);
    signal(fd);
    await vi.waitUntil(() => times > before);
    readable.close();
    readable.close();
    await vi.waitUntil(() => !isEventFd(fd));
  });

  it("is not given what is returned to it, and can be closed when it calls back", async () => {
    const fd = eventfd();
    signal(fd);
    let times = 0;
    const readable: Readable = untimed(() =>
      readableDescriptor(fd, () => {
        if (++times === 3) readable.close();
        return 7;
      }),
    );
    await vi.waitUntil(() => !isEventFd(fd));
    await nothing();
    expect(times).toBe(3);
  });

  it("reads an eventfd whenever it has been signalled, once for all signals, until it is closed", async () => {
    const fd = eventfd();
    expect(isEventFd(fd)).toBe(true);
    let kicks = 0;
    const readable = untimed(() => readableEventFd(fd, () => kicks++)!);
    for (let i = 1; i <= 3; i++) {
      signal(fd);
      signal(fd);
      await vi.waitUntil(() => kicks === i);
    }
    await nothing();
    expect(kicks).toBe(3);
    // It has been read: nothing is left for another.
    expect(signals(fd)).toBe(0);
    readable.close();
    await vi.waitUntil(() => !isEventFd(fd));
  });

  it("is not given what epoll refuses", () => {
    const file = path.join(os.tmpdir(), `readable-${process.pid}`);
    const fd = fs.openSync(file, "w+");
    fs.rmSync(file);
    expect(readableEventFd(fd, () => {})).toBeNull();
    expect(() => fs.fstatSync(fd)).toThrow(/EBADF/);
  });
});

describe.skipIf(libc === null)("where Node has changed, a timer in its place", () => {
  it("asks a socket", async () => {
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
    const closed = once(client.resume(), "close");
    readable.close();
    await closed;
  });

  it.each(["useUserBuffer", "readStart", "open"])("asks a descriptor: handles without %s", async (name) => {
    using _ = handlesWithout(name);
    for (const make of [readableDescriptor, readableEventFd]) {
      const fd = eventfd();
      let times = 0;
      const readable = make(fd, () => times++)!;
      await vi.waitUntil(() => times > 0);
      readable.close();
      readable.close();
      expect(isEventFd(fd)).toBe(false);
      const before = times;
      await nothing();
      expect(times).toBe(before);
    }
  });

  it.each(["readStart", "open"])("asks a descriptor: handles that refuse %s", async (name) => {
    using _ = handlesWithout(name, () => -22);
    const fd = eventfd();
    let times = 0;
    const readable = readableDescriptor(fd, () => times++);
    await vi.waitUntil(() => times > 0);
    readable.close();
    await vi.waitUntil(() => !isEventFd(fd));
  });
});
