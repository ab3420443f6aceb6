/**
 * One connection under everything that can happen to it, in any order: segments in, out of and beyond their turn,
 * acknowledgements and windows of all sizes, hosts that write, end, stall and break, a cable that fills, time.
 *
 * The model keeps what either end has said. After each command it looks at every segment that came of it.
 */
import fc from "fast-check";
import { expect, test } from "vitest";
import type { FakeFar } from "../../support/fake-host.ts";
import type { Frame, TcpOptionsSpec } from "../../support/frames.ts";
import { PacketScript, type TcpScript } from "../../support/packet-script.ts";

const STREAM = 400_000;
/** Different streams whose bytes tell where they stand. */
const fromGuest = Uint8Array.from({ length: STREAM }, (_, i) => (i * 31 + (i >> 8) * 7) & 0xff);
const fromHost = Uint8Array.from({ length: STREAM }, (_, i) => (i * 17 + (i >> 7) * 11 + 5) & 0xff);
/** As a guest without scaling says it. */
const WINDOW = 65_535;
/** What the stack may hold of a guest's bytes for a host that does not read, and what a rounded window adds. */
const RECEIVE_BUFFER = 32_768;
const ROUNDING = 4_096;
/** The guest's window where a command has none of its own: small enough to matter. */
const USUAL = 8_000;
/** Longer than any host or guest is waited for. */
const LONG = 30 * 60_000;

/** What both ends know; sequence numbers count from the SYNs. */
interface Model {
  /** Bytes that the guest has sent at least once without a hole, and whether FIN followed. */
  sent: number;
  guestFin: boolean;
  /** Bytes from the host that the guest holds without a hole, whether FIN followed, and what it has acknowledged. */
  got: number;
  hostFin: boolean;
  acked: number;
  /** The furthest that the guest has ever allowed. */
  edge: number;
  written: number;
  hostEnded: boolean;
  over: boolean;
}

class World {
  readonly script = new PacketScript({ limits: { receiveBuffer: RECEIVE_BUFFER } });
  readonly tcp: TcpScript;
  readonly far: FakeFar;
  readonly unit: number;
  stalled = false;
  /** The latest acknowledgement and right edge that the stack has told. */
  acked = 1;
  edge = 1;

  constructor(options: TcpOptionsSpec, window: number) {
    const { script } = this;
    this.tcp = script.tcp({ isn: 0xffff_f000 });
    this.tcp.send({ flags: "SYN", seq: 0, options, window });
    const synAck = this.tcp.expect({ flags: "SYN ACK", seq: 0, ack: 1 }).tcp!;
    this.unit = 2 ** (synAck.options.windowScale ?? 0);
    this.edge = 1 + synAck.window;
    this.far = script.host.dialled[0]!;
    // A shift of zero: the guest's windows are what they say.
    this.tcp.send({ flags: "ACK", seq: 1, ack: 1, window });
  }

  /** What may be sent without going beyond the window. */
  room(m: Model): number {
    return Math.max(0, Math.min(this.edge - 1 - m.sent, STREAM - m.sent));
  }

  look(m: Model): void {
    for (const frame of this.script.takeAll()) if (frame.tcp) this.#segment(frame, m);
    const { received } = this.far;
    expect(received.length).toBeLessThanOrEqual(m.sent);
    expect(Buffer.compare(received, fromGuest.subarray(0, received.length))).toBe(0);
    expect(this.acked - 2 - received.length).toBeLessThanOrEqual(RECEIVE_BUFFER + ROUNDING);
    const gauges = this.script.stack.gauges();
    expect(gauges.tcpFlows).toBeLessThanOrEqual(1);
    expect(gauges.sendBytes).toBeLessThanOrEqual(m.written - m.acked + 65_536);
    this.#polls(m);
  }

