/** Payload that stays in the guest's memory until the kernel takes it from there. */
import { createHash } from "node:crypto";
import net from "node:net";
import fc from "fast-check";
import { describe, expect, it, onTestFinished } from "vitest";
import type { HostTcp, HostTcpEvents } from "../../../src/core/host-net.ts";
import type { Slab } from "../../../src/core/link.ts";
import { NodeHostNet } from "../../../src/host/net.ts";
import { HostRandom } from "../../../src/host/random.ts";
import { type FrontEnd, NEXT, SEND } from "../../support/vhost-user/front-end.ts";
import { frame } from "../recorder.ts";
import { guestMappings, type VhostRig, vhostRig } from "./rig.ts";

const HEADERS = 54;
const VNET = 12;
/** NEEDS_CSUM of TCP over IPv4, to be cut. */
const UNDONE = Uint8Array.of(1, 1, 54, 0, 0xa8, 5, 34, 0, 16, 0, 0, 0);

/** A TCP segment of that payload over IPv4. */
function segment(payload: Uint8Array): Uint8Array {
  const bytes = Buffer.alloc(HEADERS + payload.length);
  bytes.writeUInt16BE(0x800, 12);
  bytes[14] = 0x45;
  bytes.writeUInt16BE(40 + payload.length, 16);
  bytes[23] = 6;
  bytes[46] = 0x50;
  bytes.set(payload, HEADERS);
  return new Uint8Array(bytes);
}

/** A ring's frames as a host's socket is given them: their payload, at the end of the batch. */
class Taker {
  readonly runs: { slab: Slab; at: number; len: number }[] = [];
  /** What was in the slab where payload has its place, when it was received. */
  readonly inPlace: Uint8Array[] = [];
  asked = 0;
  leaves = true;

  constructor(rig: VhostRig, atEnd: (taker: Taker) => void) {
    const { recorder } = rig;
    recorder.keep = false;
    Object.assign(recorder, {
      leavesPayload: (_link: unknown, slab: Slab, at: number, head: number, len: number, undone: number) => {
        this.asked++;
        expect([head >= HEADERS, undone, slab.bytes[at + 12]]).toEqual([true, 1448, 8]);
        expect(len).toBeGreaterThan(4096);
        return this.leaves;
      },
    });
    recorder.onReceive = (_link, slab, at, len) => {
      this.inPlace.push(slab.bytes.slice(at + HEADERS, at + len));
      this.runs.push({ slab, at: at + HEADERS, len: len - HEADERS });
    };
    recorder.onBatchEnd = () => {
      atEnd(this);
      this.runs.length = 0;
    };
  }

  /** Puts all in its place, and says what is there. */
  filled(): Uint8Array[] {
    return this.runs.map(({ slab, at, len }) => {
      slab.elsewhere?.fill(at, len);
      return slab.bytes.slice(at, at + len);
    });
  }
}

/** Sends a segment in descriptors that end at `cuts` of it, counted from its vnet header. */
function offer(end: FrontEnd, bytes: Uint8Array, cuts: readonly number[]): void {
  const base = end.free;
  const ring = end.rings[SEND];
  end.bytes.set(UNDONE, base);
  end.bytes.set(bytes, base + VNET);
  const ends = [...new Set(cuts)].filter((cut) => cut > 0 && cut < VNET + bytes.length).sort((a, b) => a - b);
  ends.push(VNET + bytes.length);
  let at = 0;
  for (const [i, to] of ends.entries()) {
    const last = i === ends.length - 1;
    ring.describe(i, { at: base + at, len: to - at, flags: last ? 0 : NEXT, next: i + 1 });
    at = to;
  }
  ring.offer(0);
  end.kick(SEND);
}

/** The same, and waits until it has been used. */
async function send(end: FrontEnd, bytes: Uint8Array, cuts: readonly number[]): Promise<void> {
  offer(end, bytes, cuts);
  const ring = end.rings[SEND];
  await end.until(() => (ring.usedIndex === ring.avail ? true : null), "a used chain");
}

const PAGES = [VNET + HEADERS, 8_000, 16_000, 40_000];

