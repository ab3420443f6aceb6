/**
 * No wake-up is lost between a guest's uploads and readers within the process. The guest's clock stands still, so nothing
 * of its own brings a connection to life again: no probe of a shut window, no time-out. Readers stop and go on, and the cable
 * is full and has room, in an order that a seed decides; when all read again, everything has to arrive.
 */
import { expect, test } from "vitest";
import { dhcp } from "../../src/cli/guest/dhcp.ts";
import { Guest } from "../../src/cli/guest/guest.ts";
import { ipv4FromText } from "../../src/core/address.ts";
import { createNetwork, type GuestSocket } from "../../src/index.ts";
import { ManualClock } from "../support/clock.ts";
import { SeededRandom } from "../support/random.ts";

const UPLOADS = 16;
const STEPS = 150;
/** Without a clock all is done in some turns of the event loop. */
const MOST_TURNS = 20_000;

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

async function uploads(seed: number): Promise<void> {
  const random = new SeededRandom(seed);
  const below = (n: number): number => (random.u32() >>> 0) % n;
  const net = await createNetwork({ mtu: below(2) === 0 ? 1500 : 65_520 });
  const cable = net.cable();
  const mac = new Uint8Array([0x52, 0x54, 0, 0x12, 0x34, 0x56]);
  const guest = new Guest({ cable, mac, clock: new ManualClock(1_000), random });
  const sockets: GuestSocket[] = [];
  const got = new Map<GuestSocket, number>();
  const ended = new Set<GuestSocket>();
  try {
    await dhcp(guest);
    await net.listenGuest({ host: "10.0.2.100", port: 80 }, (socket) => {
      socket.pause();
      sockets.push(socket);
      socket.on("end", () => ended.add(socket));
    });
    const size = 100_000 + below(400_000);
    const piece = 1 + below(65_536);
    for (let i = 0; i < UPLOADS; i++) {
      let left = size;
      const push = (): void => {
        while (left > 0) {
          const took = connection.write(new Uint8Array(Math.min(piece, left)).fill(0x78));
          left -= took;
          if (took === 0) return;
        }
        connection.end();
      };
      const connection = guest.connect(ipv4FromText("10.0.2.100"), 80, { onConnect: push, onWritable: push });
    }
    const count = (socket: GuestSocket, bytes: Buffer): void =>
      void got.set(socket, (got.get(socket) ?? 0) + bytes.length);
    const read = (socket: GuestSocket, size?: number): void => {
      const bytes = socket.read(size) as Buffer | null;
      // Who listens for data is told of what is read, too.
      if (bytes !== null && socket.listenerCount("data") === 0) count(socket, bytes);
    };
    for (let step = 0; step < STEPS; step++) {
      const socket = sockets[below(Math.max(1, sockets.length))];
      const what = below(7);
      if (what === 0) cable.stall(true);
      else if (what === 1) cable.stall(false);
      else if (what === 2) await turn();
      else if (socket === undefined || socket.readableEnded) continue;
      else if (what === 3) socket.pause();
      else if (what === 4) read(socket, 1 + below(20_000));
      else if (what === 5) read(socket);
      else if (socket.listenerCount("data") === 0) socket.on("data", (bytes: Buffer) => count(socket, bytes));
      else socket.resume();
    }
    cable.stall(false);
    for (let turns = 0; turns < MOST_TURNS && ended.size < UPLOADS; turns++) {
      for (const socket of sockets) {
        if (socket.listenerCount("data") === 0) socket.on("data", (bytes: Buffer) => count(socket, bytes));
        if (socket.isPaused()) socket.resume();
      }
      await turn();
    }
    const all = sockets.map((socket) => got.get(socket) ?? 0);
    expect(all, `seed ${seed}`).toEqual(Array.from({ length: UPLOADS }, () => size));
    expect(ended.size, `seed ${seed}`).toBe(UPLOADS);
  } finally {
    await net.close();
  }
}

test("uploads into readers that stop and go on arrive whole without the guest's clock (12 seeds)", async () => {
  for (let seed = 1; seed <= 12; seed++) await uploads(seed);
}, 60_000);
