/** A stack with one guest and one established connection, on a cable and a host that keep nothing but counts. */
import { resolveOptions } from "../src/control/options.ts";
import type { Clock } from "../src/core/clock.ts";
import type { HostNet, HostTcp, HostTcpEvents } from "../src/core/host-net.ts";
import type { Link, LinkReceiver, Slab } from "../src/core/link.ts";
import { NO_TAP } from "../src/core/tap.ts";
import { DROP_REASONS, type DropReason, type Trace } from "../src/core/trace.ts";
import { RecordedReceiver } from "../src/record/cables.ts";
import type { Recorder } from "../src/record/recorder.ts";
import { recordedParts } from "../src/record/recording.ts";
import type { StackParts } from "../src/stack/parts.ts";
import { Stack } from "../src/stack.ts";
import { region } from "../src/wire/arena.ts";
import { get32, put16, put32 } from "../src/wire/bytes.ts";
import { finish, fold, sum } from "../src/wire/checksum.ts";
import { ETH_HEADER } from "../src/wire/ethernet.ts";
import { IPV4_HEADER, ipv4Pseudo, ipv4TotalLength, PROTO_TCP } from "../src/wire/ipv4.ts";
import { SYN, TCP_HEADER, tcpAck, tcpFlags, tcpHeaderLength, tcpSeq } from "../src/wire/tcp.ts";
import { ManualClock } from "../test/support/clock.ts";
import { encodeFrame, type TcpSpec } from "../test/support/frames.ts";
import { SeededRandom } from "../test/support/random.ts";

export const MSS = 1_460;
/** Where a frame's TCP header stands. */
const TCP_AT: number = ETH_HEADER + IPV4_HEADER;
/** A full frame. */
export const FRAME: number = TCP_AT + TCP_HEADER + MSS;

/** A frame from the guest to the far end. */
export function segment(tcp: TcpSpec, payload: Uint8Array = new Uint8Array(0)): Uint8Array {
  return encodeFrame({
    eth: { src: "52:54:00:12:34:56", dst: "52:55:0a:00:02:02" },
    ip: { src: "10.0.2.15", dst: "198.51.100.1" },
    tcp: { srcPort: 1_000, dstPort: 80, ...tcp },
    payload,
  });
}

/** What remains of a segment's checksum when neither numbers nor checksum count. */
export function baseSum(frame: Uint8Array): number {
  const bare = frame.slice();
  bare.fill(0, TCP_AT + 4, TCP_AT + 12);
  put16(bare, TCP_AT + 16, 0);
  const len = bare.length - TCP_AT;
  const [from, to] = [get32(bare, ETH_HEADER + 12), get32(bare, ETH_HEADER + 16)];
  return fold(ipv4Pseudo(from, to, PROTO_TCP, len) + sum(bare, TCP_AT, len));
}

/** Gives the segment of the frame at `at` its numbers, and the checksum that they make with `base`. */
export function number(buf: Uint8Array, at: number, base: number, seq: number, ack: number): void {
  const tcp = at + TCP_AT;
  put32(buf, tcp + 4, seq);
  put32(buf, tcp + 8, ack);
  put16(buf, tcp + 16, finish(base + (seq >>> 16) + (seq & 0xffff) + (ack >>> 16) + (ack & 0xffff)));
}

/** Forgets frames once they are flushed. */
export class DiscardingLink implements Link {
  readonly name: string = "bench";
  readonly tx: Uint8Array = region(1_048_576);
  /** Called with each frame's offset in `tx` and its length. */
  onCommit: (at: number, len: number) => void = () => {};
  #used = 0;

  reserve(len: number): number {
    return this.#used + len > this.tx.length ? -1 : this.#used;
  }

