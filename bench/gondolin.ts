/**
 * `npm run bench:gondolin -- FOLDER`: this stack beside the other one in TypeScript, `@earendil-works/gondolin`, in one
 * process and without any socket. Nothing is fetched: FOLDER is where its package has been installed.
 *
 * Both get the same: a guest's bytes with QEMU's framing, as reads of its socket give them, and reads of a host's socket
 * the other way; both give bytes with QEMU's framing back. One connection, segments of 1460 bytes, a guest without window
 * scaling (the other stack has none), every second segment acknowledged, a read of the host's sent when the one before has
 * been acknowledged. First all frames are decoded and all bytes compared, then, against the clock, they are counted. The
 * clock is that of the thread where Linux tells it, which stands while others have the processor.
 */
import { readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { FrameDecoder } from "../src/attach/decoder.ts";
import { SlabPool } from "../src/attach/slab.ts";
import { TransmitQueue } from "../src/attach/transmit.ts";
import type { HostTcpEvents } from "../src/core/host-net.ts";
import type { Link } from "../src/core/link.ts";
import { NO_TRACE } from "../src/core/trace.ts";
import type { Stack } from "../src/stack.ts";
import { get16, get32, put32 } from "../src/wire/bytes.ts";
import { ETH_HEADER } from "../src/wire/ethernet.ts";
import { IPV4_HEADER } from "../src/wire/ipv4.ts";
import { SYN, tcpAck, tcpFlags, tcpHeaderLength, tcpSeq } from "../src/wire/tcp.ts";
import { ManualClock } from "../test/support/clock.ts";
import { decodeFrame } from "../test/support/frames.ts";
import { baseSum, MSS, number, refuse, segment, stackOf } from "./guest.ts";
import { machineName } from "./system/meter.ts";
import { spreadOf, spreadText } from "./system/report.ts";
import { comparing, MAX_ROUNDS, READ, randomBytes } from "./walks.ts";

const brief = process.argv.includes("--brief");
const PAIRS = brief ? 1 : 10;
const MILLIS = brief ? 20 : 400;
/** Round trips that are looked at closely before the clock runs. */
const LOOKED_AT = 20;
/** The other stack's sequence numbers do not wrap. */
const MOST_BYTES = 1.5e9;
const PREFIX = 4;
/** Segments of one read, all that a window without scaling allows. */
const BATCH = Math.floor(65_535 / MSS);
const TCP_AT = ETH_HEADER + IPV4_HEADER;

type Bytes = (bytes: Uint8Array, at: number, len: number) => void;

/** What is compared: between a guest's socket and one of the host's. */
interface Network {
  /** Where the guest's bytes are read to. */
  area(): Uint8Array;
  /** So many of them. */
  fromGuest(len: number): void;
  /** Hands over one write to the guest's socket; false when there is none. */
  toGuest(take: (bytes: Uint8Array) => void): boolean;
  /** The host's socket is connected. */
  connected(): void;
  fromHost(data: Buffer): void;
  /** What is written to the host's socket. */
  toHost: Bytes;
}

class Tslirp implements Network {
  toHost: Bytes = () => {};
  readonly #writes: { bytes: Uint8Array; done: () => void }[] = [];
  readonly #clock = new ManualClock(1_000);
  readonly #stack: Stack;
  readonly #decoder: FrameDecoder;
  #host: HostTcpEvents | null = null;

  constructor() {
    const connect = (_to: unknown, events: HostTcpEvents) => {
      this.#host = events;
      const write = (slab: { bytes: Uint8Array }, at: number, len: number): void => this.toHost(slab.bytes, at, len);
      return { backlog: 0, local: null, write, end: refuse, pause() {}, resume() {}, reset: refuse };
    };
    this.#stack = stackOf(this.#clock, connect, (reason) => {
      throw new Error(`dropped: ${reason}`);
    });
    const write = (bytes: Uint8Array, done: () => void): boolean => {
      this.#writes.push({ bytes, done });
      return false;
    };
    const queue = new TransmitQueue({ write }, () => this.#stack.writable(link));
    const link: Link = {
      name: "bench",
      get tx() {
        return queue.tx;
      },
      reserve: (len) => queue.reserve(len),
      commit: (len) => queue.commit(len),
      flush: () => queue.flush(),
      close: refuse,
    };
    this.#decoder = new FrameDecoder(new SlabPool(), this.#stack, link, NO_TRACE);
    this.#stack.attached(link);
  }

  area(): Uint8Array {
    return this.#decoder.readArea;
  }

  fromGuest(len: number): void {
    this.#clock.advance(1);
    if (!this.#decoder.received(len)) throw new Error("the decoder gave up");
  }

  toGuest(take: (bytes: Uint8Array) => void): boolean {
    const write = this.#writes.shift();
    if (write === undefined) return false;
    take(write.bytes);
    write.done();
    return true;
  }

  connected(): void {
    this.#host!.onConnect();
  }

  fromHost(data: Buffer): void {
    this.#host!.onData(data, 0, data.length);
  }
}

/** What is used of the other stack: see its `qemu/net.js`, which does the same between its sockets. */
interface NetworkStack {
  writeToNetwork(chunk: Buffer): void;
  readFromNetwork(most: number): Buffer | null;
  handleTcpConnected(message: { key: string }): void;
  handleTcpData(message: { key: string; data: Buffer }): void;
  on(event: "error" | "tx-drop" | "tcp-deny", listener: (what: unknown) => void): void;
}
type NetworkStackClass = new (options: Record<string, unknown>) => NetworkStack;

class Gondolin implements Network {
  toHost: Bytes = () => {};
  readonly #area = Buffer.alloc(1 << 17);
  readonly #stack: NetworkStack;
  #key = "";

  constructor(Stack: NetworkStackClass) {
    const bytes = (text: string): Buffer => Buffer.from(text.replaceAll(":", ""), "hex");
    this.#stack = new Stack({
      ...{ gatewayIP: "10.0.2.2", vmIP: "10.0.2.15" },
      ...{ gatewayMac: bytes("52:55:0a:00:02:02"), vmMac: bytes("52:54:00:12:34:56") },
      callbacks: {
        onUdpSend: refuse,
        onTcpConnect: ({ key }: { key: string }) => {
          this.#key = key;
          return { allowRawTcp: true };
        },
        onTcpSend: ({ data }: { data: Buffer }) => this.toHost(data, 0, data.length),
        onTcpClose: refuse,
        // It is given no more before all is acknowledged.
        onTcpPause() {},
        onTcpResume() {},
      },
    });
    for (const event of ["error", "tx-drop", "tcp-deny"] as const)
      this.#stack.on(event, (what) => {
        throw new Error(`gondolin: ${event}`, { cause: what });
      });
  }

  area(): Uint8Array {
    return this.#area;
  }

  fromGuest(len: number): void {
    this.#stack.writeToNetwork(this.#area.subarray(0, len));
  }

  toGuest(take: (bytes: Uint8Array) => void): boolean {
    const bytes = this.#stack.readFromNetwork(65_536);
    if (bytes === null) return false;
    take(bytes);
    return true;
  }

  connected(): void {
    this.#stack.handleTcpConnected({ key: this.#key });
  }

  fromHost(data: Buffer): void {
    this.#stack.handleTcpData({ key: this.#key, data });
  }
}