describe("payload of a large segment", () => {
  it("is not copied where nobody looks at it, and is put in its place on demand", async () => {
    const rig = await vhostRig();
    const got: Uint8Array[] = [];
    const taker = new Taker(rig, (t) => got.push(...t.filled()));
    const end = await rig.start();
    const payload = frame(50_000, 1);
    await send(end, segment(payload), PAGES);
    expect(Buffer.compare(got[0]!, payload)).toBe(0);
    expect(Buffer.compare(taker.inPlace[0]!, payload)).not.toBe(0);
  });

  it("is all there where somebody does", async () => {
    const rig = await vhostRig();
    const taker = new Taker(rig, () => {});
    taker.leaves = false;
    const end = await rig.start();
    const payload = frame(50_000, 2);
    await send(end, segment(payload), PAGES);
    expect(taker.asked).toBe(1);
    expect(Buffer.compare(taker.inPlace[0]!, payload)).toBe(0);
  });

  it("in whatever descriptors, across regions, is in its place what it was", async () => {
    const rig = await vhostRig();
    const got: Uint8Array[] = [];
    const taker = new Taker(rig, (t) => got.push(...t.filled()));
    const end = await rig.start();
    // The boundary of two regions lies within each frame.
    const border = (end.free + 30_000) & ~4095;
    end.tellMemory([
      { at: 0, size: border },
      { at: border, size: end.size - border },
    ]);
    const cut = fc.integer({ min: 1, max: 61_000 });
    const run = fc.tuple(fc.integer({ min: 1, max: 60_000 }), fc.array(cut, { maxLength: 20 }), fc.boolean());
    await fc.assert(
      fc.asyncProperty(run, async ([len, cuts, leaves]) => {
        const payload = frame(len, cuts.length);
        got.length = 0;
        taker.leaves = leaves;
        await send(end, segment(payload), cuts);
        expect(got.map((g) => g.length)).toEqual([len]);
        expect(Buffer.compare(got[0]!, payload)).toBe(0);
      }),
      { numRuns: 60 },
    );
    expect(rig.drops.counts["virtio-ring"]).toBe(0);
  });

  it("in more pieces than are left is copied where it is too many", async () => {
    const rig = await vhostRig();
    const got: Uint8Array[] = [];
    new Taker(rig, (t) => got.push(...t.filled()));
    const end = await rig.start({ size: 2048, memory: 8 << 20, buffers: 0 });
    // Descriptors behind the first long one are left, however short they are.
    const cuts = Array.from({ length: 1_500 }, (_, i) => VNET + HEADERS + 5_000 + 30 * i);
    const payload = frame(60_000, 5);
    await send(end, segment(payload), [VNET + HEADERS, ...cuts]);
    expect(Buffer.compare(got[0]!, payload)).toBe(0);
  });

  it("of a frame that is refused leaves nothing in the next one's place", async () => {
    const rig = await vhostRig();
    const got: Uint8Array[] = [];
    new Taker(rig, (t) => got.push(...t.filled()));
    const end = await rig.start({ features: ~(1n << 11n) });
    // Segments over IPv4 were not agreed upon; a sum was.
    const ring = end.rings[SEND];
    const [refused, sound] = [segment(frame(40_000, 1)), segment(frame(20_000, 2))];
    const at = [end.free, end.free + 70_000];
    for (const [i, bytes] of [refused, sound].entries()) {
      end.bytes.set(UNDONE, at[i]!);
      if (i === 1) end.bytes.fill(0, at[i]! + 1, at[i]! + 6);
      end.bytes.set(bytes, at[i]! + VNET);
      ring.describe(2 * i, { at: at[i]!, len: VNET + HEADERS, flags: NEXT, next: 2 * i + 1 });
      ring.describe(2 * i + 1, { at: at[i]! + VNET + HEADERS, len: bytes.length - HEADERS });
      ring.offer(2 * i);
    }
    Object.assign(rig.recorder, { leavesPayload: () => true });
    end.kick(SEND);
    await end.until(() => (ring.usedIndex === ring.avail ? true : null), "used chains");
    expect(rig.drops.counts["offload-malformed"]).toBe(1);
    expect(got).toHaveLength(1);
    expect(Buffer.compare(got[0]!, frame(20_000, 2))).toBe(0);
  });

  it("that changes meanwhile is another payload, of the length and the headers that were looked at", async () => {
    const rig = await vhostRig();
    const heads: Uint8Array[] = [];
    const got: Uint8Array[] = [];
    new Taker(rig, (t) => {
      end.bytes.fill(0xee, end.free, end.free + 60_000);
      got.push(...t.filled());
      heads.push(...t.runs.map(({ slab, at }) => slab.bytes.slice(at - HEADERS, at)));
    });
    const end = await rig.start();
    const bytes = segment(frame(50_000, 3));
    await send(end, bytes, PAGES);
    expect(Buffer.compare(got[0]!, new Uint8Array(50_000).fill(0xee))).toBe(0);
    expect(heads[0]).toEqual(bytes.slice(0, HEADERS));
  });

  it("is there when the cable ends in the middle of a batch, and its memory goes", async () => {
    const rig = await vhostRig();
    const got: Uint8Array[] = [];
    new Taker(rig, (t) => got.push(...t.filled()));
    const end = await rig.start();
    const mappings = guestMappings();
    const { onReceive } = rig.recorder;
    rig.recorder.onReceive = (link, slab, at, len, undone) => {
      onReceive!(link, slab, at, len, undone);
      link.close();
    };
    const payload = frame(50_000, 4);
    offer(end, segment(payload), PAGES);
    await rig.recorder.until(() => got.length > 0);
    expect(Buffer.compare(got[0]!, payload)).toBe(0);
    expect(guestMappings()).toBeLessThan(mappings);
  });
});