  commit(len: number): void {
    this.onCommit(this.#used, len);
    this.#used += len;
  }

  flush(): void {
    this.#used = 0;
  }

  close(): void {}
}

/** For guests with an MTU of 1500. Nothing of the host is there but `connect` and `openUdp`. */
export function stackOf(
  clock: Clock,
  connect: HostNet["connectTcp"],
  drop: Trace["drop"],
  recorder: Recorder | null = null,
  openUdp: HostNet["openUdp"] = refuse,
): Stack {
  const host: HostNet = {
    connectTcp: connect,
    listenTcp: refuse,
    openUdp,
    cork() {},
    uncork() {},
    bindUdp: refuse,
    openPing: refuse,
  };
  const parts: StackParts = {
    host,
    dns: { query: refuse, close() {} },
    clock,
    random: new SeededRandom(1),
    trace: { drop, event() {} },
  };
  const { stack } = resolveOptions({ mtu: 1500 });
  return new Stack(stack, recorder === null ? parts : recordedParts(recorder, parts));
}

/** The guest's end of the connection, and the host's. */
export class Guest {
  readonly link: DiscardingLink = new DiscardingLink();
  readonly clock: ManualClock = new ManualClock(1_000);
  readonly stack: Stack;
  /** Whom the cable hands its frames to: the stack, or the recorder in front of it. */
  readonly receiver: LinkReceiver;
  readonly slab: Slab = { bytes: region(262_144), scarce: false, pin: refuse, unpin: refuse };
  /** The connection's, as the host's socket calls them. */
  readonly events: HostTcpEvents;
  /** What the guest sends next, and what it expects. */
  seq = 1;
  ack = 0;
  /** The last acknowledgement that came. */
  acked = 0;
  /** Frames and payload that came, and payload that reached the host's socket. */
  frames = 0;
  bytesDown = 0;
  bytesUp = 0;
  /** A look at what is written to the host's socket. */
  onWrite: ((bytes: Uint8Array, at: number, len: number) => void) | null = null;
  /** A look at the payload of a frame. */
  onPayload: ((bytes: Uint8Array, at: number, len: number) => void) | null = null;
  /** Where each data segment that has not been acknowledged ends. */
  readonly ends: number[] = [];
  readonly #drops: Record<DropReason, number> = Object.fromEntries(DROP_REASONS.map((r) => [r, 0])) as never;

  /** `idle` further connections are open beside the one that is measured. `far` makes the far ends, instead of the host. */
  constructor(idle = 0, far: ((events: HostTcpEvents) => HostTcp) | null = null, recorder: Recorder | null = null) {
    let events: HostTcpEvents | null = null;
    const socket: HostTcp = {
      backlog: 0,
      local: null,
      write: (slab, at, len) => {
        this.bytesUp += len;
        this.onWrite?.(slab.bytes, at, len);
      },
      end: refuse,
      pause: refuse,
      resume() {},
      reset: refuse,
    };
    const connect: HostNet["connectTcp"] = (_to, e) => {
      events = e;
      return far === null ? socket : far(e);
    };
    this.stack = stackOf(this.clock, connect, (reason) => this.#drops[reason]++, recorder);
    this.receiver = recorder === null ? this.stack : new RecordedReceiver(recorder, this.stack, NO_TAP);
    this.link.onCommit = (at, len) => this.#take(at, len);
    this.receiver.attached(this.link);
    const open = (srcPort: number): void => {
      this.#send(segment({ srcPort, flags: "SYN", seq: 0, options: { mss: MSS, windowScale: 7 }, window: 65_535 }));
      if (events === null) throw new Error("the stack did not dial");
      events.onConnect();
      this.#send(segment({ srcPort, flags: "ACK", seq: 1, ack: this.ack >>> 0, window: 65_535 }));
    };
    for (let i = 0; i < idle; i++) open(2_000 + i);
    open(1_000);
    this.events = events!;
    this.frames = 0;
  }

  /** Throws when the stack has dropped anything. */
  checkDrops(): void {
    for (const [reason, n] of Object.entries(this.#drops)) if (n > 0) throw new Error(`${n} dropped: ${reason}`);
  }

  #send(frame: Uint8Array): void {
    this.slab.bytes.set(frame);
    this.receiver.receive(this.link, this.slab, 0, frame.length);
    this.receiver.batchEnd(this.link);
  }

  #take(at: number, len: number): void {
    const { tx } = this.link;
    const tcp = at + TCP_AT;
    const header = tcpHeaderLength(tx, tcp);
    const size = ipv4TotalLength(tx, at + ETH_HEADER) - IPV4_HEADER - header;
    if (size !== len - TCP_AT - header) throw new Error("a frame's length is wrong");
    const seq = tcpSeq(tx, tcp);
    this.frames++;
    this.acked = tcpAck(tx, tcp);
    if ((tcpFlags(tx, tcp) & SYN) !== 0) this.ack = (seq + 1) | 0;
    else if (seq !== this.ack) throw new Error("a segment is not the next one");
    if (size === 0) return;
    this.ack = (this.ack + size) | 0;
    this.bytesDown += size;
    this.ends.push(this.ack);
    this.onPayload?.(tx, tcp + header, size);
  }
}

export function refuse(): never {
  throw new Error("not in this benchmark");
}
