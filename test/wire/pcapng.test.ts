/** pcapng as its readers read it. `test/control/capture.test.ts` has tshark read whole files. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  addComment,
  commentLength,
  INBOUND,
  interfaceLength,
  PACKET_DATA,
  packetLength,
  STATISTICS_LENGTH,
  sectionLength,
  writeInterface,
  writePacket,
  writeSection,
  writeStatistics,
} from "../../src/wire/pcapng.ts";

const view = (bytes: Uint8Array): DataView => new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
const get16 = (bytes: Uint8Array, at: number): number => view(bytes).getUint16(at, true);
const get32 = (bytes: Uint8Array, at: number): number => view(bytes).getUint32(at, true);

/** Blocks of `bytes` by type and body; each length must stand at both ends. */
function blocks(bytes: Uint8Array): { type: number; body: Uint8Array }[] {
  const found = [];
  for (let at = 0; at < bytes.length; ) {
    const len = get32(bytes, at + 4);
    expect(len % 4).toBe(0);
    expect(get32(bytes, at + len - 4)).toBe(len);
    found.push({ type: get32(bytes, at), body: bytes.slice(at + 8, at + len - 4) });
    at += len;
  }
  return found;
}

function options(body: Uint8Array, at: number): Map<number, Uint8Array> {
  const found = new Map<number, Uint8Array>();
  for (let o = at; get16(body, o) !== 0; o += 4 + ((get16(body, o + 2) + 3) & ~3)) {
    found.set(get16(body, o), body.slice(o + 4, o + 4 + get16(body, o + 2)));
  }
  return found;
}

describe("pcapng", () => {
  test("section 4.1: the section header has its magic, little-endian as Wireshark's pipes want it, version 1.0 and an unknown length", () => {
    const buf = new Uint8Array(100).fill(0xee);
    const end = writeSection(buf, 0, new TextEncoder().encode("tslirp"));
    expect(end).toBe(sectionLength(new Uint8Array(6)));
    const [block] = blocks(buf.subarray(0, end));
    expect(block!.type).toBe(0x0a0d0d0a);
    expect([...block!.body.subarray(0, 16)]).toEqual([0x4d, 0x3c, 0x2b, 0x1a, 1, 0, 0, 0, ...Array(8).fill(255)]);
    expect(new TextDecoder().decode(options(block!.body, 16).get(4))).toBe("tslirp");
  });

  test("section 4.2: an interface is Ethernet and has a name", () => {
    const name = new TextEncoder().encode("unix:/run/x#1");
    const buf = new Uint8Array(100).fill(0xee);
    const end = writeInterface(buf, 0, name, 96);
    expect(end).toBe(interfaceLength(name));
    const [block] = blocks(buf.subarray(0, end));
    expect([block!.type, get16(block!.body, 0), get32(block!.body, 4)]).toEqual([1, 1, 96]);
    expect(options(block!.body, 8).get(2)).toEqual(name);
  });

  test("section 4.3: any packet reads back, with its time, direction, both lengths and comments, and no stale byte", () => {
    const micros = fc.integer({ min: 0, max: 2 ** 51 });
    fc.assert(
      fc.property(
        fc.uint8Array({ minLength: 1, maxLength: 200 }),
        micros,
        fc.nat(200),
        fc.option(fc.string({ minLength: 1 })),
        (frame, time, snap, text) => {
          const captured = Math.min(frame.length, snap);
          const comment = text === null ? null : new TextEncoder().encode(text);
          const buf = new Uint8Array(2000).fill(0xee);
          let end = writePacket(buf, 8, 3, time, frame, 0, frame.length, captured, INBOUND);
          expect(end - 8).toBe(packetLength(captured));
          if (comment !== null) end = addComment(buf, 8, comment);
          expect(end - 8).toBe(packetLength(captured) + (comment === null ? 0 : commentLength(comment)));
          const [block] = blocks(buf.subarray(8, end));
          const { type, body } = block!;
          expect([type, get32(body, 0)]).toEqual([6, 3]);
          expect(get32(body, 4) * 2 ** 32 + get32(body, 8)).toBe(time);
          expect([get32(body, 12), get32(body, 16)]).toEqual([captured, frame.length]);
          expect(body.slice(PACKET_DATA - 8, PACKET_DATA - 8 + captured)).toEqual(frame.slice(0, captured));
          const padded = (captured + 3) & ~3;
          expect(body.slice(20 + captured, 20 + padded).every((byte) => byte === 0)).toBe(true);
          const found = options(body, 20 + padded);
          expect(get32(found.get(2)!, 0)).toBe(INBOUND);
          expect(found.get(1) ?? null).toEqual(comment);
        },
      ),
    );
  });

  test("section 4.6: statistics count what came and what was left out", () => {
    const buf = new Uint8Array(STATISTICS_LENGTH);
    expect(writeStatistics(buf, 0, 1, 5, 2 ** 33, 7)).toBe(STATISTICS_LENGTH);
    const [block] = blocks(buf);
    const found = options(block!.body, 12);
    expect([...found.get(4)!]).toEqual([0, 0, 0, 0, 2, 0, 0, 0]);
    expect([...found.get(5)!]).toEqual([7, 0, 0, 0, 0, 0, 0, 0]);
  });
});
