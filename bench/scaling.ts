/**
 * `npm run bench:scale`: what a packet costs beside many flows, and with many guests, in process and without a system call.
 *
 * Nanoseconds are of processor time, since others may use the machine, too. A packet is a segment of 64 bytes from a guest, that
 * ends in its host socket's `write`, with the acknowledgement to it. A read of a cable brings ten. Sizes are interleaved round by
 * round, and a size is held against the smallest one of the same round.
 * `by turns`: each packet is the next connection's, so that with many of them none is in the processor's caches any more.
 * `--brief` shows that it works.
 */

import { LanGuard } from "../src/attach/guard.ts";
import { Switch } from "../src/attach/switch.ts";
import { resolveOptions } from "../src/control/options.ts";
import type { HostNet, HostTcp, HostTcpEvents } from "../src/core/host-net.ts";
import type { LinkReceiver, Slab } from "../src/core/link.ts";
import { NO_TAP } from "../src/core/tap.ts";
import type { Trace } from "../src/core/trace.ts";
import { GATEWAY_MAC6, gatewayMac } from "../src/stack/gateway-mac.ts";
import { Stack } from "../src/stack.ts";
import { region } from "../src/wire/arena.ts";
import { put16 } from "../src/wire/bytes.ts";
import { ETH_HEADER } from "../src/wire/ethernet.ts";
import { IPV4_HEADER } from "../src/wire/ipv4.ts";
import { tcpSeq } from "../src/wire/tcp.ts";
import { ManualClock } from "../test/support/clock.ts";
import { encodeFrame, type TcpSpec } from "../test/support/frames.ts";
import { SeededRandom } from "../test/support/random.ts";
import { same } from "./case.ts";
import { baseSum, DiscardingLink, number, refuse } from "./guest.ts";
import { compare, interval } from "./system/statistics.ts";

const brief = process.argv.includes("--brief");
const FLOWS = brief ? [10, 100] : [10, 1_000, 10_000, 50_000];
const GUESTS = brief ? [1, 3] : [1, 10, 100];
const ROUNDS = brief ? 3 : 15;
/** Packets of one round, and of one read. */
const PACKETS = brief ? 640 : 25_600;
const READ = 10;
const SIZE = 64;
const TCP_AT = ETH_HEADER + IPV4_HEADER;
/** With so much more the cost is flat. */
const FLAT = 1.1;

const FIRST_PORT = 2_000;

/** A guest's connections, one a port, in as little memory as can be: the caches are to be the network's. */
interface Sender {
  /** What each sends, without its port and its numbers, and what remains of the checksum then. */
  readonly frame: Uint8Array;
  readonly base: number;
  /** Of the next segment, by connection. */
  readonly seq: Int32Array;
  readonly ack: Int32Array;
}

/** A network, and the guests on it with their connections. */
class Net {
  readonly clock: ManualClock = new ManualClock(1_000);
  readonly stack: Stack;
  readonly receiver: LinkReceiver;
  readonly links: DiscardingLink[] = [];
  /** By guest. */
  readonly senders: Sender[] = [];
  readonly slab: Slab = { bytes: region(262_144), scarce: false, pin: refuse, unpin: refuse };
  written = 0;
  acknowledged = 0;
  #guest = 0;
  #flow = 0;

  /** `flows` connections of each of so many guests. */
  constructor(guests: number, flows: number) {
    const { stack: config } = resolveOptions({
      ...{ mtu: 1500, subnet: "10.0.0.0/16" },
      limits: { tcpFlows: 1_048_576, tcpFlowsPerGuest: 1_048_576 },
    });
    let dialled: HostTcpEvents | null = null;
    const socket: HostTcp = {
      ...{ backlog: 0, local: null, end: refuse, pause: refuse, resume() {}, reset: refuse },
      write: (_slab, _at, len) => {
        this.written += len;
      },
    };
    const host = {
      cork() {},
      uncork() {},
      connectTcp(_to: unknown, events: HostTcpEvents) {
        dialled = events;
        return socket;
      },
    };
    const trace: Trace = {
      event() {},
      drop(reason) {
        throw new Error(`dropped: ${reason}`);
      },
    };
    const { clock } = this;
    this.stack = new Stack(config, {
      ...{ host: host as unknown as HostNet, dns: { query: refuse, close() {} } },
      ...{ clock, random: new SeededRandom(1), trace },
    });
    const lan = { inner: this.stack, clock, trace, tap: NO_TAP, gatewayMacs: [gatewayMac(config), GATEWAY_MAC6] };
    this.receiver = new Switch({ ...lan, guard: new LanGuard(this.stack.ownership) });
    for (let nth = 0; nth < guests; nth++) {
      const link = new DiscardingLink();
      this.links.push(link);
      this.receiver.attached(link);
      const mac = `52:54:00:00:00:${(nth + 1).toString(16).padStart(2, "0")}`;
      const ip = `10.0.1.${nth + 1}`;
      const frame = (tcp: TcpSpec, payload = new Uint8Array(0)): Uint8Array =>
        encodeFrame({
          ...{ eth: { src: mac, dst: "52:55:0a:00:02:02" }, ip: { src: ip, dst: "198.51.100.1" } },
          ...{ tcp: { dstPort: 80, ...tcp }, payload },
        });
      let answer = 0;
      link.onCommit = (at) => {
        answer = tcpSeq(link.tx, at + TCP_AT);
      };
      const deliver = (bytes: Uint8Array): void => {
        this.slab.bytes.set(bytes);
        this.receiver.receive(link, this.slab, 0, bytes.length);
        this.receiver.batchEnd(link);
      };
      const bare = frame({ srcPort: 0, flags: "PSH ACK", seq: 0, ack: 0, window: 65_535 }, new Uint8Array(SIZE));
      const numbers = { seq: new Int32Array(flows).fill(1), ack: new Int32Array(flows) };
      for (let i = 0; i < flows; i++) {
        const srcPort = FIRST_PORT + i;
        deliver(frame({ srcPort, flags: "SYN", seq: 0, options: { mss: 1_460 }, window: 65_535 }));
        dialled!.onConnect();
        const ack = (answer + 1) | 0;
        deliver(frame({ srcPort, flags: "ACK", seq: 1, ack: ack >>> 0, window: 65_535 }));
        numbers.ack[i] = ack;
      }
      this.senders.push({ frame: bare, base: baseSum(bare), ...numbers });
      link.onCommit = () => {
        this.acknowledged++;
      };
    }
    same("connections", this.stack.gauges().tcpFlows, guests * flows);
  }

