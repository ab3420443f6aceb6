/** IPv6 fragments from guests (RFC 8200 section 4.5, RFC 5722), through the stack. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { proves } from "../cases/proves.ts";
import { encodeFrame, type FrameSpec } from "../support/frames.ts";
import { FAR_IP6, GATEWAY_IP6, PacketScript } from "../support/packet-script.ts";

const PORT = 7;
const payload = Uint8Array.from({ length: 6000 }, (_, i) => (i * 31) & 255);
/** The upper layer of a datagram, as it stands in a whole packet. */
const datagram = encodeFrame({ ip6: { dst: FAR_IP6 }, udp: { srcPort: 4000, dstPort: PORT }, payload }).slice(54);

function fragment(offset: number, len: number, mf = offset + len < datagram.length, id = 1): FrameSpec {
  return {
    ip6: { dst: FAR_IP6, proto: 17, fragment: { offset, mf, id } },
    payload: datagram.slice(offset, offset + len),
  };
}

function rig() {
  const script = new PacketScript();
  return { script, far: script.host.udpFar({ host: FAR_IP6, port: PORT }) };
}

const PIECES = [0, 1448, 2896, 4344, 5792].map((offset) => fragment(offset, 1448));

describe("IPv6 reassembly", () => {
  test("6 kB in fragments in any order arrive once, as they were", () => {
    fc.assert(
      fc.property(fc.shuffledSubarray(PIECES, { minLength: PIECES.length }), (pieces) => {
        const { script, far } = rig();
        script.sendBatch(...pieces);
        expect(far.received.length).toBe(1);
        expect(Buffer.from(far.received[0]!.bytes).equals(payload)).toBe(true);
      }),
      { numRuns: 50 },
    );
  });

  test("a repetition changes nothing", () => {
    const { script, far } = rig();
    script.sendBatch(PIECES[0]!, PIECES[0]!, ...PIECES.slice(1));
    expect(far.received.length).toBe(1);
  });

  test("extension headers before the fragment header are the first fragment's", () => {
    const { script, far } = rig();
    const [first, ...rest] = PIECES;
    const extensions = [{ header: 60, body: [1, 2, 0, 0] }];
    script.sendBatch(...rest, { ...first, ip6: { ...first!.ip6, extensions } });
    expect(far.received.length).toBe(1);
  });

  test(
    proves(
      ["bad.ip.fragments-overlap", "ipv6.overlap"],
      "RFC 5722: an overlap drops the whole, and what follows of it",
    ),
    () => {
      const { script, far } = rig();
      script.sendBatch(PIECES[0]!, fragment(1440, 16, true), ...PIECES.slice(1));
      expect(far.received).toEqual([]);
      script.expectNothing();
      expect(script.dropped("ip-fragment")).toBeGreaterThan(0);
    },
  );

  test("the same identification from another source is another packet", () => {
    const { script, far } = rig();
    const other = { ...PIECES[0]!, ip6: { ...PIECES[0]!.ip6, src: "fec0::77" } };
    script.sendBatch(other, ...PIECES.slice(1));
    expect(far.received).toEqual([]);
  });

  test("RFC 6946: a fragment that is the whole needs no other", () => {
    const { script, far } = rig();
    script.sendBatch(...PIECES.slice(0, 2));
    script.send({ ip6: { dst: FAR_IP6, fragment: { id: 1 } }, udp: { dstPort: PORT }, payload: "alone" });
    expect(far.received.map(({ bytes }) => Buffer.from(bytes).toString())).toEqual(["alone"]);
  });

  test("a length that is no multiple of 8 is a parameter problem about it", () => {
    const { script } = rig();
    script.send(fragment(0, 1443, true));
    script.expect({ ip6: { src: GATEWAY_IP6 }, icmp6: { type: 4, code: 0, word: 4 } });
  });

  test(proves("bad.ip.fragments-overlap", "a packet that would be longer than 65535 bytes is one, too"), () => {
    const { script } = rig();
    script.send({
      ip6: { dst: FAR_IP6, proto: 17, fragment: { offset: 65_528, mf: false, id: 1 } },
      payload: "12345678",
    });
    script.expect({ icmp6: { type: 4, code: 0, word: 42 } });
  });

  test(
    proves(
      "bad.ip.fragmentsmack",
      "thousands of incomplete packets are bounded, and a whole one gets through afterwards",
    ),
    () => {
      const { script, far } = rig();
      for (let id = 2; id < 3000; id++) script.send(fragment(0, 1448, true, id));
      script.sendBatch(...PIECES);
      expect(far.received.length).toBe(1);
    },
  );

  test(proves("bad.ip.fragmentsmack", "what is incomplete after 60 s is forgotten"), () => {
    const { script, far } = rig();
    script.sendBatch(...PIECES.slice(1));
    script.advance(60_001);
    script.takeAll();
    script.send(PIECES[0]!);
    expect(far.received).toEqual([]);
  });
});
