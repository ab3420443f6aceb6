/** Whatever a guest puts on its cable in IPv6's name: the stack lives, answers afterwards, and sends nothing that is wrong. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { DROP_REASONS } from "../../src/core/trace.ts";
import { proves } from "../cases/proves.ts";
import { message, SERVER_ID } from "../proto/dhcp6-script.ts";
import { encodeFrame, type FrameSpec } from "../support/frames.ts";
import {
  DNS_IP6,
  FAR_IP6,
  GATEWAY_IP6,
  GUEST_IP6,
  GUEST_LINK_LOCAL,
  GUEST_MAC,
  PacketScript,
} from "../support/packet-script.ts";

const MOST_SENT_PER_FRAME = 4;
const STALE = 0xa5;

function stale(bytes: Uint8Array): number {
  return bytes.filter((byte) => byte === STALE).length;
}

/** The gateway still tells where it is. */
function answers(script: PacketScript): void {
  script.takeAll();
  const target = GATEWAY_IP6;
  script.send({
    ip6: { src: GUEST_IP6, dst: "ff02::1:ff00:2" },
    ndp: { kind: "ns", target, options: { sourceMac: GUEST_MAC } },
  });
  script.expect({ ip6: { src: target, dst: GUEST_IP6 }, ndp: { kind: "na", target } });
  script.expectNothing();
}

function dropped(script: PacketScript): number {
  return DROP_REASONS.reduce((total, reason) => total + script.dropped(reason), 0);
}

const addresses = fc.constantFrom(
  ...[GUEST_IP6, GUEST_LINK_LOCAL, GATEWAY_IP6, DNS_IP6, FAR_IP6, "fec0::15", "fe80::2"],
  ...["::", "::1", "::ffff:127.0.0.1", "::127.0.0.1", "ff02::1", "ff02::2", "ff02::16", "ff02::1:2", "ff05::1:3"],
  ...["fe80::1", "2001:db8::ffff"],
);
const bytes = (maxLength: number): fc.Arbitrary<number[]> => fc.array(fc.nat(255), { maxLength });
const extensions = fc.array(
  fc.record(
    { header: fc.constantFrom(0, 43, 60), body: bytes(14), length: fc.constantFrom(0, 1, 255) },
    { requiredKeys: ["header", "body"] },
  ),
  { maxLength: 3 },
);
const fragment = fc.record({ offset: fc.nat(8191).map((n) => n * 8), mf: fc.boolean(), id: fc.nat(3) });
const ip6 = fc.record(
  {
    src: addresses,
    dst: addresses,
    hopLimit: fc.constantFrom(0, 1, 64, 255),
    proto: fc.constantFrom(0, 4, 6, 17, 41, 43, 44, 50, 51, 58, 59, 60, 255),
    length: fc.nat(2000),
    extensions,
    fragment,
  },
  { requiredKeys: ["src", "dst"] },
);
const port = fc.constantFrom(0, 7, 53, 69, 80, 546, 547, 5353);
const raw = { raw: fc.array(fc.constantFrom(0, 1, 2, 3, 5, 25, 31, 255), { maxLength: 40 }) };
const upper: fc.Arbitrary<FrameSpec> = fc.oneof(
  fc.record({ udp: fc.record({ srcPort: port, dstPort: port, length: fc.nat(40) }, { requiredKeys: ["srcPort"] }) }),
  fc.record({ tcp: fc.record({ dstPort: port, flags: fc.constantFrom("SYN", "ACK", "RST", "FIN ACK", "SYN FIN") }) }),
  fc.record({ icmp6: fc.record({ type: fc.nat(255), code: fc.nat(8), word: fc.nat(0xffff) }) }),
  fc.record({
    ndp: fc.record({
      kind: fc.constantFrom("rs", "ra", "ns", "na"),
      target: addresses,
      options: fc.oneof(fc.record(raw), fc.constant({ sourceMac: GUEST_MAC }), fc.constant({ targetMac: GUEST_MAC })),
    }),
  }),
  fc.constant({}),
);
const frames: fc.Arbitrary<FrameSpec> = fc
  .tuple(ip6, upper, fc.uint8Array({ maxLength: 80 }), fc.constantFrom(0, 0, 30))
  .map(([header, rest, payload, padding]) => ({ ...rest, ip6: header, payload, padding }));