describe("a host's socket", () => {
  it("has payload from where it stands, in order with what goes by Node, and what the kernel does not take is copied", async () => {
    const rig = await vhostRig();
    const hash = createHash("sha256");
    let received = 0;
    let reading: net.Socket | null = null;
    const server = net.createServer({ pauseOnConnect: true }, (socket) => {
      reading = socket;
      socket.on("data", (chunk) => {
        hash.update(chunk);
        received += chunk.length;
      });
      socket.on("error", () => {});
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const { port } = server.address() as net.AddressInfo;
    let connected = false;
    const events: HostTcpEvents = {
      onConnect: () => {
        connected = true;
      },
      ...{ onData() {}, onEnd() {}, onDrain() {}, onClose() {} },
    };
    const tcp: HostTcp = new NodeHostNet({ random: new HostRandom() }).connectTcp({ host: "127.0.0.1", port }, events);
    onTestFinished(() => {
      tcp.reset();
      reading?.destroy();
      server.close();
    });
    const straight: boolean[] = [];
    new Taker(rig, ({ runs }) => {
      straight.push(tcp.takesElsewhere === true);
      tcp.writeMany!(
        runs[0]!.slab,
        Int32Array.from(runs, ({ at }) => at),
        Int32Array.from(runs, ({ len }) => len),
        runs.length,
      );
    });
    const end = await rig.start();
    await end.until(() => (connected && reading !== null ? true : null), "a connection");
    const expected = createHash("sha256");
    let sent = 0;
    for (let i = 0; i < 320; i++) {
      const payload = frame(50_000 + 31 * i, i);
      await send(end, segment(payload), i % 3 === 0 ? [VNET + HEADERS] : PAGES);
      expected.update(payload);
      sent += payload.length;
      // Some by Node in between.
      if (i % 10 === 9) {
        const bytes = frame(100, i);
        tcp.write({ bytes, scarce: false, pin() {}, unpin() {} }, 0, bytes.length);
        expected.update(bytes);
        sent += bytes.length;
      }
      if (i === 280) (reading as net.Socket | null)!.resume();
    }
    await end.until(() => (received === sent ? true : null), "all bytes");
    expect(hash.digest("hex")).toBe(expected.digest("hex"));
    // First the kernel took it, then the far end did not read.
    expect(straight[0]).toBe(true);
    expect(straight).toContain(false);
  });
});
