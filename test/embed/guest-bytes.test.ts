/** What the networks of `--per-guest` hold together: hundreds of guests, some of them greedy, in one process. */
import { once } from "node:events";
import fs from "node:fs";
import net from "node:net";
import os from "node:os";
import path from "node:path";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { GuestNetworks, type GuestNetworksOptions } from "../../src/guest-networks.ts";
import { type EmbeddedGuest, embeddedGuest } from "../support/embedded-guest.ts";
import { decodeFrame, encodeFrame, type FrameSpec } from "../support/frames.ts";
import { GATEWAY_MAC } from "../support/packet-script.ts";
import { framedCable } from "./framed-cable.ts";

const MIB = 1_048_576;
/** Those that are there, those that do something, and those that take what they can. */
const QUIET = 200;
const SMALL = 8;
const GREEDY = 24;
const ALL = QUIET + SMALL + GREEDY;
const ASKED = 200_000;

let folder: string;
let networks: GuestNetworks;
let server: net.Server;
const open: (() => void)[] = [];
beforeEach(async () => {
  folder = fs.mkdtempSync(path.join(os.tmpdir(), "bytes-"));
  // Says more than anybody takes, or just as much as was asked for.
  server = net.createServer((socket) => {
    const answer = (word: Buffer): void => void socket.end(new Uint8Array(String(word) === "some" ? ASKED : MIB));
    socket.on("error", () => {}).once("data", answer);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
});
afterEach(async () => {
  for (const close of open.splice(0)) close();
  await networks.close();
  server.close();
  fs.rmSync(folder, { recursive: true });
});

async function cable(): Promise<{ socket: net.Socket; cable: ReturnType<typeof framedCable> }> {
  const socket = net.connect(path.join(folder, "s")).on("error", () => {});
  await once(socket, "connect");
  open.push(() => socket.destroy());
  return { socket, cable: framedCable(socket) };
}

async function begin(options: GuestNetworksOptions): Promise<EmbeddedGuest[]> {
  networks = new GuestNetworks({ mtu: 1500 }, options);
  await networks.listenAt(`unix:${folder}/s`);
  for (let i = 0; i < QUIET; i++) {
    const { cable: end } = await cable();
    end.send(encodeFrame({ arp: { senderMac: "52:54:00:12:34:56", senderIp: "10.0.2.15", targetIp: "10.0.2.2" } }));
  }
  const small: EmbeddedGuest[] = [];
  for (let i = 0; i < SMALL; i++) {
    const { cable: end, socket } = await cable();
    small.push(await embeddedGuest({ cable: () => Object.assign(end, { close: () => void socket.destroy() }) }, i));
    open.push(small.at(-1)!.stop);
  }
  return small;
}

/** A guest with frames of its own. */
async function raw(): Promise<(spec: FrameSpec) => void> {
  const { cable: end } = await cable();
  const send = (spec: FrameSpec): void =>
    end.send(
      encodeFrame({ eth: { dst: GATEWAY_MAC }, ...spec, ip: { src: "10.0.2.15", dst: "10.0.2.2", ...spec.ip } }),
    );
  end.onFrame = (bytes) => {
    if (bytes[12] !== 8 || bytes[13] !== 0 || bytes[23] !== 6) return;
    const { tcp } = decodeFrame(bytes.subarray(0, 14 + ((bytes[16]! << 8) | bytes[17]!)));
    if (tcp?.flags.includes("SYN") !== true) return;
    // It takes no byte.
    const reply = {
      flags: "ACK",
      srcPort: tcp.dstPort,
      dstPort: tcp.srcPort,
      seq: 1,
      ack: (tcp.seq + 1) >>> 0,
      window: 0,
    };
    send({ tcp: reply, payload: "all" });
  };
  return send;
}

/** How many bytes a guest has of what it asks for. */
function download({ guest }: EmbeddedGuest, port: number): Promise<number> {
  return new Promise((resolve, reject) => {
    let had = 0;
    const socket = guest.connect(guest.gateway, port, {
      onConnect: () => void socket.write(Buffer.from("some")),
      onData: ({ length }) => {
        had += length;
      },
      onEnd: () => {
        socket.abort();
        resolve(had);
      },
      onClose: (end) => reject(new Error(`the connection has ended: ${end}`)),
    });
  });
}

describe("two hundred guests beside greedy ones", () => {
  it("have what they ask for, while those that take nothing of what they asked for are given no more", async () => {
    const small = await begin({ guests: 256, bytes: 32 * MIB });
    const { port } = server.address() as net.AddressInfo;
    // Each would have 4 MiB, which is three times of what there is.
    for (let i = 0; i < GREEDY; i++) {
      const send = await raw();
      for (let n = 0; n < 4; n++)
        send({
          tcp: { flags: "SYN", srcPort: 4_000 + n, dstPort: port, seq: 0, ack: 0, window: 0, options: { mss: 1_460 } },
        });
    }
    await vi.waitFor(() => expect(networks.heldBytes).toBeGreaterThan(10 * MIB), 10_000);
    const all = await Promise.all(small.map((each) => download(each, port)));
    expect(all.every((had) => had === ASKED)).toBe(true);
    expect(networks.heldBytes).toBeLessThanOrEqual(32 * MIB);
    expect(networks.totals().ended).toBe(0);
    expect(networks.list()).toHaveLength(ALL);
  }, 60_000);

  it("stay, and those that hold most are sent away, when there is too much all the same", async () => {
    const small = await begin({ guests: 256, bytes: 16 * MIB });
    const ended: number[] = [];
    networks.on("ended", (_guest, bytes) => ended.push(bytes));
    // The last piece of a datagram of 64 kB, again and again: each takes room for the whole.
    const payload = new Uint8Array(8);
    for (let i = 0; i < GREEDY; i++) {
      const send = await raw();
      for (let id = 0; id < 15; id++) send({ ip: { id, proto: 17, df: false, offset: 65_000 }, payload });
    }
    // Each holds 780 kB, so that twenty-one fit.
    await vi.waitFor(() => expect(ended.length).toBeGreaterThanOrEqual(GREEDY - 21), 20_000);
    await vi.waitFor(() => expect(networks.list()).toHaveLength(ALL - ended.length), 10_000);
    expect(networks.heldBytes).toBeLessThanOrEqual(16 * MIB);
    expect(Math.min(...ended)).toBeGreaterThan(500_000);
    expect(networks.totals().drops["memory-full"]).toBe(ended.length);
    const { port } = server.address() as net.AddressInfo;
    for (const each of small) expect(await download(each, port)).toBe(ASKED);
  }, 60_000);
});