  /** Nothing happens before its time, and what was due has been done. */
  #polls(m: Model): void {
    const { stack, clock } = this.script;
    const before = stack.pollAt();
    stack.poll(clock.now());
    expect(stack.pollAt()).toBeGreaterThan(clock.now());
    const frames = this.script.takeAll();
    if (before > clock.now()) expect(frames).toEqual([]);
    for (const frame of frames) if (frame.tcp) this.#segment(frame, m);
  }

  #segment({ tcp, payload }: Frame, m: Model): void {
    const { flags, window } = tcp!;
    const seq = (tcp!.seq - this.tcp.peerIsn) >>> 0;
    const ack = (tcp!.ack - this.tcp.isn) >>> 0;
    if (flags.includes("RST")) {
      m.over = true;
      return;
    }
    // The stream: what the host wrote, where it belongs, and no more than allowed but a probe's byte.
    const end = seq - 1 + payload.length;
    if (payload.length > 0) {
      expect(end).toBeLessThanOrEqual(m.written);
      expect(Buffer.compare(payload, fromHost.subarray(seq - 1, end))).toBe(0);
      expect(seq + payload.length).toBeLessThanOrEqual(m.edge + 1);
      if (seq - 1 <= m.got) m.got = Math.max(m.got, end);
    }
    if (flags.includes("FIN")) {
      expect([m.hostEnded, end]).toEqual([true, m.written]);
      if (end === m.got) m.hostFin = true;
    }
    // Acknowledged: nothing that was not sent, and never less than before. The window never shrinks.
    expect(ack).toBeLessThanOrEqual(1 + m.sent + (m.guestFin ? 1 : 0));
    expect(ack).toBeGreaterThanOrEqual(this.acked);
    this.acked = ack;
    // Behind FIN it means nothing.
    if (ack <= 1 + m.sent) expect(this.edge - (ack + window * this.unit)).toBeLessThan(Math.max(1, this.unit));
    this.edge = Math.max(this.edge, ack + window * this.unit);
  }

  /** An acknowledgement of all but `withheld` bytes with this window. */
  answer(m: Model, withheld: number, window: number): { ack: number; window: number } {
    m.acked = Math.max(m.acked, m.got - withheld);
    const ack = m.acked + 1 + (m.hostFin && m.acked === m.got ? 1 : 0);
    m.edge = Math.max(m.edge, ack + window);
    return { ack, window };
  }
}

type Command = fc.Command<Model, World>;

/** A command by its name, shown with its arguments when a run fails. */
function command(name: string, ready: (m: Model) => boolean, run: (m: Model, w: World) => void): Command {
  return {
    check: (m) => !m.over && ready(m),
    run(m, w) {
      run(m, w);
      w.look(m);
    },
    toString: () => name,
  };
}

const always = (): boolean => true;
const size = fc.oneof(fc.integer({ min: 1, max: 1_460 }), fc.constant(1_460), fc.constant(1));
const window = fc.oneof(
  fc.constant(WINDOW),
  fc.integer({ min: 0, max: WINDOW }),
  fc.constant(0),
  fc.integer({ min: 1, max: 100 }),
);

