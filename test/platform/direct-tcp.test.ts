/** What `host/direct-tcp` assumes of Node and Node does not document: TCP handles can be made, told and handed on. */
import { once } from "node:events";
import net from "node:net";
import { expect, it } from "vitest";
import { type TcpHandle, tcpClass } from "../../src/host/direct-tcp.ts";
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
