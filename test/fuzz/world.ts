/**
 * A whole network under a fuzzer's input: a list of what the guest, the host and the clock do. After each of them the
 * invariants hold: nothing is thrown, no turn is long, every frame that goes out is right and no longer than it may be,
 * no byte is sent that was in the buffers before. At the end ARP is still answered, and after closing nothing is left.
 *
 * Input: records of one byte that says what happens, two of length, and so many bytes.
 */
import { cable, type MemoryCable } from "../../src/attach/memory.ts";
import { SlabPool } from "../../src/attach/slab.ts";
import { resolveOptions } from "../../src/control/options.ts";
import type { StackConfig } from "../../src/core/config.ts";
import { NO_TAP } from "../../src/core/tap.ts";
import { NO_TRACE } from "../../src/core/trace.ts";
import { composeLan } from "../../src/embed/lan.ts";
import { RecordedReceiver } from "../../src/record/cables.ts";
import type { Recorder } from "../../src/record/recorder.ts";
import { recordedParts } from "../../src/record/recording.ts";
import type { StackParts } from "../../src/stack/parts.ts";
import type { Stack } from "../../src/stack.ts";
import { ManualClock } from "../support/clock.ts";
import { FakeFiles } from "../support/fake-files.ts";
import { FakeHost, type FakeUdpFar } from "../support/fake-host.ts";
import { decodeFrame, encodeFrame, type Frame } from "../support/frames.ts";
import { SeededRandom } from "../support/random.ts";
import { put32, seal, tcpAt } from "./seal.ts";

const MTU = 1_500;
const ETH = 14;
export const CONFIG: StackConfig = resolveOptions({ mtu: MTU }).stack;
/** RFC 1812 section 4.3.2.3, RFC 4443 section 2.4 (c). */
const MOST_ERROR4 = 576;
const MOST_ERROR6 = 1_280;
/** Of processor time: what else the machine does is not the input's. */
const TURN_MS = 3_000;
/** A run of the soil's bytes that no input has by chance. */
const STALE = 0xa5;
const STALE_RUN = 6;
const SOIL = new Uint8Array(MTU).fill(STALE);
/** One for all: a pool gives its memory back by a timer, for which a loop of inputs leaves no time. */
export const POOL: SlabPool = new SlabPool();
const PROBE = encodeFrame({ arp: { senderIp: "0.0.0.0", targetIp: "10.0.2.2" } });
const PORTS = [67, 53, 69, 547, 7, 80, 5353, 0];
const MAX_ANSWERS = 4_096;

export const RAW = 0;
/** Checksums and IP lengths put right. */
export const SEALED = 1;
/** All lengths, and a TCP segment's numbers as the connection expects them. */
export const IN_ORDER = 2;
export const TIME = 3;
export const FAR_SENDS = 4;
export const FAR_DOES = 5;
export const DNS_ANSWERS = 6;
/** A datagram: the first byte chooses family and port, the rest is its payload. */
export const DATAGRAM = 7;

/** One record. */
export function record(what: number, bytes: Uint8Array): Uint8Array {
  return Uint8Array.of(what, bytes.length >> 8, bytes.length & 255, ...bytes);
}

export class World {
  readonly #clock: ManualClock = new ManualClock(1_000);
  readonly #host: FakeHost = new FakeHost();
  readonly #files: FakeFiles = new FakeFiles();
  readonly #stack: Stack;
  readonly #recorder: Recorder | null;
  /** What waits for the end of the turn. */
  readonly #turns: (() => void)[] = [];
  readonly #cable: MemoryCable;
  readonly #queries: { query: Uint8Array; answer: (answer: Uint8Array | null) => void }[] = [];
  /** By "guest port, far port": the numbers that the next segment of the guest's should have. */
  readonly #numbers: Map<string, { seq: number; ack: number }> = new Map();
  readonly #udpFars: readonly FakeUdpFar[];
  #out: Frame[] = [];
  #staleInput = false;