  /** A round of reads. */
  round(turns: boolean): void {
    for (let left = PACKETS; left > 0; left -= READ) this.read(turns);
  }

  /** A read of the next guest's cable. `turns`: each packet is the next connection's; else all are of one. */
  read(turns: boolean): void {
    const guest = this.#guest;
    this.#guest = (guest + 1) % this.links.length;
    const { frame, base, seq, ack } = this.senders[guest]!;
    const { bytes } = this.slab;
    const link = this.links[guest]!;
    let flow = this.#flow % seq.length;
    let at = 0;
    for (let k = 0; k < READ; k++) {
      const port = FIRST_PORT + flow;
      bytes.set(frame, at);
      put16(bytes, at + TCP_AT, port);
      number(bytes, at, base + port, seq[flow]!, ack[flow]!);
      seq[flow] = (seq[flow]! + SIZE) | 0;
      this.receiver.receive(link, this.slab, at, frame.length);
      at += frame.length;
      if (turns && ++flow === seq.length) flow = 0;
    }
    this.receiver.batchEnd(link);
    if (turns) this.#flow = flow;
    if (this.written !== READ * SIZE || this.acknowledged === 0) throw new Error("a read did not reach its host");
    this.written = 0;
    this.acknowledged = 0;
    this.clock.advance(1);
    const now = this.clock.now();
    if (this.stack.pollAt() <= now) this.stack.poll(now);
  }
}

/** One column of a table: nanoseconds a packet, round by round. */
interface Size {
  readonly name: string;
  readonly run: () => void;
  readonly nanos: number[];
}

function measure(sizes: readonly Size[]): void {
  for (let round = -2; round < ROUNDS; round++)
    for (let i = 0; i < sizes.length; i++) {
      const size = sizes[(i + round + sizes.length) % sizes.length]!;
      const began = process.cpuUsage();
      size.run();
      const { user, system } = process.cpuUsage(began);
      const nanos = ((user + system) * 1000) / PACKETS;
      // What comes before is for the compiler.
      if (round >= 0) size.nanos.push(nanos);
    }
}

function report(title: string, sizes: readonly Size[]): void {
  measure(sizes);
  console.log(`\n| ${title} | ns a packet | 95 % within | of the first | 95 % within | flat within a tenth |`);
  console.log("| --- | ---: | ---: | ---: | ---: | --- |");
  for (const size of sizes) {
    const { mean, low, high } = interval(size.nanos);
    const own = [mean.toFixed(0), `${low.toFixed(0)}–${high.toFixed(0)}`];
    const first = sizes[0]!;
    const beside = compare(
      size.nanos.map((nanos, round) => [first.nanos[round]!, nanos] as const),
      "less",
    );
    const flat = beside.high <= FLAT ? "yes" : beside.low > FLAT ? "no" : "cannot be told";
    const held = [beside.ratio.toFixed(2), `${beside.low.toFixed(2)}–${beside.high.toFixed(2)}`, flat];
    console.log(`| ${[size.name, ...own, ...(size === first ? ["", "", ""] : held)].join(" | ")} |`);
  }
}

const count = (n: number, what: string): string => `${n.toLocaleString("en")} ${what}${n === 1 ? "" : "s"}`;

function flows(turns: boolean): Size[] {
  return FLOWS.map((n) => {
    const net = new Net(1, n);
    return { name: count(n, "flow"), run: () => net.round(turns), nanos: [] };
  });
}

function guests(own: boolean): Size[] {
  return GUESTS.map((n) => {
    const nets = Array.from({ length: own ? n : 1 }, () => new Net(own ? 1 : n, 10));
    let next = 0;
    const run = (): void => {
      if (!own) return nets[0]!.round(true);
      for (let left = PACKETS; left > 0; left -= READ) {
        nets[next]!.read(true);
        next = (next + 1) % nets.length;
      }
    };
    return { name: count(n, "guest"), run, nanos: [] };
  });
}

report("one flow, beside others at rest", flows(false));
report("flows by turns", flows(true));
report("guests by turns, on one network", guests(false));
report("guests by turns, each on its own network", guests(true));
