import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { Reassembler } from "../../src/proto/reassembly.ts";
import { ipv4Check, ipv4HeaderLength, ipv4Write } from "../../src/wire/ipv4.ts";
import { proves } from "../cases/proves.ts";

const PAYLOAD = new Uint8Array(6000).map((_, i) => (i * 7 + (i >> 8)) & 255);

function fragment(offset: number, len: number, more: boolean, id = 1): Uint8Array {
  const packet = new Uint8Array(20 + len);
  ipv4Write(packet, 0, 0x0a00020f, 0x0a000202, 17, len, 64, id, (more ? 0x2000 : 0) | (offset >> 3));
  packet.set(PAYLOAD.subarray(offset, offset + len), 20);
  return packet;
}

const CABLE = {};

/** The 6000 bytes, cut at every `size`. */
function pieces(size: number, id = 1): Uint8Array[] {
  const list: Uint8Array[] = [];
  for (let at = 0; at < 6000; at += size) list.push(fragment(at, Math.min(size, 6000 - at), at + size < 6000, id));
  return list;
}

describe("reassembly (RFC 791 section 3.2)", () => {
  test("any order and repetition of a datagram's fragments gives the datagram", () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 200 }), fc.infiniteStream(fc.nat()), (eighths, picks) => {
        const list = pieces(eighths * 8 + 64);
        const reassembler = new Reassembler();
        let whole: Uint8Array | null = null;
        while (list.length > 0) {
          const i = picks.next().value! % list.length;
          const result = reassembler.receive(CABLE, list[i]!, 0, 0);
          if (result instanceof Uint8Array) whole = result;
          // Sometimes it comes again later.
          if (result instanceof Uint8Array || picks.next().value! % 4 !== 0) list.splice(i, 1);
        }
        expect(whole).not.toBeNull();
        expect(ipv4Check(whole!, 0, whole!.length)).toBe(true);
        expect([...whole!.subarray(ipv4HeaderLength(whole!, 0))]).toEqual([...PAYLOAD]);
      }),
    );
  });

  test(
    proves("bad.ip.fragments-overlap", "an overlap drops the whole datagram (RFC 5722), late fragments included"),
    () => {
      const reassembler = new Reassembler();
      reassembler.receive(CABLE, fragment(0, 800, true), 0, 0);
      expect(reassembler.receive(CABLE, fragment(792, 800, true), 0, 0)).toBe("dropped");
      for (const piece of pieces(800)) expect(reassembler.receive(CABLE, piece, 0, 0)).toBe("dropped");
    },
  );

  test(proves("bad.ip.fragments-overlap", "a fragment behind the end, or two ends, drop the datagram"), () => {
    const reassembler = new Reassembler();
    reassembler.receive(CABLE, fragment(800, 100, false), 0, 0);
    expect(reassembler.receive(CABLE, fragment(1600, 80, true), 0, 0)).toBe("dropped");
    reassembler.receive(CABLE, fragment(1600, 80, true, 2), 0, 0);
    expect(reassembler.receive(CABLE, fragment(800, 100, false, 2), 0, 0)).toBe("dropped");
  });

  test(proves("bad.ip.fragments-overlap", "nothing beyond 65535 bytes is put together (CVE-2018-11806)"), () => {
    const packet = new Uint8Array(1500);
    ipv4Write(packet, 0, 1, 2, 17, 1480, 64, 1, 0x1ff0);
    expect(new Reassembler().receive(CABLE, packet, 0, 0)).toBe("dropped");
  });

  test(
    proves(
      "bad.ip.fragmentsmack",
      "thousands of incomplete datagrams are bounded, and ordinary ones still complete (CVE-2018-5391)",
    ),
    () => {
      const reassembler = new Reassembler();
      for (let id = 1; id < 60_000; id++) reassembler.receive(CABLE, fragment(0, 1480, true, id), 0, 0);
      expect(reassembler.size).toBeLessThanOrEqual(256);
      const results = pieces(1480, 60_001).map((piece) => reassembler.receive(CABLE, piece, 0, 1));
      expect(results.at(-1)).toBeInstanceOf(Uint8Array);
    },
  );

  test(proves("bad.ip.fragmentsmack", "what is incomplete after 60 seconds is forgotten"), () => {
    const reassembler = new Reassembler();
    reassembler.receive(CABLE, fragment(0, 800, true), 0, 1000);
    expect(reassembler.pollAt()).toBe(61_000);
    let ended = 0;
    const onTimeout = () => void ended++;
    reassembler.poll(60_999, onTimeout);
    expect(ended).toBe(0);
    reassembler.poll(61_000, onTimeout);
    expect(ended).toBe(1);
    expect(reassembler.pollAt()).toBe(Number.POSITIVE_INFINITY);
  });
});