  /** With a recorder all of it is written down. */
  constructor(recorder: Recorder | null = null) {
    this.#files.put("f", "x".repeat(3_000));
    this.#udpFars = ["198.51.100.1", "2001:db8::1"].map((host) => this.#host.udpFar({ host, port: 7 }));
    const dns = {
      query: (query: Uint8Array, _tcp: boolean, answer: (answer: Uint8Array | null) => void) => {
        this.#queries.push({ query: query.slice(), answer });
      },
      close() {},
    };
    const parts: StackParts = {
      ...{ host: this.#host, dns, files: this.#files, clock: this.#clock, trace: NO_TRACE },
      random: new SeededRandom(1),
      endOfTurn: (run) => void this.#turns.push(run),
    };
    const lan = composeLan(CONFIG, recorder === null ? parts : recordedParts(recorder, parts), NO_TAP);
    this.#stack = lan.stack;
    this.#recorder = recorder;
    const receiver = recorder === null ? lan.switch : new RecordedReceiver(recorder, lan.switch, NO_TAP);
    this.#cable = cable(receiver, { pool: POOL, onFrame: (frame) => this.#take(frame) });
    this.#cable.send(SOIL);
  }

  /** All of an input. Throws when an invariant does not hold. */
  run(input: Uint8Array): void {
    for (let at = 0; at + 3 <= input.length; ) {
      const length = (input[at + 1]! << 8) | input[at + 2]!;
      const bytes = input.slice(at + 3, at + 3 + length);
      const since = process.cpuUsage();
      this.#step(input[at]! & 7, bytes);
      this.#settle();
      const { user, system } = process.cpuUsage(since);
      must((user + system) / 1000 < TURN_MS, "a turn took too long");
      must(this.#out.length <= MAX_ANSWERS, "too many answers");
      this.#out = [];
      at += 3 + length;
    }
    this.#end();
  }

  #step(what: number, bytes: Uint8Array): void {
    const far = this.#host.dialled.at(-1);
    if (what === RAW) this.#send(bytes);
    else if (what === SEALED) this.#send(seal(bytes, false));
    else if (what === IN_ORDER) this.#send(this.#inOrder(bytes));
    else if (what === TIME) this.#advance(((bytes[0] ?? 0) << 8) | (bytes[1] ?? 0));
    else if (what === FAR_SENDS) far?.connected && far.send(bytes.map((byte) => (byte === STALE ? 0 : byte)));
    else if (what === FAR_DOES) {
      if (far?.connected)
        [() => far.end(), () => far.reset(), () => far.stall(), () => far.unstall()][bytes[0]! & 3]?.();
    } else if (what === DNS_ANSWERS) {
      const asked = this.#queries.shift();
      if (bytes.length > 1 && asked !== undefined) bytes.set(asked.query.subarray(0, 2));
      asked?.answer(bytes.length === 0 ? null : bytes);
    } else {
      const dstPort = PORTS[bytes[0]! & 7]!;
      const payload = bytes.subarray(1);
      const srcPort = { 67: 68, 547: 546 }[dstPort] ?? 2_000;
      const v6 = (bytes[0]! & 8) !== 0;
      const dst =
        dstPort === 53 ? "10.0.2.3" : dstPort === 67 ? "255.255.255.255" : dstPort === 69 ? "10.0.2.2" : "198.51.100.1";
      const dst6 =
        dstPort === 53 ? "fec0::3" : dstPort === 547 ? "ff02::1:2" : dstPort === 69 ? "fec0::2" : "2001:db8::1";
      const ip = v6
        ? { ip6: { dst: dst6, ...(dstPort === 547 && { src: "fe80::5054:ff:fe12:3456" }) } }
        : { ip: { dst } };
      const eth = { dst: dstPort === 67 ? "ff:ff:ff:ff:ff:ff" : v6 ? "52:56:00:00:00:02" : "52:55:0a:00:02:02" };
      this.#send(encodeFrame({ ...ip, eth, udp: { srcPort, dstPort }, payload }));
    }
  }

  #send(frame: Uint8Array): void {
    if (frame.length === 0) return;
    this.#staleInput ||= staleRun(frame);
    this.#cable.send(frame);
    if (frame.length < SOIL.length) this.#cable.send(SOIL);
  }

