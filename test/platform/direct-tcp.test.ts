/** What `host/direct-tcp` assumes of Node and Node does not document: TCP handles can be made, told and handed on. */
import { once } from "node:events";
import net from "node:net";
import { expect, it, vi } from "vitest";
import { type Client, type TcpHandle, takeClients, tcpClass } from "../../src/host/direct-tcp.ts";
import { streamLibc } from "../../src/host/stream-libc.ts";

const c = streamLibc();
const skipped = c === null ? " (SKIPPED: koffi)" : "";

interface Pair {
  readonly handle: TcpHandle;
  readonly fd: number;
  readonly far: net.Socket;
  close(): void;
}

async function pair(): Promise<Pair> {
  const server = net.createServer({ allowHalfOpen: true });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const connection = once(server, "connection") as Promise<[net.Socket]>;
  const fd = c!.dial("127.0.0.1", (server.address() as net.AddressInfo).port);
  expect(fd).toBeGreaterThanOrEqual(0);
  const handle = new (tcpClass()!)(0);
  expect(handle.open(fd)).toBe(0);
  const [far] = await connection;
  far.on("error", () => {});
  const close = (): void => {
    far.destroy();
    server.close();
  };
  return { handle, fd, far, close };
}

it.skipIf(c === null)(`a connection over the loopback stands when connect has returned${skipped}`, async () => {
  const { handle, fd, far, close } = await pair();
  expect(c!.send(fd, Buffer.from("at once"))).toBe(7);
  expect(String(await once(far, "data"))).toBe("at once");
  handle.close();
  close();
});

it.skipIf(c === null)(
  `an empty buffer: told once a turn of data and of the end, and nothing is read${skipped}`,
  async () => {
    const { handle, fd, far, close } = await pair();
    const into = new Uint8Array(16);
    let heard = "";
    let told = 0;
    const ended = new Promise<void>((resolve) => {
      handle.useUserBuffer(Buffer.alloc(0));
      handle.onread = () => {
        // The first time it is left where it is.
        if (told++ === 0) return;
        const n = c!.receive(fd, into);
        if (n === 0) resolve();
        heard += Buffer.from(into.subarray(0, Math.max(n, 0))).toString();
      };
    });
    expect(handle.readStart()).toBe(0);
    far.end("hello");
    await ended;
    expect(heard).toBe("hello");
    expect(told).toBeGreaterThan(2);
    const name: { address?: string; port?: number } = {};
    expect(handle.getsockname(name)).toBe(0);
    expect([name.address, name.port]).toEqual(["127.0.0.1", far.remotePort]);
    handle.close();
    close();
  },
);

it.skipIf(c === null)(`the handle becomes a socket of Node's, which reads on and writes${skipped}`, async () => {
  const { handle, fd, far, close } = await pair();
  handle.useUserBuffer(Buffer.alloc(0));
  const first = new Promise<void>((resolve) => {
    handle.onread = () => {
      c!.receive(fd, new Uint8Array(5));
      handle.readStop();
      resolve();
    };
  });
  handle.readStart();
  far.write("hello world");
  await first;
  let heard = "";
  const socket = new net.Socket({
    handle,
    allowHalfOpen: true,
    pauseOnCreate: true,
    onread: {
      buffer: () => Buffer.alloc(64),
      callback: (n: number, bytes: Uint8Array) => {
        heard += Buffer.from(bytes.subarray(0, n)).toString();
        return true;
      },
    },
  } as unknown as net.SocketConstructorOpts);
  socket.resume();
  socket.write("back");
  expect(String(await once(far, "data"))).toBe("back");
  far.end();
  await once(socket, "end");
  expect(heard).toBe(" world");
  const closed = once(socket, "close");
  socket.end();
  await closed;
  close();
});

it.skipIf(c === null)(
  `a listening server passes on the handles of its connections, and no socket${skipped}`,
  async () => {
    const server = net.createServer({ allowHalfOpen: true, pauseOnConnect: true });
    const sockets = vi.fn();
    server.on("connection", sockets);
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    const clients: Client[] = [];
    takeClients(c!, server, (client) => clients.push(client));
    const { port } = server.address() as net.AddressInfo;
    const [first, second] = [net.connect(port, "127.0.0.1"), net.connect(port, "127.0.0.1")];
    const reset = once(second, "error") as Promise<[NodeJS.ErrnoException]>;
    await vi.waitUntil(() => clients.length === 2 && first.localPort !== undefined && second.localPort !== undefined);
    const of = (socket: net.Socket): Client => clients.find(({ remote }) => remote.port === socket.localPort)!;
    expect(of(first).remote.host).toBe("127.0.0.1");
    of(second).refuse();
    expect((await reset)[0].code).toBe("ECONNRESET");
    let heard = "";
    const tcp = of(first).take({
      ...{ onConnect() {}, onEnd() {}, onDrain() {}, onClose() {} },
      onData: (bytes, at, len) => {
        heard += Buffer.from(bytes.subarray(at, at + len)).toString();
      },
    });
    tcp.resume();
    first.write("hello");
    await vi.waitUntil(() => heard === "hello");
    const closed = once(server, "close");
    // The server counts none of them, so it need not wait for their ends.
    server.close();
    await closed;
    expect(sockets).not.toHaveBeenCalled();
    first.on("error", () => {});
    tcp.reset("ECONNRESET");
  },
);
