/**
 * Packet scripts: what a guest sends, and what the stack must answer, line by line under a manual clock.
 *
 *     const script = new PacketScript();
 *     const tcp = script.tcp({ dstPort: 80 });
 *     tcp.send({ flags: "SYN", seq: 0, options: { mss: 1460 } });
 *     tcp.expect({ flags: "SYN ACK", seq: 0, ack: 1 });
 *     tcp.send({ flags: "ACK", seq: 1, ack: 1 }, "hello");
 *     script.advance(200);
 *     tcp.expect({ flags: "ACK", ack: 6 });
 *     script.expectNothing();
 *
 * `send` fills in what is not said: the guest's addresses, the gateway's MAC, right lengths and checksums. `expect`
 * takes the next frame that the stack has sent and compares only what is said. Every frame that goes out is checked
 * whole: lengths and checksums must be right. `script.tcp()` counts sequence numbers from each end's SYN, as RFC 9293's
 * figures do. The world is `script.host`; what it does shows when the script goes on.
 */
import { expect } from "vitest";
import { cable, type MemoryCable } from "../../src/attach/memory.ts";
import type { NetworkOptions } from "../../src/control/options.ts";
import { resolveOptions } from "../../src/control/options.ts";
import type { FileSource } from "../../src/core/files.ts";
import type { FlowGate } from "../../src/core/gate.ts";
import type { Offload } from "../../src/core/link.ts";
import { DROP_REASONS, type DropReason, type TraceEvent } from "../../src/core/trace.ts";
import { Stack } from "../../src/stack.ts";
import { ManualClock } from "./clock.ts";
import { FakeHost } from "./fake-host.ts";
import { ip6 } from "./frames/bytes.ts";
import {
  bytesOf,
  decodeFrame,
  encodeFrame,
  type Frame,
  type FrameSpec,
  isIpv6,
  type TcpOptionsSpec,
  type TcpSpec,
} from "./frames.ts";
import { offloading, type Undone } from "./offload.ts";
import { SeededRandom } from "./random.ts";

export const GUEST_MAC = "52:54:00:12:34:56";
export const GUEST_IP = "10.0.2.15";
export const GATEWAY_MAC = "52:55:0a:00:02:02";
/** Where a script's packets go unless it says otherwise: beyond the gateway (RFC 5737). */
export const FAR_IP = "198.51.100.1";
/** The guest's addresses by SLAAC (RFC 4862, RFC 4291 appendix A), and its first one by DHCPv6. */
export const GUEST_LINK_LOCAL = "fe80::5054:ff:fe12:3456";
export const GUEST_IP6 = "fec0::5054:ff:fe12:3456";
export const GUEST_LEASE6 = "fec0::15";
export const GATEWAY_IP6 = "fec0::2";
export const GATEWAY_LINK_LOCAL = "fe80::2";
export const DNS_IP6 = "fec0::3";
/** The gateway's MAC in IPv6. */
export const GATEWAY_MAC6 = "52:56:00:00:00:02";
/** `FAR_IP` in IPv6 (RFC 3849). */
export const FAR_IP6 = "2001:db8::1";

export class PacketScript {
  readonly clock: ManualClock = new ManualClock(1_000);
  readonly host: FakeHost = new FakeHost();
  readonly stack: Stack;
  cable: MemoryCable;
  readonly events: TraceEvent[] = [];
  /** DNS queries that reached the host; `answer` answers one. */
  readonly queries: { query: Uint8Array; tcp: boolean; answer: (answer: Uint8Array | null) => void }[] = [];
  readonly #drops: Record<DropReason, number> = Object.fromEntries(DROP_REASONS.map((r) => [r, 0])) as never;
  readonly #out: Frame[] = [];
  /** Router advertisements to all nodes, which come when they like: `expect` does not see them. */
  readonly adverts: Frame[] = [];

  /** All that was sent over a cable that offloads, before it was finished. */
  readonly undone: readonly Undone[];

  /** What waits for the end of the turn; null where nothing does. */
  readonly #turns: (() => void)[] | null;

