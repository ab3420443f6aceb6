/**
 * Caps in bytes, as somebody sees them who looks from outside: the resident memory of `tslirp serve`, with real sockets
 * on the host's side, while a guest does what costs most.
 */
import { once } from "node:events";
import fs from "node:fs";
import net from "node:net";
import path from "node:path";
import { afterEach, expect, test } from "vitest";
import { Command, temporaryFolder } from "../cli/command.ts";
import { decodeFrame, encodeFrame, type Frame, type FrameSpec } from "../support/frames.ts";
import { GATEWAY_MAC } from "../support/packet-script.ts";

const MIB = 1 << 20;
const MAC = "52:54:00:00:00:15";
const IP = "10.0.2.15";
const CONNECTIONS = 4_000;
/** What connections cost beside their bytes: flow, host socket, Node's objects. docs/limits.md has no cap for it. */
const EACH = 16_000;

const open: { close(): void }[] = [];
afterEach(() => {
  for (const it of open.splice(0).reverse()) it.close();
});

/** A guest without a stack: frames as the test wants them. */
class Wire {
  onFrame: (frame: Frame) => void = () => {};
  readonly #socket: net.Socket;
  #unread: Buffer = Buffer.alloc(0);

  constructor(socket: net.Socket) {
    this.#socket = socket;
    socket.on("data", (bytes: Buffer) => {
      this.#unread = Buffer.concat([this.#unread, bytes]);
      for (;;) {
        if (this.#unread.length < 4) return;
        const end = 4 + this.#unread.readUInt32BE(0);
        if (this.#unread.length < end) return;
        // Less what pads a short frame.
        const length = this.#unread.readUInt16BE(16) === 0x0800 ? 14 + this.#unread.readUInt16BE(20) : end - 4;
        const frame = decodeFrame(Uint8Array.from(this.#unread.subarray(4, 4 + length)));
        this.#unread = this.#unread.subarray(end);
        const { arp } = frame;
        if (arp === undefined) this.onFrame(frame);
        else if (arp.op === "request" && arp.targetIp === IP) {
          const answer = { senderMac: MAC, senderIp: IP, targetMac: arp.senderMac, targetIp: arp.senderIp };
          this.send({ eth: { dst: arp.senderMac }, arp: { op: "reply", ...answer } });
        }
      }
    });
  }

  send(spec: FrameSpec): void {
    const eth = { src: MAC, dst: spec.arp === undefined ? GATEWAY_MAC : "ff:ff:ff:ff:ff:ff", ...spec.eth };
    const frame = encodeFrame({ ...spec, eth, ...(spec.arp === undefined ? { ip: { src: IP, ...spec.ip } } : {}) });
    const length = Buffer.alloc(4);
    length.writeUInt32BE(frame.length);
    this.#socket.write(Buffer.concat([length, frame]));
  }
}

interface Rig {
  readonly command: Command;
  readonly wire: Wire;
  /** Of the process, in bytes, when it does not change any more. */
  memory(): Promise<number>;
}

async function rig(...args: string[]): Promise<Rig> {
  const folder = temporaryFolder();
  const at = path.join(folder, "n.sock");
  const command = new Command(["serve", "--listen", `unix:${at}`, ...args]);
  open.push(
    { close: () => void command.stop("SIGKILL") },
    { close: () => fs.rmSync(folder, { recursive: true, force: true }) },
  );
  await command.printed(/Append/);
  const socket = net.connect(at);
  await once(socket, "connect");
  open.push({ close: () => socket.destroy() });
  const wire = new Wire(socket);
  wire.send({ arp: { senderMac: MAC, senderIp: IP, targetIp: "10.0.2.2" } });
  const resident = (): number => {
    const [, kilobytes = "0"] = /VmRSS:\s+(\d+) kB/.exec(fs.readFileSync(`/proc/${command.child.pid}/status`, "utf8"))!;
    return Number(kilobytes) * 1024;
  };
  const memory = async (): Promise<number> => {
    let last = resident();
    for (let same = 0, n = 0; same < 5 && n < 120; n++) {
      // Nothing in the process tells that it has come to rest.
      await new Promise((resolve) => setTimeout(resolve, 200));
      const now = resident();
      same = Math.abs(now - last) < MIB ? same + 1 : 0;
      last = now;
    }
    return last;
  };
  return { command, wire, memory };
}

/** Opens connections to `port` of the host, each with a window of `window`; resolves when all are. */
async function connectAll(
  wire: Wire,
  port: number,
  window: number,
  then: (srcPort: number, ack: number) => void,
): Promise<void> {
  let next = 0;
  let done = 0;
  await new Promise<void>((resolve) => {
    const dial = (): void => {
      if (next === CONNECTIONS) return;
      const tcp = {
        flags: "SYN",
        srcPort: 10_000 + next++,
        dstPort: port,
        seq: 0,
        ack: 0,
        window,
        options: { mss: 1_460 },
      };
      wire.send({ ip: { dst: "10.0.2.2" }, tcp });
    };
    wire.onFrame = ({ tcp }) => {
      if (tcp === undefined || !tcp.flags.includes("SYN")) return;
      const ack = (tcp.seq + 1) >>> 0;
      wire.send({
        ip: { dst: "10.0.2.2" },
        tcp: { flags: "ACK", srcPort: tcp.dstPort, dstPort: port, seq: 1, ack, window },
      });
      then(tcp.dstPort, ack);
      dial();
      if (++done === CONNECTIONS) resolve();
    };
    for (let n = 0; n < 64; n++) dial();
  });
}

test("sendBytes: thousands of hosts send to guests that open no window", { timeout: 120_000 }, async () => {
  const chunk = Buffer.alloc(256 * 1024, 0x78);
  const server = net.createServer((socket) => socket.on("error", () => {}).write(chunk)).listen(0, "127.0.0.1");
  open.push({ close: () => server.close() });
  await once(server, "listening");
  const { wire, memory } = await rig();
  const before = await memory();
  await connectAll(wire, (server.address() as net.AddressInfo).port, 0, () => {});
  const grown = (await memory()) - before;
  expect(grown).toBeLessThan(64 * MIB + CONNECTIONS * EACH);
});

test("outOfOrderBytes: a guest sends one byte in two, and never what is between", { timeout: 120_000 }, async () => {
  const server = net.createServer((socket) => socket.on("error", () => {}).pause()).listen(0, "127.0.0.1");
  open.push({ close: () => server.close() });
  await once(server, "listening");
  const port = (server.address() as net.AddressInfo).port;
  const { wire, memory } = await rig();
  const before = await memory();
  await connectAll(wire, port, 65_535, (srcPort, ack) => {
    for (let n = 0; n < 64; n++) {
      const tcp = { flags: "ACK", srcPort, dstPort: port, seq: 3 + 2 * n, ack, window: 65_535 };
      wire.send({ ip: { dst: "10.0.2.2" }, tcp, payload: new Uint8Array(1) });
    }
  });
  const grown = (await memory()) - before;
  expect(grown).toBeLessThan(64 * MIB + CONNECTIONS * EACH);
});