describe("property", () => {
  test(proves("bad.any.alive", "no packet is too strange: addresses, headers, options, lengths at will"), () => {
    fc.assert(
      fc.property(fc.array(frames, { minLength: 1, maxLength: 12 }), (list) => {
        const script = new PacketScript();
        for (const frame of list) {
          script.send(frame);
          expect(script.takeAll().length).toBeLessThanOrEqual(MOST_SENT_PER_FRAME);
        }
        script.advance(100);
        answers(script);
      }),
      { numRuns: 100 },
    );
  });

  const good: readonly FrameSpec[] = [
    { ip6: {}, tcp: { flags: "SYN", options: { mss: 1440, sackPermitted: true } } },
    { ip6: {}, udp: { dstPort: 7 }, payload: "some bytes" },
    { ip6: { dst: DNS_IP6 }, udp: { dstPort: 53 }, payload: "\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x01a\0\0\x1c\0\x01" },
    { ip6: { dst: GATEWAY_IP6 }, icmp6: { type: 128, id: 1, seq: 2 }, payload: "echo" },
    {
      ip6: { extensions: [{ header: 0, body: [5, 2, 0, 0] }], fragment: { mf: true, id: 9 } },
      payload: "x".repeat(64),
    },
    { ip6: { src: GUEST_LINK_LOCAL, dst: "ff02::2" }, ndp: { kind: "rs", options: { sourceMac: GUEST_MAC } } },
    { ip6: { dst: "ff02::1:ff00:2" }, ndp: { kind: "ns", target: GATEWAY_IP6, options: { sourceMac: GUEST_MAC } } },
    {
      ip6: { src: GUEST_LINK_LOCAL, dst: "ff02::1:2" },
      udp: { srcPort: 546, dstPort: 547 },
      payload: message({ type: 3, serverId: SERVER_ID, ia: [{ addresses: ["fec0::15"] }], ask: [23, 24] }),
    },
  ];

  test(proves("bad.any.alive", "nor any real one with bytes changed, or cut short, or longer than it says"), () => {
    const change = fc.tuple(fc.nat(), fc.nat(255));
    const spoilt = fc.tuple(
      fc.nat(good.length - 1),
      fc.array(change, { maxLength: 4 }),
      fc.option(fc.nat(200), { nil: null }),
    );
    fc.assert(
      fc.property(fc.array(spoilt, { minLength: 1, maxLength: 8 }), (list) => {
        const script = new PacketScript();
        // What stands in the buffers when the others come: none of it may go out.
        script.sendRaw(new Uint8Array(1514).fill(STALE));
        for (const [which, changes, length] of list) {
          const spec = good[which]!;
          const frame = encodeFrame({ ...spec, eth: { dst: "52:56:00:00:00:02" } });
          for (const [at, value] of changes) frame[14 + (at % (frame.length - 14))] = value;
          const sized = new Uint8Array(length ?? frame.length);
          sized.set(frame.subarray(0, sized.length));
          script.sendRaw(sized);
          for (const out of script.takeAll()) expect(stale(out.payload)).toBeLessThanOrEqual(stale(sized));
        }
        script.advance(100);
        answers(script);
      }),
      { numRuns: 100 },
    );
  });
});

describe("floods", () => {
  test(
    proves("bad.any.floods", "300 DHCPv6 clients, and 3000 solicitations from as many addresses: still answered"),
    () => {
      const script = new PacketScript();
      for (let i = 0; i < 300; i++) {
        const payload = message({ type: 1, rapid: true, ia: [{ iaid: i }], duid: [0, 9, i >> 8, i & 255] });
        const src = `fe80::${(i + 16).toString(16)}`;
        script.send({ ip6: { src, dst: "ff02::1:2" }, udp: { srcPort: 546, dstPort: 547 }, payload });
      }
      for (let i = 0; i < 3000; i++) {
        const src = `fec0::9:${(i + 1).toString(16)}`;
        script.send({ ip6: { src, dst: FAR_IP6 }, icmp6: { type: 77 } });
      }
      expect(dropped(script)).toBeGreaterThan(0);
      answers(script);
    },
  );
});