  /**
   * A network with these options, MTU 1500 unless they say otherwise; `files` are what TFTP serves. With `turns` the cable
   * leads to another process: what goes to the guest waits for the ends of turns, which are `turn()`'s. `gate` is asked about
   * flows. With `offload` the guest's card takes frames that are not finished, and finishes them: the script sees what
   * comes of it, and `undone` what was sent.
   */
  constructor(
    options: NetworkOptions = {},
    files: FileSource | null = null,
    turns = false,
    gate: FlowGate | null = null,
    offload: Offload | null = null,
  ) {
    this.#turns = turns ? [] : null;
    const dns = {
      query: (query: Uint8Array, tcp: boolean, answer: (answer: Uint8Array | null) => void) => {
        this.queries.push({ query: query.slice(), tcp, answer });
      },
      close() {},
    };
    const trace = {
      drop: (reason: DropReason) => {
        this.#drops[reason]++;
      },
      event: (event: TraceEvent) => {
        this.events.push(event);
      },
    };
    const { host, clock } = this;
    const { stack, rules } = resolveOptions({ mtu: 1500, ...options });
    this.stack = new Stack(stack, {
      ...{ host, dns, files, gate, clock, trace, rules },
      random: new SeededRandom(1),
      ...(turns && { endOfTurn: (run: () => void) => void this.#turns!.push(run) }),
    });
    this.cable = this.plug();
    this.undone = offload === null ? [] : offloading(this.cable.link, offload);
    if (turns) Object.assign(this.cable.link, { direct: false });
  }

  /** Another cable, beside those that there are; it is the one that `send` uses from now on. */
  plug(): MemoryCable {
    this.cable = cable(this.stack, { onFrame: (frame) => this.#take(frame) });
    return this.cable;
  }

  /** A frame from the guest. Whatever the host owes is called back before and after. */
  send(frame: FrameSpec): void {
    this.sendRaw(encodeFrame(this.#fill(frame)));
  }

  /** Several frames in one read of the cable: one batch. */
  sendBatch(...frames: readonly FrameSpec[]): void {
    this.host.run();
    this.cable.send(...frames.map((frame) => encodeFrame(this.#fill(frame))));
    this.host.run();
  }

  /** Bytes as they are. */
  sendRaw(frame: Uint8Array): void {
    this.host.run();
    this.cable.send(frame);
    this.host.run();
  }

  /** The next frame to the guest must agree with all that `want` says; it is returned. */
  expect(want: FrameSpec): Frame {
    this.host.run();
    const frame = this.#out.shift();
    expect(frame, `no frame came, expected ${JSON.stringify(want)}`).toBeDefined();
    const { payload, ...fields } = want;
    const { tcp } = fields;
    // PSH is advice to the reader: it matters only where a script names it.
    const seen = tcp?.flags !== undefined && !tcp.flags.includes("PSH") ? withoutPush(frame!) : frame!;
    expect(seen).toMatchObject(
      tcp?.flags === undefined ? fields : { ...fields, tcp: { ...tcp, flags: inOrder(tcp.flags) } },
    );
    if (payload !== undefined) expect(Buffer.from(frame!.payload)).toEqual(Buffer.from(bytesOf(payload)));
    return frame!;
  }

  /** All frames to the guest that no `expect` has taken. */
  takeAll(): Frame[] {
    this.host.run();
    return this.#out.splice(0);
  }

  /** The stack has nothing (more) to say. */
  expectNothing(): void {
    this.host.run();
    expect(this.#out).toEqual([]);
  }

  /** How many packets have been dropped for this reason. */
  dropped(reason: DropReason): number {
    return this.#drops[reason];
  }

  /** Time passes, deadline by deadline, as long as nothing is sent beyond `millis`. */
  advance(millis: number): void {
    const end = this.clock.now() + millis;
    this.host.run();
    for (;;) {
      const next = this.stack.pollAt();
      if (next > end) break;
      this.clock.advance(Math.max(0, next - this.clock.now()));
      this.stack.poll(this.clock.now());
      this.host.run();
    }
    this.clock.advance(end - this.clock.now());
  }

  /** Time passes until the stack sends something; how long that was, in milliseconds. Fails after `limit`. */
  advanceUntilFrame(limit: number = 600_000): number {
    const from = this.clock.now();
    this.host.run();
    while (this.#out.length === 0) {
      const next = this.stack.pollAt();
      expect(next, "nothing will ever be sent").toBeLessThanOrEqual(from + limit);
      this.clock.advance(Math.max(0, next - this.clock.now()));
      this.stack.poll(this.clock.now());
      this.host.run();
    }
    return this.clock.now() - from;
  }

  /** A turn of the event loop ends. False when nobody had waited for that: the loop could have slept. */
  turn(): boolean {
    this.host.run();
    const turns = this.#turns!.splice(0);
    for (const run of turns) run();
    return turns.length > 0;
  }

  /** One TCP connection of the script. */
  tcp(ends: TcpEnds = {}): TcpScript {
    return new TcpScript(this, ends);
  }

  #take(bytes: Uint8Array): void {
    const frame = decodeFrame(bytes);
    expect(frame.problems, `a wrong frame was sent: ${JSON.stringify(frame)}`).toEqual([]);
    if (frame.icmp6?.type === 134 && frame.ip6?.dst === "ff02::1") this.adverts.push(frame);
    else this.#out.push(frame);
  }

  #fill(frame: FrameSpec): FrameSpec {
    return { ...frame, eth: { src: GUEST_MAC, dst: usualMac(frame), ...frame.eth } };
  }
}

export interface TcpEnds {
  readonly srcPort?: number;
  readonly dstPort?: number;
  /** IPv4 or IPv6. */
  readonly dst?: string;
  /** The guest's address, by default the one of the same family. */
  readonly src?: string;
  /** The guest's initial sequence number. */
  readonly isn?: number;
  /** Timestamps on every segment: the clock's time, and the stack's last one echoed. */
  readonly timestamps?: boolean;
}

/** A connection whose sequence numbers count from each end's SYN: a SYN has 0, the first byte 1. */
export class TcpScript {
  readonly srcPort: number;
  readonly dstPort: number;
  readonly dst: string;
  readonly src: string;
  readonly isn: number;
  /** The stack's initial sequence number, known after its SYN. */
  peerIsn = 0;
  readonly #script: PacketScript;
  readonly #timestamps: boolean;
  #peerTimestamp = 0;

  constructor(script: PacketScript, ends: TcpEnds) {
    this.#script = script;
    this.srcPort = ends.srcPort ?? 1_000;
    this.dstPort = ends.dstPort ?? 80;
    this.dst = ends.dst ?? FAR_IP;
    this.src = ends.src ?? (this.dst.includes(":") ? GUEST_IP6 : GUEST_IP);
    this.isn = ends.isn ?? 10_000;
    this.#timestamps = ends.timestamps ?? false;
  }

  send(segment: TcpSpec, payload: string | Uint8Array = ""): void {
    this.#script.send(this.frame(segment, payload));
  }

  /** The frame that `send` would send, for `sendBatch`. */
  frame(segment: TcpSpec, payload: string | Uint8Array = ""): FrameSpec {
    const { seq = 0, ack, options = {}, ...rest } = segment;
    const sack = options.sack?.map(([l, r]) => [this.#wrap(l + this.peerIsn), this.#wrap(r + this.peerIsn)] as const);
    const now = Math.floor(this.#script.clock.now());
    const all: TcpOptionsSpec = {
      ...(this.#timestamps && { timestamps: [now, this.#peerTimestamp] }),
      ...options,
      ...(sack && { sack }),
    };
    return {
      ...this.#ip({ src: this.src, dst: this.dst }),
      tcp: {
        ...{ srcPort: this.srcPort, dstPort: this.dstPort, seq: this.#wrap(this.isn + seq) },
        ...(ack !== undefined && { ack: this.#wrap(this.peerIsn + ack) }),
        ...rest,
        options: all,
      },
      payload,
    };
  }

  /** The next frame belongs to this connection and agrees with `segment`, numbers counted from the SYNs. */
  expect(segment: TcpSpec, payload?: string | Uint8Array): Frame {
    const { seq, ack, options, ...rest } = segment;
    const sack = options?.sack?.map(([l, r]) => [this.#wrap(l + this.isn), this.#wrap(r + this.isn)] as const);
    const isSyn = segment.flags?.split(" ").includes("SYN") ?? false;
    const frame = this.#script.expect({
      ...this.#ip({ src: this.dst, dst: this.src }),
      tcp: {
        ...{ srcPort: this.dstPort, dstPort: this.srcPort },
        ...rest,
        ...(seq !== undefined && !isSyn && { seq: this.#wrap(this.peerIsn + seq) }),
        ...(ack !== undefined && { ack: this.#wrap(this.isn + ack) }),
        ...(options && { options: { ...options, ...(sack && { sack }) } }),
      },
      ...(payload !== undefined && { payload }),
    });
    if (isSyn) this.peerIsn = frame.tcp!.seq;
    this.#peerTimestamp = frame.tcp!.options.timestamps?.[0] ?? this.#peerTimestamp;
    return frame;
  }

  /** Handshake with a host that accepts; these options on the SYN. */
  establish(options: TcpOptionsSpec = { mss: 1460 }, window = 65_535): void {
    this.send({ flags: "SYN", seq: 0, options, window });
    this.expect({ flags: "SYN ACK", seq: 0, ack: 1 });
    this.send({ flags: "ACK", seq: 1, ack: 1, window });
  }

  #ip(addresses: { src: string; dst: string }): FrameSpec {
    return this.dst.includes(":") ? { ip6: addresses } : { ip: addresses };
  }

  #wrap(value: number): number {
    return value >>> 0;
  }
}

/** Where a guest's frame goes: to a group, or to the gateway. */
function usualMac(frame: FrameSpec): string {
  if (frame.arp) return "ff:ff:ff:ff:ff:ff";
  if (!isIpv6(frame)) return GATEWAY_MAC;
  const dst = frame.ip6?.dst ?? "";
  return dst.startsWith("ff") ? multicastMac(dst) : GATEWAY_MAC6;
}

/** 33:33 and the last four bytes (RFC 2464 section 7). */
function multicastMac(address: string): string {
  const bytes = ip6(address).slice(12);
  return `33:33:${bytes.map((b) => b.toString(16).padStart(2, "0")).join(":")}`;
}

function inOrder(flags: string): string {
  return ["SYN", "FIN", "RST", "PSH", "ACK", "URG"].filter((name) => flags.split(" ").includes(name)).join(" ");
}

function withoutPush(frame: Frame): Frame {
  return frame.tcp === undefined
    ? frame
    : { ...frame, tcp: { ...frame.tcp, flags: frame.tcp.flags.replace("PSH ", "") } };
}
