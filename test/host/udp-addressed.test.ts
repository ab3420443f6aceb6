/** A forward's UDP socket at all of the host's addresses: who asks one of them is answered from it. */
import { createSocket, type Socket } from "node:dgram";
import { once } from "node:events";
import { afterEach, expect, test } from "vitest";
import type { Endpoint, HostListener, HostUdp, UdpSender } from "../../src/core/host-net.ts";
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

/** Those who have sent `count` datagrams to a socket at all addresses, and the socket. */
function heard(count: number): { server: Server; senders: Promise<UdpSender[]> } {
  const senders: UdpSender[] = [];
  let done = (_all: UdpSender[]): void => {};
  const all = new Promise<UdpSender[]>((resolve) => {
    done = resolve;
  });
  const onDatagram = (_bytes: Uint8Array, _at: number, _len: number, from: UdpSender): void => {
    if (senders.push(from) === count) done(senders);
  };
  const events = { onDatagram, onUdpError: ({ code }: { code: string }) => expect.unreachable(code) };
  const socket = new AddressedUdp(libc()!, { host: "0.0.0.0", port: 0 }, events);
  open.push(socket);
  return { server: { socket, port: (socket.address as Endpoint).port }, senders: all };
}

test("a client that asks two addresses at once is answered from each", async () => {
  const { server, senders } = heard(2);
  const wide = createSocket("udp4");
  open.push(wide);
  wide.send("one", server.port, "127.0.0.1");
  wide.send("two", server.port, "127.0.0.9");
  const both = await senders;
  expect(both.map(({ asked }) => asked).sort()).toEqual(["127.0.0.1", "127.0.0.9"]);
  for (const to of both) {
    server.socket.send(Buffer.from("x"), 0, 1, to, 64, false);
    const [, from] = (await once(wide, "message")) as [Buffer, { address: string }];
    expect(from.address).toBe(to.asked);
  }
});

test("the same client is the same object from one datagram to the next, also while others speak", async () => {
  const { server, senders } = heard(12);
  const clients = await Promise.all(["127.0.0.1", "127.0.0.2", "127.3.2.1"].map((host) => client(host, server.port)));
  for (let round = 0; round < 4; round++) {
    for (const socket of clients) await new Promise((resolve) => socket.send("x", resolve));
  }
  const all = await senders;
  for (const socket of clients) {
    const its = all.filter(({ asked }) => asked === socket.remoteAddress().address);
    expect([its.length, new Set(its).size]).toEqual([4, 1]);
  }
});

test("more clients than are remembered are each answered", { timeout: 20_000 }, async () => {
  const { port } = echo("0.0.0.0");
  for (let i = 0; i < 6; i++) {
    const clients = await Promise.all(Array.from({ length: 60 }, (_, k) => client(`127.0.${i}.${k + 1}`, port)));
    for (const round of ["a", "b"]) {
      const answers = await Promise.all(clients.map((socket) => ask(socket, round)));
      expect(answers).toEqual(clients.map((socket) => `${round} ${socket.address().port}`));
    }
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