/** Frames with the prefix before each, to be given their numbers. */
class Burst {
  readonly #image: Uint8Array;
  readonly #size: number;
  readonly #bases: number[] = [];

  constructor(frames: readonly Uint8Array[]) {
    this.#size = PREFIX + frames[0]!.length;
    this.#image = new Uint8Array(frames.length * this.#size);
    for (const [k, frame] of frames.entries()) {
      put32(this.#image, k * this.#size, frame.length);
      this.#image.set(frame, k * this.#size + PREFIX);
      this.#bases.push(baseSum(frame));
    }
  }

  /** `count` frames in `area`, `step` further in sequence each. Returns their bytes. */
  write(area: Uint8Array, count: number, seq: number, step: number, ack: (k: number) => number): number {
    area.set(this.#image.subarray(0, count * this.#size));
    for (let k = 0; k < count; k++)
      number(area, k * this.#size + PREFIX, this.#bases[k]!, (seq + k * step) | 0, ack(k));
    return count * this.#size;
  }
}

const WINDOW = 65_535;
const sent = randomBytes(BATCH * MSS);
const read = Buffer.from(randomBytes(READ));
const data = new Burst(
  Array.from({ length: BATCH }, (_, k) =>
    segment({ flags: "ACK", seq: 0, ack: 0, window: WINDOW }, sent.subarray(k * MSS, (k + 1) * MSS)),
  ),
);
const bare = segment({ flags: "ACK", seq: 0, ack: 0, window: WINDOW });
const acknowledgements = new Burst(Array.from({ length: BATCH }, () => bare));

/** The guest with its connection, and the far end behind the host's socket. */
class Ends {
  readonly #network: Network;
  readonly #take = (bytes: Uint8Array): void => this.#frames(bytes);
  readonly #ends: number[] = [];
  #seq = 1;
  #ack = 0;
  #acked = 0;
  #up = 0;
  #down = 0;
  #onFrame: ((frame: Uint8Array) => void) | null = null;

  constructor(network: Network) {
    this.#network = network;
    network.toHost = (_bytes, _at, len) => {
      this.#up += len;
    };
    this.#send(segment({ flags: "SYN", seq: 0, options: { mss: MSS }, window: WINDOW }));
    network.connected();
    this.#drain();
    this.#send(segment({ flags: "ACK", seq: 1, ack: this.#ack >>> 0, window: WINDOW }));
  }

  /** Compares and decodes everything, in so many round trips. */
  look(direction: "up" | "down"): void {
    const counting = this.#network.toHost;
    const compare = comparing(direction === "up" ? sent : read);
    this.#network.toHost = (bytes, at, len) => {
      compare(bytes, at, len);
      counting(bytes, at, len);
    };
    this.#onFrame = (frame) => {
      const { problems, payload } = decodeFrame(frame);
      if (problems.length > 0) throw new Error(problems.join(", "));
      if (payload.length > 0) compare(payload, 0, payload.length);
    };
    for (let i = 0; i < LOOKED_AT; i++) this[direction]();
    this.#network.toHost = counting;
    this.#onFrame = null;
  }

  /** Bytes up: a window's worth, and its acknowledgement. */
  up(): number {
    const before = this.#up;
    const ack = this.#ack;
    this.#network.fromGuest(data.write(this.#network.area(), BATCH, this.#seq, MSS, () => ack));
    this.#seq = (this.#seq + BATCH * MSS) | 0;
    this.#drain();
    if (this.#acked !== this.#seq || this.#up - before !== BATCH * MSS)
      throw new Error("a window was not acknowledged");
    return this.#up - before;
  }

  /** Bytes down: a read of the host's socket, acknowledged to its end. */
  down(): number {
    const before = this.#down;
    this.#network.fromHost(read);
    for (let rounds = 0; this.#drain(); rounds++) {
      if (rounds === MAX_ROUNDS) throw new Error("acknowledgements do not end");
      const ends = this.#ends;
      // Every second segment (RFC 9293 section 3.8.6.3), and the last.
      const first = ends.length % 2 === 0 ? 1 : 0;
      const count = (ends.length + 1) >> 1;
      const ack = (k: number): number => ends[first + 2 * k]!;
      const len = acknowledgements.write(this.#network.area(), count, this.#seq, 0, ack);
      ends.length = 0;
      this.#network.fromGuest(len);
    }
    if (this.#down - before !== READ) throw new Error("a read did not come through");
    return READ;
  }

  #send(frame: Uint8Array): void {
    const area = this.#network.area();
    put32(area, 0, frame.length);
    area.set(frame, PREFIX);
    this.#network.fromGuest(PREFIX + frame.length);
  }

  /** Takes all that comes; whether there was data. */
  #drain(): boolean {
    while (this.#network.toGuest(this.#take)) {}
    return this.#ends.length > 0;
  }

  #frames(bytes: Uint8Array): void {
    for (let at = 0; at < bytes.length; ) {
      const len = get32(bytes, at);
      const frame = at + PREFIX;
      const tcp = frame + TCP_AT;
      const seq = tcpSeq(bytes, tcp);
      const size = get16(bytes, frame + ETH_HEADER + 2) - IPV4_HEADER - tcpHeaderLength(bytes, tcp);
      this.#acked = tcpAck(bytes, tcp);
      this.#onFrame?.(bytes.subarray(frame, frame + len));
      if ((tcpFlags(bytes, tcp) & SYN) !== 0) this.#ack = (seq + 1) | 0;
      else if (seq !== this.#ack) throw new Error("a segment is not the next one");
      if (size > 0) {
        this.#ack = (this.#ack + size) | 0;
        this.#down += size;
        this.#ends.push(this.#ack);
      }
      at = frame + len;
    }
  }
}

/** Milliseconds. */
function now(): number {
  try {
    return Number(readFileSync("/proc/self/schedstat", "utf8").split(" ")[0]) / 1e6;
  } catch {
    return performance.now();
  }
}

/** Gbit/s of a new connection. */
function measure(network: Network, direction: "up" | "down"): number {
  const ends = new Ends(network);
  ends.look(direction);
  let bytes = 0;
  const start = now();
  let millis = 0;
  while (millis < MILLIS && bytes < MOST_BYTES) {
    for (let i = 0; i < 16; i++) bytes += ends[direction]();
    millis = now() - start;
  }
  return (bytes * 8) / millis / 1e6;
}

const folder = process.argv.slice(2).find((arg) => !arg.startsWith("-"));
if (folder === undefined) {
  process.stderr.write(
    "bench:gondolin: where is it? In an empty folder of its own, whose path is then the argument:\n" +
      "  npm install @earendil-works/gondolin@0.12.0 --ignore-scripts --omit=optional --no-save --engine-strict=false\n",
  );
  process.exit(2);
}
const home = join(resolve(folder), "node_modules/@earendil-works/gondolin");
const { version } = JSON.parse(readFileSync(join(home, "package.json"), "utf8")) as { version: string };
const { NetworkStack } = (await import(pathToFileURL(join(home, "dist/src/qemu/network-stack.js")).href)) as {
  NetworkStack: NetworkStackClass;
};

console.log(`${machineName()}; ${new Date().toISOString().slice(0, 10)}; ${PAIRS} pairs, ${MILLIS} ms each\n`);
console.log(`| in process | unit | tslirp | gondolin ${version} | tslirp is |`);
console.log("| --- | --- | ---: | ---: | ---: |");
for (const direction of ["up", "down"] as const) {
  const contenders = [() => new Tslirp(), () => new Gondolin(NetworkStack)];
  const figures: [number[], number[]] = [[], []];
  // The first pair is for the compiler.
  for (let pair = -1; pair < PAIRS; pair++) {
    for (const i of pair % 2 === 0 ? [0, 1] : [1, 0]) {
      const gbit = measure(contenders[i]!(), direction);
      if (pair >= 0) figures[i]!.push(gbit);
    }
  }
  const [ours, theirs] = figures;
  const ratios = spreadOf(ours.map((gbit, pair) => gbit / theirs[pair]!));
  const cells = [spreadText(spreadOf(ours), 2), spreadText(spreadOf(theirs), 2), `${spreadText(ratios, 1)} ×`];
  console.log(`| TCP ${direction}, 1 stream | Gbit/s | ${cells.join(" | ")} |`);
}
