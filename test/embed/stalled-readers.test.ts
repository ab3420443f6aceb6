/** Readers within the process that stop until their windows are shut, and then go on in any of the ways that streams have. */
import { once } from "node:events";
import { expect, it } from "vitest";
import type { TcpSocket } from "../../src/cli/guest/tcp.ts";
import { ipv4FromText } from "../../src/core/address.ts";
import type { GuestSocket } from "../../src/index.ts";
import { type Lan, startLan } from "./lan.ts";

const UPLOAD = 600_000;
const UPLOADS = 4;

/** Guests' uploads to a server whose sockets are paused; resolves when none of them can send any more. */
async function stalledUploads(lan: Lan, piece: number): Promise<GuestSocket[]> {
  const sockets: GuestSocket[] = [];
  await lan.net.listenGuest({ host: "10.0.2.100", port: 80 }, (socket) => {
    socket.pause();
    sockets.push(socket);
  });
  const uploads: TcpSocket[] = [];
  for (let i = 0; i < UPLOADS; i++) {
    let left = UPLOAD;
    const push = (): void => {
      while (left > 0) {
        const took = socket.write(new Uint8Array(Math.min(piece, left)).fill(0x78));
        left -= took;
        if (took === 0) return;
      }
      socket.end();
    };
    const socket: TcpSocket = lan.guest.connect(ipv4FromText("10.0.2.100"), 80, { onConnect: push, onWritable: push });
    uploads.push(socket);
  }
  // What probes shut windows moves a byte now and then.
  let before = -1_000;
  for (let rounds = 0; rounds < 100; rounds++) {
    await new Promise((resolve) => setTimeout(resolve, 50));
    const bytes = lan.net.flows().reduce((sum, { bytesUp }) => sum + bytesUp, 0);
    if (bytes - before < 1_000 && sockets.length === UPLOADS) break;
    before = bytes;
  }
  expect(sockets.length).toBe(UPLOADS);
  expect(before).toBeLessThan(UPLOADS * UPLOAD);
  return sockets;
}

const WAYS: readonly (readonly [string, (socket: GuestSocket) => Promise<number>])[] = [
  [
    "flowing",
    async (socket) => {
      socket.on("data", () => {});
      socket.resume();
      await once(socket, "end");
      return socket.bytesRead;
    },
  ],
  [
    "a loop over its chunks",
    async (socket) => {
      let sum = 0;
      for await (const chunk of socket) sum += (chunk as Buffer).length;
      return sum;
    },
  ],
  [
    "read() when it is told to",
    async (socket) => {
      let sum = 0;
      socket.on("readable", () => {
        for (let bytes = socket.read(); bytes !== null; bytes = socket.read()) sum += (bytes as Buffer).length;
      });
      await once(socket, "end");
      return sum;
    },
  ],
];

it.each(WAYS)("%s: every upload goes on, to its end", { timeout: 30_000 }, async (_name, read) => {
  await using lan = await startLan({ mtu: 1500 });
  const sockets = await stalledUploads(lan, 65_536);
  expect(await Promise.all(sockets.map(read))).toEqual(sockets.map(() => UPLOAD));
});
