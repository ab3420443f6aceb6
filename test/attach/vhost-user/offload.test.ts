/** What `struct virtio_net_hdr` leaves undone, both ways. */
import { describe, expect, it } from "vitest";
import { CableTap } from "../../../src/attach/tap.ts";
import { COMPLETE, SUM_UNDONE } from "../../../src/core/link.ts";
import { finish, sum } from "../../../src/wire/checksum.ts";
import { type FrontEnd, RECEIVE, SEND } from "../../support/vhost-user/front-end.ts";
import { expectFrames, frame } from "../recorder.ts";
import { type VhostRig, vhostRig } from "./rig.ts";

const without = (...bits: readonly number[]): bigint => bits.reduce((all, bit) => all & ~(1n << BigInt(bit)), ~0n);
const [CSUM, GUEST_CSUM, GUEST_TSO4, GUEST_TSO6, HOST_TSO4, HOST_TSO6] = [0, 1, 7, 8, 11, 12];
const NEEDS_CSUM = 1;
const TCPV4 = 1;
const TCPV6 = 4;
const UDP_GSO = 3;

/** A frame of TCP or UDP, IPv4 or IPv6, with `payload` bytes. */
function packet(v6: boolean, proto: 6 | 17, payload: number): Uint8Array {
  const ip = v6 ? 40 : 20;
  const header = proto === 6 ? 20 : 8;
  const bytes = Buffer.alloc(14 + ip + header + payload, 7);
  bytes.writeUInt16BE(v6 ? 0x86dd : 0x800, 12);
  bytes.fill(0, 14, 14 + ip + header);
  if (v6) {
    bytes[14] = 0x60;
    bytes.writeUInt16BE(header + payload, 18);
    bytes[20] = proto;
    bytes[21] = 64;
  } else {
    bytes[14] = 0x45;
    bytes.writeUInt16BE(ip + header + payload, 16);
    bytes[22] = 64;
    bytes[23] = proto;
    bytes.writeUInt16BE(finish(sum(bytes, 14, 20)), 24);
  }
  const at = 14 + ip;
  if (proto === 6) bytes[at + 12] = 0x50;
  else bytes.writeUInt16BE(header + payload, at + 4);
  return new Uint8Array(bytes);
}

interface Header {
  readonly flags?: number;
  readonly gso?: number;
  readonly size?: number;
  readonly start?: number;
  readonly offset?: number;
  readonly length?: number;
}

function header({ flags = 0, gso = 0, size = 0, start = 0, offset = 0, length = 0 }: Header): Uint8Array {
  const bytes = Buffer.alloc(12);
  bytes[0] = flags;
  bytes[1] = gso;
  for (const [i, value] of [length, size, start, offset].entries()) bytes.writeUInt16LE(value, 2 + 2 * i);
  return new Uint8Array(bytes);
}

/** Sends one frame; what was undone when it arrived, null when it did not. */
async function arrives(rig: VhostRig, end: FrontEnd, bytes: Uint8Array, head: Header): Promise<number | null> {
  let got: number | null = null;
  rig.recorder.onReceive = (_link, _slab, _at, _len, undone) => {
    got = undone ?? COMPLETE;
  };
  end.offerFrame(bytes, [], 0, header(head));
  end.kick(SEND);
  await end.until(() => (end.rings[SEND].usedIndex === end.rings[SEND].avail ? true : null), "a used descriptor");
  return got;
}

const TCP4 = { flags: NEEDS_CSUM, start: 34, offset: 16 };
const TCP6 = { flags: NEEDS_CSUM, start: 54, offset: 16 };
const UDP4 = { flags: NEEDS_CSUM, start: 34, offset: 6 };

