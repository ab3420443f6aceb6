/** A guest gets its lease and reaches what the library serves, whatever its cable is made of. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import net from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import { type Duplex, duplexPair, PassThrough } from "node:stream";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, expect, it } from "vitest";
import { dhcp } from "../../src/cli/guest/dhcp.ts";
import { Guest, type GuestCable } from "../../src/cli/guest/guest.ts";
import { runOnTimers } from "../../src/cli/guest/timers.ts";
import { ipv4FromText } from "../../src/core/address.ts";
import { HostClock } from "../../src/host/clock.ts";
import { HostRandom } from "../../src/host/random.ts";
import { createNetwork, type Network } from "../../src/index.ts";
import { framedCable } from "./framed-cable.ts";

const INSIDE = "10.0.2.100";

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(path.join(tmpdir(), "tslirp-attach-"));
});
afterAll(() => rmSync(folder, { recursive: true }));

async function greeting(text: string): Promise<Network> {
  const network = await createNetwork();
  await network.listenGuest({ host: INSIDE, port: 80 }, (socket) => socket.end(text));
  return network;
}

/** What a guest on this cable reads from INSIDE's port 80, once it has its lease. */
async function greeted(cable: GuestCable): Promise<string> {
  const mac = new Uint8Array([0x52, 0x54, 0, 0, 0, 9]);
  const guest = new Guest({ cable, mac, clock: new HostClock(), random: new HostRandom() });
  const stop = runOnTimers(guest);
  try {
    await dhcp(guest);
    return await new Promise<string>((resolve, reject) => {
      let text = "";
      const socket = guest.connect(ipv4FromText(INSIDE), 80, {
        onData: (bytes) => {
          text += Buffer.from(bytes);
        },
        onEnd: () => {
          socket.end();
          resolve(text);
        },
        onClose: reject,
      });
    });
  } finally {
    stop();
  }
}

it.each([
  ["a text", "hello"],
  ["an object", { a: 1 }],
])("a Duplex that yields %s: its cable ends with a notice", async (_what, chunk) => {
  await using network = await createNetwork();
  const told = once(network, "notice");
  const duplex = new PassThrough({ objectMode: true });
  network.attach(duplex);
  const closed = once(duplex, "close");
  duplex.write(chunk);
  await closed;
  expect(network.cables()).toEqual([]);
  const [{ text }] = await told;
  expect(text).toBe(`the cable duplex#1 ends: its stream gave a ${typeof chunk}, expected bytes`);
});

it("a Duplex with an encoding is refused", async () => {
  await using network = await createNetwork();
  expect(() => network.attach(new PassThrough().setEncoding("utf8"))).toThrow(
    'attach: got "utf8"; expected a Duplex of bytes, without setEncoding',
  );
});

it("a Duplex of framed bytes: attach", async () => {
  await using network = await greeting("hello, Duplex");
  const [ours, theirs] = duplexPair();
  network.attach(ours);
  expect(await greeted(framedCable(theirs))).toBe("hello, Duplex");
  expect(network.cables()).toEqual(["duplex#1"]);
});

it("a socket's path: listen, which says how QEMU comes", async () => {
  await using network = await greeting("hello, path");
  const at = path.join(folder, "net.sock");
  expect(await network.listen({ path: at }, "lan")).toEqual([
    ...["-netdev", `stream,id=lan,server=off,addr.type=unix,addr.path=${at}`],
    ...["-device", "virtio-net-pci,netdev=lan"],
  ]);
  const socket = net.connect(at);
  expect(await greeted(framedCable(socket))).toBe("hello, path");
  socket.destroy();
});

it("a path where QEMU listens: dial, also before it does", async () => {
  await using network = await greeting("hello, QEMU");
  const at = path.join(folder, "qemu.sock");
  await network.dial({ path: at });
  const qemu = net.createServer();
  const came = once(qemu, "connection") as Promise<[net.Socket]>;
  qemu.listen(at);
  const [socket] = await came;
  qemu.close();
  expect(await greeted(framedCable(socket))).toBe("hello, QEMU");
  socket.on("error", () => {});
});

it("a descriptor: attachFd, over when the far end is gone", async () => {
  // A child's extra 'pipe' is one end of a UNIX socket pair, which it inherits as descriptor 3.
  const program = fileURLToPath(new URL("attach-child.ts", import.meta.url));
  const child: ChildProcess = spawn(process.execPath, ["--import", "tsx", program], {
    stdio: ["ignore", "inherit", "inherit", "pipe"],
  });
  const exit = once(child, "exit");
  const wire = child.stdio[3] as Duplex;
  expect(await greeted(framedCable(wire))).toBe("hello from descriptor 3");
  wire.end();
  expect(await exit).toEqual([0, null]);
});

it.each([
  ["unread, which is read into our own buffers from then on", true],
  ["of which something has been read", false],
])("a socket that a server has accepted, %s: attachAccepted", async (_, unread) => {
  await using network = await greeting("hello, accepted");
  const server = net.createServer({ pauseOnConnect: unread }).listen(path.join(folder, "own.sock"));
  await once(server, "listening");
  const came = once(server, "connection") as Promise<[net.Socket]>;
  const client = net.connect(path.join(folder, "own.sock"));
  const hello = greeted(framedCable(client));
  const [socket] = await came;
  while (!unread && socket.bytesRead === 0) await new Promise(setImmediate);
  const left = network.attachAccepted(socket);
  // One that has been moved is an empty shell.
  expect(socket.destroyed).toBe(unread);
  expect(await hello).toBe("hello, accepted");
  client.end();
  await left;
  expect(network.cables()).toEqual([]);
  server.close();
});

it("frames in and out: cable", async () => {
  await using network = await greeting("hello, cable");
  expect(await greeted(network.cable())).toBe("hello, cable");
});
