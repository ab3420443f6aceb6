/** How payload is joined into writes depends on where frames stand: a recording's must stand as they did. */
import { mkdtempSync, rmSync } from "node:fs";
import net, { type AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { sharedLibc } from "../../src/host/shared-libc.ts";
import { createNetwork, type ImpairmentOptions, type Network } from "../../src/index.ts";
import { LONG } from "../../src/nat/tcp/payload-gatherer.ts";
import { RecordingReader } from "../../src/record/file.ts";
import { replayFile } from "../../src/record/run.ts";
import { VIRTIO_NET_HEADER, virtioWrite } from "../../src/wire/virtio-net.ts";
import { decodeFrame, encodeFrame, type FrameSpec } from "../support/frames.ts";
import { undoneFrame } from "../support/offload.ts";
import { GATEWAY_MAC, GUEST_IP, GUEST_MAC } from "../support/packet-script.ts";
import { FrontEnd, SEND } from "../support/vhost-user/front-end.ts";

/** Lengths of the segments of each batch. */
const BATCHES: readonly (readonly number[])[] = [
  // One that is written where it stands, and its rest.
  [32_767, 233],
  // Several, with short ones between them and behind.
  [20_000, 1_000, 20_000, 300, 300],
  [8_948, 8_948, 8_948, 17_896],
  [1_448, 1_448, 1_448],
  // A short one before.
  [100, 17_000, 17_000],
];
const DOWN = 50_000;

/** A guest's end of a cable. */
interface Plug {
  /** Sends frames as one batch. */
  send(frames: readonly FrameSpec[]): void;
  /** The next frame to the guest. */
  receive(): Promise<Uint8Array>;
  close(): void;
}

let folder: string;
let file: string;
let received: number;
let server: net.Server;

beforeEach(async () => {
  folder = mkdtempSync(path.join(tmpdir(), "tslirp-record-"));
  file = path.join(folder, "run.tslirp");
  received = 0;
  server = net.createServer((socket) => {
    socket.on("error", () => {});
    socket.on("data", (chunk) => {
      received += chunk.length;
    });
    socket.write(new Uint8Array(DOWN));
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
});

afterEach(() => {
  server.close();
  rmSync(folder, { recursive: true });
});

function inMemory(network: Network): Plug {
  const cable = network.cable();
  const frames: Uint8Array[] = [];
  let came = (): void => {};
  cable.onFrame = (frame) => {
    frames.push(frame);
    came();
  };
  return {
    send: (specs) => cable.send(...specs.map(encodeFrame)),
    receive: async () => {
      while (frames.length === 0)
        await new Promise<void>((resolve) => {
          came = resolve;
        });
      return frames.shift()!;
    },
    close: () => cable.close(),
  };
}

/** A driver whose segments are longer than the MTU, both ways. */
async function byVhostUser(network: Network): Promise<Plug> {
  const socket = path.join(folder, "vhost");
  await network.listen(`vhost-user:${socket}`);
  const end = new FrontEnd(socket, { memory: 16 * 1_048_576, buffer: 70_000, buffers: 16 });
  await end.start();
  return {
    send: (specs) => {
      for (const [i, spec] of specs.entries()) {
        const length = (spec.payload as Uint8Array | undefined)?.length ?? 0;
        const frame = spec.tcp === undefined ? encodeFrame(spec) : undoneFrame(spec);
        const header = new Uint8Array(end.header);
        virtioWrite(header, 0, spec.tcp === undefined ? 0 : length > 1_448 ? 1_448 : 1, frame, 0, frame.length);
        expect(header.length).toBeGreaterThanOrEqual(VIRTIO_NET_HEADER);
        // In pages, as a driver's payload is.
        end.offerFrame(frame, [header.length + 54, 16_384, 16_384], 4 * i, header);
      }
      end.kick(SEND);
    },
    receive: () => end.until(() => end.takeFrame()?.frame ?? null, "a frame"),
    close: () => end.close(),
  };
}

/** Records a guest that sends these batches and is sent `DOWN` bytes. Returns the lengths of the writes to the host's socket. */
async function record(plugIn: (network: Network) => Plug | Promise<Plug>, payload = true): Promise<number[]> {
  const network = await createNetwork({ record: { file, payload } });
  const plug = await plugIn(network);
  const eth = { src: GUEST_MAC, dst: GATEWAY_MAC };
  const { port } = server.address() as AddressInfo;
  let seq = 1_000;
  let ack = 0;
  const segment = (flags: string, length = 0): FrameSpec => {
    const spec = {
      eth,
      ip: { src: GUEST_IP, dst: "10.0.2.2" },
      tcp: { srcPort: 5_000, dstPort: port, seq, ack, flags, window: 65_535 },
      payload: new Uint8Array(length).fill(seq & 0x7f),
    };
    seq += length;
    return spec;
  };
  plug.send([{ eth, arp: { senderIp: GUEST_IP, targetIp: "10.0.2.2" } }]);
  plug.send([segment("SYN")]);
  seq++;
  for (let down = 0; down < DOWN; ) {
    const { tcp, payload: bytes } = decodeFrame(await plug.receive());
    if (tcp === undefined) continue;
    if (tcp.flags.includes("SYN")) ack = tcp.seq + 1;
    else if (tcp.seq !== ack) continue;
    down += bytes.length;
    ack += bytes.length;
    plug.send([segment("ACK")]);
  }
  let sent = 0;
  for (const batch of BATCHES) {
    plug.send(batch.map((length) => segment("ACK", length)));
    sent += batch.reduce((sum, length) => sum + length, 0);
    await expect.poll(() => received).toBe(sent);
  }
  plug.close();
  await network.close();
  return [...new RecordingReader(file)].filter(({ name }) => name === "write").map(({ values }) => values[1] as number);
}

async function replays(): Promise<void> {
  const { difference, crash, broken } = await replayFile(file);
  expect([difference?.message, crash, broken]).toEqual([undefined, null, null]);
}

it.each([true, false])(
  "long and short segments in one batch replay as the same writes, payload %s",
  async (payload) => {
    expect((await record(inMemory, payload))[0]).toBe(33_000);
    await replays();
  },
);

it.each<ImpairmentOptions>([{ delay: 1 }, { loss: 0 }, { rate: 8e9 }])(
  "so do those over a bad line, %j",
  async (rule) => {
    await record((network) => {
      network.impair([rule]);
      return inMemory(network);
    });
    await replays();
  },
);

describe.runIf(sharedLibc() !== null)("a guest by vhost-user", () => {
  it.each([true, false])("replays, with segments longer than the MTU, payload %s", async (payload) => {
    const writes = await record(byVhostUser, payload);
    expect(Math.max(...writes)).toBeGreaterThan(30_000);
    // Without payload it stays in the guest's memory, as it does where nothing is recorded.
    const left = [...new RecordingReader(file)].filter(({ name }) => name === "left").length;
    expect(left).toBe(payload ? 0 : BATCHES.flat().filter((length) => length >= LONG).length);
    await replays();
  });
});