describe("a guest's frame", () => {
  it.each([
    ["all done", packet(false, 6, 100), {}, COMPLETE],
    ["a TCP sum", packet(false, 6, 100), TCP4, SUM_UNDONE],
    ["a TCP sum over IPv6", packet(true, 6, 100), TCP6, SUM_UNDONE],
    ["a UDP sum", packet(false, 17, 100), UDP4, SUM_UNDONE],
    ["a long segment", packet(false, 6, 20_000), { ...TCP4, gso: TCPV4, size: 1448 }, 1448],
    ["a long segment over IPv6", packet(true, 6, 20_000), { ...TCP6, gso: TCPV6, size: 1428 }, 1428],
    [
      "a false length of headers, which is a hint",
      packet(false, 6, 20_000),
      { ...TCP4, gso: TCPV4, size: 1448, length: 9 },
      1448,
    ],
    ["tiny segments", packet(false, 6, 2_000), { ...TCP4, gso: TCPV4, size: 8 }, 64],
  ])("says what is undone: %s", async (_, bytes, head, undone) => {
    const rig = await vhostRig();
    const end = await rig.start();
    expect(await arrives(rig, end, bytes, head)).toBe(undone);
    expectFrames(rig.recorder.frames, [bytes]);
  });

  it("of another protocol has its sum done here", async () => {
    const rig = await vhostRig();
    const end = await rig.start();
    const bytes = packet(false, 6, 100);
    bytes[23] = 132;
    expect(await arrives(rig, end, bytes, { flags: NEEDS_CSUM, start: 34, offset: 8 })).toBe(COMPLETE);
    const got = rig.recorder.frames[0]!;
    expect(sum(got, 34, got.length - 34) % 0xffff).toBe(0);
  });

  it.each<[string, bigint, Uint8Array, Header]>([
    ["a sum that begins beyond the frame", ~0n, packet(false, 6, 9), { ...TCP4, start: 5_000 }],
    ["a sum that stands beyond the frame", ~0n, packet(false, 6, 9), { ...TCP4, offset: 60_000 }],
    ["a sum at the frame's last byte", ~0n, packet(false, 6, 0), { ...TCP4, offset: 19 }],
    ["segments of no size", ~0n, packet(false, 6, 3_000), { ...TCP4, gso: TCPV4 }],
    ["IPv6's segments in IPv4", ~0n, packet(false, 6, 3_000), { ...TCP4, gso: TCPV6, size: 1448 }],
    ["IPv4's segments in IPv6", ~0n, packet(true, 6, 3_000), { ...TCP6, gso: TCPV4, size: 1448 }],
    ["segments of UDP", ~0n, packet(false, 17, 3_000), { ...UDP4, gso: UDP_GSO, size: 1448 }],
    ["TCP's segments of UDP", ~0n, packet(false, 17, 3_000), { ...UDP4, gso: TCPV4, size: 1448 }],
    ["segments with their sums done", ~0n, packet(false, 6, 3_000), { gso: TCPV4, size: 1448 }],
    [
      "segments with congestion marks, which were not offered",
      ~0n,
      packet(false, 6, 3_000),
      { ...TCP4, gso: 0x81, size: 1448 },
    ],
    ["segments of what is no packet", ~0n, frame(3_000), { ...TCP4, gso: TCPV4, size: 1448 }],
    ["a kind of segments that there is not", ~0n, packet(false, 6, 3_000), { ...TCP4, gso: 99, size: 1448 }],
    [
      "segments whose sum stands elsewhere",
      ~0n,
      packet(false, 6, 3_000),
      { ...TCP4, offset: 14, gso: TCPV4, size: 1448 },
    ],
    ["a sum undone that was not agreed upon", without(CSUM), packet(false, 6, 100), TCP4],
    [
      "segments that were not agreed upon",
      without(HOST_TSO4),
      packet(false, 6, 3_000),
      { ...TCP4, gso: TCPV4, size: 1448 },
    ],
    ["IPv6's that were not", without(HOST_TSO6), packet(true, 6, 3_000), { ...TCP6, gso: TCPV6, size: 1448 }],
  ])("is refused and counted whose header lies: %s", async (_, features, bytes, head) => {
    const rig = await vhostRig();
    const end = await rig.start({ features });
    expect(await arrives(rig, end, bytes, head)).toBeNull();
    expect(rig.drops.counts["offload-malformed"]).toBe(1);
    expect(await arrives(rig, end, frame(60), {})).toBe(COMPLETE);
  });
});

describe("what a guest takes undone", () => {
  it.each([
    ["all", ~0n, { sums: true, tcp4: true, tcp6: true }],
    ["sums", without(GUEST_TSO4, GUEST_TSO6), { sums: true, tcp4: false, tcp6: false }],
    ["IPv4", without(GUEST_TSO6), { sums: true, tcp4: true, tcp6: false }],
    ["nothing", without(GUEST_CSUM), null],
  ])("is what its driver took: %s", async (_, features, offload) => {
    const rig = await vhostRig();
    await rig.start({ features });
    const { offload: got } = rig.recorder.links[0]!;
    if (offload === null) expect(got).toBeNull();
    else expect(got).toMatchObject(offload);
  });

  it("is no more than fits the empty ring, and nothing while frames are looked at one by one", async () => {
    const tap = new CableTap();
    const rig = await vhostRig(tap);
    await rig.start({ size: 16 });
    const link = rig.recorder.links[0]!;
    expect(link.offload!.largest).toBe(16 * 1526 - 12);
    expect(link.reserve(link.offload!.largest)).toBeGreaterThan(0);
    tap.impair({ active: true, byFrame: true, incoming: () => true, outgoing: () => true, detached() {} });
    expect(link.offload).toBeNull();
  });

  it.each([
    ["a sum", packet(false, 6, 100), SUM_UNDONE, TCP4],
    ["a UDP sum over IPv6", packet(true, 17, 100), SUM_UNDONE, { flags: NEEDS_CSUM, start: 54, offset: 6 }],
    ["segments", packet(false, 6, 30_000), 1448, { ...TCP4, gso: TCPV4, size: 1448, length: 54 }],
    ["segments over IPv6", packet(true, 6, 30_000), 1428, { ...TCP6, gso: TCPV6, size: 1428, length: 74 }],
    ["nothing", packet(false, 6, 100), COMPLETE, {}],
  ])("stands in the header: %s", async (_, bytes, undone, head) => {
    const rig = await vhostRig();
    const end = await rig.start();
    const link = rig.recorder.links[0]!;
    const at = link.reserve(bytes.length);
    link.tx.set(bytes, at);
    link.commit(bytes.length, undone);
    link.flush();
    const got = end.takeFrame()!;
    expectFrames([got.frame], [bytes]);
    const expected = Buffer.from(header(head));
    expected.writeUInt16LE(got.buffers, 10);
    expect(Buffer.from(got.header).toString("hex")).toBe(expected.toString("hex"));
    expect(end.calls(RECEIVE)).toBe(1);
  });
});