const COMMANDS: readonly fc.Arbitrary<Command>[] = [
  fc.tuple(size, window).map(([n, win]) =>
    command(
      `the guest sends ${n}, window ${win}`,
      (m) => !m.guestFin,
      (m, w) => {
        const len = Math.min(n, w.room(m));
        const data = fromGuest.subarray(m.sent, m.sent + len);
        const seq = m.sent + 1;
        m.sent += len;
        w.tcp.send({ flags: "ACK", seq, ...w.answer(m, 0, win) }, data);
      },
    ),
  ),
  fc.integer({ min: 2, max: 30 }).map((n) =>
    command(
      `the guest sends ${n} segments at once`,
      (m) => !m.guestFin,
      (m, w) => {
        const answer = w.answer(m, 0, 3_000);
        const frames = [];
        for (let i = 0; i < n; i++) {
          const len = Math.min(1_460, w.room(m));
          frames.push(
            w.tcp.frame({ flags: "ACK", seq: m.sent + 1, ...answer }, fromGuest.subarray(m.sent, m.sent + len)),
          );
          m.sent += len;
        }
        w.script.sendBatch(...frames);
      },
    ),
  ),
  fc.tuple(size, fc.integer({ min: 1, max: 3_000 })).map(([n, gap]) =>
    command(
      `the guest sends ${n} behind a hole of ${gap}, then the hole`,
      (m) => !m.guestFin,
      (m, w) => {
        if (w.room(m) < gap + n) return;
        const hole = m.sent;
        const behind = hole + gap;
        m.sent += gap + n;
        const answer = w.answer(m, 0, USUAL);
        w.tcp.send({ flags: "ACK", seq: behind + 1, ...answer }, fromGuest.subarray(behind, behind + n));
        w.look(m);
        for (let at = hole; at < behind; at += 1_460)
          w.tcp.send({ flags: "ACK", seq: at + 1, ...answer }, fromGuest.subarray(at, Math.min(behind, at + 1_460)));
      },
    ),
  ),
  fc.tuple(size, fc.nat(5_000)).map(([n, back]) =>
    command(
      `the guest sends ${n} of ${back} back again`,
      (m) => m.sent > 0,
      (m, w) => {
        const from = Math.max(0, m.sent - back);
        w.tcp.send(
          { flags: "ACK", seq: from + 1, ...w.answer(m, 0, USUAL) },
          fromGuest.subarray(from, Math.min(m.sent, from + n)),
        );
      },
    ),
  ),
  fc
    .tuple(fc.nat(5_000), window)
    .map(([withheld, win]) =>
      command(`the guest acknowledges all but ${withheld}, window ${win}`, always, (m, w) =>
        w.tcp.send({ flags: "ACK", seq: m.sent + 1 + (m.guestFin ? 1 : 0), ...w.answer(m, withheld, win) }),
      ),
    ),
  fc
    .tuple(fc.integer(), fc.integer(), fc.constantFrom("ACK", "SYN", "SYN ACK", "FIN ACK", "RST", "URG ACK"))
    .map(([seq, ack, flags]) =>
      command(
        `a segment out of nowhere: ${flags} ${seq} ${ack}`, // In TIME-WAIT a SYN would be a new connection (RFC 6191).
        (m) => !(m.guestFin && m.hostEnded),
        (m, w) => {
          // Half a space away from all that the ends are at; what a lucky number does is another test's.
          const far = (n: number, at: number): number => at + 0x2000_0000 + (Math.abs(n) % 0x4000_0000);
          w.tcp.send(
            { flags, seq: far(seq, m.sent), ack: far(ack, m.got), window: 1_000 },
            flags === "ACK" ? "junk" : "",
          );
        },
      ),
    ),
  fc.constant(
    command(
      "the guest's FIN",
      (m) => !m.guestFin,
      (m, w) => {
        w.tcp.send({ flags: "FIN ACK", seq: m.sent + 1, ...w.answer(m, 0, USUAL) });
        m.guestFin = true;
      },
    ),
  ),
  fc.integer({ min: 1, max: 60_000 }).map((n) =>
    command(
      `the host writes ${n}`,
      (m) => !m.hostEnded,
      (m, w) => {
        const len = Math.min(n, STREAM - m.written);
        w.far.send(fromHost.subarray(m.written, m.written + len));
        m.written += len;
      },
    ),
  ),
  fc.constant(
    command(
      "the host ends",
      (m) => !m.hostEnded,
      (m, w) => {
        m.hostEnded = true;
        w.far.end();
      },
    ),
  ),
  fc.constant(command("the host stalls", always, (_m, w) => w.far.stall())),
  fc.constant(command("the host reads again", always, (_m, w) => w.far.unstall())),
  fc.boolean().map((stalled) =>
    command(`the cable is ${stalled ? "full" : "free"}`, always, (_m, w) => {
      w.stalled = stalled;
      w.script.cable.stall(stalled);
    }),
  ),
  fc.constantFrom(1, 10, 200, 1_000, 5_000, 60_000).map((millis) =>
    command(`${millis} ms pass`, always, (m, w) => {
      const { stack, clock } = w.script;
      const end = clock.now() + millis;
      for (let next = stack.pollAt(); next <= end && !m.over; next = stack.pollAt()) {
        clock.advance(Math.max(0, next - clock.now()));
        w.look(m);
      }
      clock.advance(end - clock.now());
    }),
  ),
];
/** How it ends, if it has not. */
const ENDS = ["guest's RST", "host's RST", "silence"] as const;

const OPTIONS: readonly TcpOptionsSpec[] = [
  { mss: 1_460 },
  { mss: 1_460, sackPermitted: true },
  { mss: 1_460, sackPermitted: true, windowScale: 0 },
  { mss: 536, windowScale: 0 },
];

test("whatever happens in whatever order: streams are prefixes, windows are kept, time is kept, nothing is left", () => {
  fc.assert(
    fc.property(
      fc.commands([...COMMANDS], { maxCommands: 100, size: "max" }),
      fc.constantFrom(...OPTIONS),
      fc.constantFrom(...ENDS),
      fc.constantFrom(0, 1, 1_000, 5_000, WINDOW),
      (commands, options, end, first) => {
        const world = new World(options, first);
        const model: Model = {
          ...{ sent: 0, guestFin: false, got: 0, hostFin: false, acked: 0 },
          ...{ edge: 1 + first, written: 0, hostEnded: false, over: false },
        };
        fc.modelRun(() => ({ model, real: world }), commands);
        const { script, tcp, far } = world;
        script.cable.stall(false);
        world.look(model);
        if (end === "guest's RST") tcp.send({ flags: "RST", seq: world.acked });
        else if (end === "host's RST") far.reset();
        far.unstall();
        if (end === "silence") {
          far.end();
          script.advance(12 * 3_600_000);
        }
        script.advance(LONG);
        script.takeAll();
        expect(script.stack.gauges()).toMatchObject({ tcpFlows: 0, timers: 0, sendBytes: 0 });
        expect(script.host.open).toBe(0);
      },
    ),
    { seed: Number(process.env.MODEL_SEED ?? 20_261_124), numRuns: Number(process.env.MODEL_RUNS ?? 150) },
  );
});
