/** A forward's UDP socket at all of the host's addresses: who asks one of them is answered from it. */
import { createSocket, type Socket } from "node:dgram";
import { once } from "node:events";
import { afterEach, expect, test } from "vitest";
import type { Endpoint, HostListener, HostUdp } from "../../src/core/host-net.ts";
import { libc } from "../../src/host/libc.ts";
import { BoundUdp } from "../../src/host/udp.ts";
import { AddressedUdp } from "../../src/host/udp-addressed.ts";

const open: { close(): void }[] = [];
afterEach(() => {
  for (const it of open.splice(0)) it.close();
});

interface Server {
  readonly socket: HostUdp & HostListener;
  readonly port: number;
}

/** Answers each datagram at once, with its sender's port behind. */
function echo(host: string, port = 0): Server {
  const c = libc();
  if (c === null) throw new Error("this test needs koffi");
  const socket: HostUdp & HostListener = new AddressedUdp(
    c,
    { host, port },
    {
      onDatagram(bytes, at, len, from) {
        const answer = Buffer.concat([bytes.subarray(at, at + len), Buffer.from(` ${from.port}`)]);
        socket.send(answer, 0, answer.length, from, 64, false);
      },
      onUdpError: ({ code }) => expect.unreachable(code),
    },
  );
  open.push(socket);
  return { socket, port: (socket.address as Endpoint).port };
}

/** A socket that hears nobody but `host`. */
async function client(host: string, port: number): Promise<Socket> {
  const socket = createSocket(host.includes(":") ? "udp6" : "udp4");
  open.push(socket);
  socket.connect(port, host);
  await once(socket, "connect");
  return socket;
}

async function ask(socket: Socket, words: string): Promise<string> {
  socket.send(words);
  const [bytes] = (await once(socket, "message")) as [Buffer];
  return bytes.toString();
}

test("each client is answered from the address that it has asked, the same client at each of them", async () => {
  const { port } = echo("0.0.0.0");
  const clients = await Promise.all(["127.0.0.1", "127.0.0.2", "127.3.2.1"].map((host) => client(host, port)));
  for (const round of ["a", "b"]) {
    for (const socket of clients) expect(await ask(socket, round)).toBe(`${round} ${socket.address().port}`);
  }
  const wide = createSocket("udp4");
  open.push(wide);
  for (const host of ["127.0.0.1", "127.0.0.9", "127.0.0.1"]) {
    wide.send("x", port, host);
    const [, from] = (await once(wide, "message")) as [Buffer, { address: string; port: number }];
    expect(from).toMatchObject({ address: host, port });
  }
});

test("over IPv6, which leaves IPv4's port alone", async () => {
  const { port } = echo("::");
  expect(echo("0.0.0.0", port).port).toBe(port);
  const socket = await client("::1", port);
  expect(await ask(socket, "six")).toBe(`six ${socket.address().port}`);
});

test("hundreds at once, empty and large ones, come whole and in order", async () => {
  const { port } = echo("0.0.0.0");
  const socket = await client("127.0.0.2", port);
  const got: string[] = [];
  const all = new Promise<void>((resolve) =>
    socket.on("message", (bytes) => {
      got.push(bytes.toString());
      if (got.length === 152) resolve();
    }),
  );
  const sent = ["", "x".repeat(60_000), ...Array.from({ length: 150 }, (_, i) => `n${i}`)];
  for (const words of sent) socket.send(words);
  await all;
  expect(got).toEqual(sent.map((words) => `${words} ${socket.address().port}`));
});

test("the port is exclusive, and free again when it is closed", () => {
  const { socket, port } = echo("0.0.0.0");
  expect(() => echo("0.0.0.0", port)).toThrow(/EADDRINUSE/);
  expect(() => new BoundUdp({ host: "127.0.0.1", port }, { onDatagram() {}, onUdpError() {} })).toThrow(/EADDRINUSE/);
  socket.close();
  expect(echo("0.0.0.0", port).port).toBe(port);
});

test("a datagram that is too long is told as an error, not thrown", async () => {
  const c = libc()!;
  const told = new Promise<string>((resolve) => {
    const socket = new AddressedUdp(
      c,
      { host: "0.0.0.0", port: 0 },
      { onDatagram() {}, onUdpError: (e) => resolve(e.code) },
    );
    open.push(socket);
    socket.send(new Uint8Array(65_530), 0, 65_530, { host: "127.0.0.1", port: 9 }, 64);
  });
  expect(await told).toBe("EMSGSIZE");
});
