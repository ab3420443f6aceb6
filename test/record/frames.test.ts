/** Frames without payload, and with bytes that stand for it. */
import fc from "fast-check";
import { expect, it } from "vitest";
import { isSealed, isSummed, keptLength, seal, standIn } from "../../src/record/frames.ts";
import { ETH_HEADER, ETH_IPV4, ETH_IPV6, ethWrite } from "../../src/wire/ethernet.ts";
import { frameFacts, readFacts } from "../../src/wire/frame-facts.ts";
import { IPV4_HEADER, ipv4Write, PROTO_TCP, PROTO_UDP } from "../../src/wire/ipv4.ts";
import { IPV6_HEADER, ipv6FromText, ipv6Write } from "../../src/wire/ipv6.ts";
import { ACK, TCP_HEADER, tcpHeaderLength, tcpWrite } from "../../src/wire/tcp.ts";
import { UDP_HEADER, udpWrite } from "../../src/wire/udp.ts";
import { encodeFrame } from "../support/frames.ts";

const MAC = new Uint8Array([2, 0, 0, 0, 0, 1]);

/** A frame with this payload and an unsealed transport header. */
function frame(family: 4 | 6, proto: number, payload: Uint8Array, port = 4000): Uint8Array {
  const header = proto === PROTO_TCP ? TCP_HEADER : UDP_HEADER;
  const ip = family === 4 ? IPV4_HEADER : IPV6_HEADER;
  const bytes = new Uint8Array(ETH_HEADER + ip + header + payload.length);
  ethWrite(bytes, 0, MAC, MAC, family === 4 ? ETH_IPV4 : ETH_IPV6);
  const size = header + payload.length;
  if (family === 4) ipv4Write(bytes, ETH_HEADER, 0x0a00020f, 0x0a000202, proto, size, 64, 1, 0);
  else {
    const [from, to] = [ipv6FromText("fec0::15"), ipv6FromText("fec0::2")];
    ipv6Write(bytes, ETH_HEADER, from, 0, to, 0, proto, size, 64);
  }
  const at = ETH_HEADER + ip;
  bytes.set(payload, at + header);
  if (proto === PROTO_TCP) tcpWrite(bytes, at, 3000, port, 1, 2, header, ACK, 1000);
  else udpWrite(bytes, at, 3000, port, payload.length, 0);
  return bytes;
}

it("a frame that is sealed has a right checksum, whatever its payload, of TCP and UDP over both families", () => {
  fc.assert(
    fc.property(
      fc.constantFrom(4 as const, 6 as const),
      fc.constantFrom(PROTO_TCP, PROTO_UDP),
      fc.nat(1460),
      fc.integer(),
      (family, proto, length, seed) => {
        const bytes = frame(family, proto, standIn(seed, 0, length));
        seal(bytes, 0, bytes.length);
        expect(isSealed(bytes, 0, bytes.length)).toBe(true);
        bytes[bytes.length - 1]! ^= 1;
        expect(isSealed(bytes, 0, bytes.length)).toBe(false);
        seal(bytes, 0, bytes.length, false);
        expect(isSealed(bytes, 0, bytes.length)).toBe(false);
      },
    ),
  );
});

it("an ICMP error is kept up to the quoted packet's ports, without the payload that follows", () => {
  const secret = new TextEncoder().encode("the guest's secret");
  for (const [proto, kept] of [
    [PROTO_UDP, 6],
    [PROTO_TCP, 8],
  ] as const) {
    const about = frame(4, proto, secret).subarray(ETH_HEADER);
    const error = encodeFrame({ ip: {}, icmp: { type: 3, code: 3 }, payload: about });
    const length = keptLength(error, 0, error.length);
    expect(length).toBe(ETH_HEADER + 20 + 8 + 20 + kept);
    expect(isSummed(false)).toBe(true);
    expect(isSealed(error, 0, error.length)).toBe(true);
    const about6 = frame(6, proto, secret).subarray(ETH_HEADER);
    const error6 = encodeFrame({ ip6: {}, icmp6: { type: 1, code: 4 }, payload: about6 });
    expect(keptLength(error6, 0, error6.length)).toBe(ETH_HEADER + 40 + 8 + 40 + kept);
    expect(isSealed(error6, 0, error6.length)).toBe(true);
  }
});

it("what is left out of a TCP segment is what a walk over its headers says, whatever its bytes are", () => {
  const facts = frameFacts();
  fc.assert(
    fc.property(
      fc.constantFrom(4 as const, 6 as const),
      fc.constantFrom(53, 80, 547, 548, 4000),
      fc.nat(40),
      fc.array(fc.tuple(fc.constantFrom(12, 13, 14, 16, 17, 18, 19, 20, 21, 23, 37, 46, 66), fc.nat(255)), {
        maxLength: 3,
      }),
      fc.nat(90),
      (family, port, payload, changes, len) => {
        const bytes = new Uint8Array(200);
        const made = frame(family, PROTO_TCP, new Uint8Array(payload), port);
        bytes.set(made, 7);
        for (const [at, value] of changes) bytes[7 + at] = value;
        const length = Math.min(len + 14, made.length);
        readFacts(facts, bytes, 7, length);
        const start = facts.payload - 7;
        let headers = length;
        const service = [facts.srcPort, facts.dstPort].some((of) => [53, 67, 68, 69, 546, 547].includes(of));
        if (facts.proto === PROTO_TCP && facts.srcPort < 0) headers = Math.min(start, length);
        else if (facts.proto === PROTO_TCP && start + TCP_HEADER <= length && !service)
          headers = Math.min(length, start + tcpHeaderLength(bytes, facts.payload));
        if (facts.proto !== PROTO_TCP) return;
        expect(keptLength(bytes, 7, length)).toBe(headers);
      },
    ),
    { numRuns: 3000 },
  );
});

it("payload is left out, but for what our own services read and what is very short", () => {
  const payload = new Uint8Array(100).fill(7);
  for (const family of [4, 6] as const) {
    const ip = family === 4 ? IPV4_HEADER : IPV6_HEADER;
    const kept = (bytes: Uint8Array): number => keptLength(bytes, 0, bytes.length);
    expect(kept(frame(family, PROTO_TCP, payload))).toBe(ETH_HEADER + ip + TCP_HEADER);
    expect(kept(frame(family, PROTO_UDP, payload))).toBe(ETH_HEADER + ip + UDP_HEADER);
    expect(kept(frame(family, PROTO_UDP, payload, 53))).toBe(ETH_HEADER + ip + UDP_HEADER + 100);
    expect(kept(frame(family, PROTO_UDP, payload.subarray(0, 4)))).toBe(ETH_HEADER + ip + UDP_HEADER + 4);
  }
});

it("no bytes make it throw or read beyond the frame", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
      expect(keptLength(bytes, 0, bytes.length)).toBeLessThanOrEqual(bytes.length);
      isSealed(bytes, 0, bytes.length);
      seal(bytes, 0, bytes.length);
    }),
  );
});

it("what stands for payload is the same for the same seed and place, and other bytes elsewhere", () => {
  expect(standIn(1, 2, 50)).toEqual(standIn(1, 2, 50));
  expect(standIn(1, 2, 50)).not.toEqual(standIn(1, 3, 50));
});