  #inOrder(frame: Uint8Array): Uint8Array {
    const at = tcpAt(frame);
    if (at >= 0) {
      const key = `${(frame[at]! << 8) | frame[at + 1]!},${(frame[at + 2]! << 8) | frame[at + 3]!}`;
      const next = this.#numbers.get(key);
      if (next !== undefined && (frame[at + 13]! & 2) === 0) {
        put32(frame, at + 4, next.seq);
        put32(frame, at + 8, next.ack);
      }
    }
    return seal(frame);
  }

  #settle(): void {
    this.#host.run();
    this.#files.run();
    this.#host.run();
    for (const run of this.#turns.splice(0)) run();
    const now = this.#clock.now();
    this.#stack.poll(this.#recorder?.polled(now) ?? now);
  }

  #advance(millis: number): void {
    const end = this.#clock.now() + millis;
    for (let n = 0; n < 1_000; n++) {
      const next = this.#stack.pollAt();
      if (next > end) break;
      this.#clock.advance(Math.max(0, next - this.#clock.now()));
      this.#settle();
    }
    this.#clock.advance(end - this.#clock.now());
  }

  /** Each frame to the guest. */
  #take(bytes: Uint8Array): void {
    must(bytes.length <= MTU + ETH, `a frame of ${bytes.length} bytes`);
    const frame = decodeFrame(bytes);
    must(frame.problems.length === 0, `a wrong frame: ${frame.problems.join(", ")}`);
    if (!this.#staleInput) must(!staleRun(bytes), "bytes of an earlier packet");
    const error = frame.icmp !== undefined && [3, 4, 5, 11, 12].includes(frame.icmp.type);
    if (error) must(bytes.length - ETH <= MOST_ERROR4, "an ICMP error is too long");
    if ((frame.icmp6?.type ?? 128) < 128) must(bytes.length - ETH <= MOST_ERROR6, "an ICMPv6 error is too long");
    const { tcp } = frame;
    if (tcp !== undefined) {
      const length = frame.payload.length + (/SYN|FIN/.test(tcp.flags) ? 1 : 0);
      this.#numbers.set(`${tcp.dstPort},${tcp.srcPort}`, { seq: tcp.ack, ack: (tcp.seq + length) >>> 0 });
    }
    this.#out.push(frame);
  }

  #end(): void {
    this.#out = [];
    this.#cable.send(PROBE);
    must(
      this.#out.some((frame) => frame.arp?.op === "reply" && frame.arp.senderIp === "10.0.2.2"),
      "ARP is not answered",
    );
    if (!this.#staleInput) {
      const received = [...this.#host.dialled.map((far) => far.received), ...this.#udpFars.flatMap(datagramsOf)];
      for (const bytes of received) must(!staleRun(bytes), "bytes of an earlier packet went to the host");
    }
    this.#recorder?.told("close");
    this.#stack.close();
    this.#settle();
    const { tcpFlows, udpFlows, icmpFlows, timers, sendBytes } = this.#stack.gauges();
    must(tcpFlows + udpFlows + icmpFlows + timers + sendBytes === 0, "flows or bytes are left after closing");
    must(this.#host.open === 0, "sockets are left after closing");
    must(this.#files.openFiles === 0, "files are left open after closing");
    this.#cable.close();
    must(POOL.inUse === 0, "slabs are not given back");
  }
}

function datagramsOf(far: FakeUdpFar): Uint8Array[] {
  return far.received.map(({ bytes }) => bytes);
}

function must(condition: boolean, text: string): void {
  if (!condition) throw new Error(text);
}

function staleRun(bytes: Uint8Array): boolean {
  let run = 0;
  for (const byte of bytes) {
    run = byte === STALE ? run + 1 : 0;
    if (run === STALE_RUN) return true;
  }
  return false;
}
