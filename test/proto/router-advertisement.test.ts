import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { ROUTER_ADVERT_MAX, RouterAdvertiser, type RouterConfig } from "../../src/proto/router-advertisement.ts";
import { ipv6PayloadLength } from "../../src/wire/ipv6.ts";
import { proves } from "../cases/proves.ts";
import { mac } from "../support/frames/bytes.ts";
import { decodeFrame, encodeFrame, type Frame, type FrameSpec } from "../support/frames.ts";
import { hexFixture } from "../support/hex-fixture.ts";
import { DNS_IP6, GATEWAY_LINK_LOCAL, GATEWAY_MAC6, GUEST_LINK_LOCAL, GUEST_MAC } from "../support/packet-script.ts";
import { SeededRandom } from "../support/random.ts";
import { RecordingTrace } from "../support/recording-trace.ts";

const CONFIG: RouterConfig = { net6: "fec0::", prefix6: 64, dns6: DNS_IP6, dnssearch: [], mtu: 1500, restrict: false };
const SOLICIT: FrameSpec = {
  ip6: { src: GUEST_LINK_LOCAL, dst: "ff02::2" },
  ndp: { kind: "rs", options: { sourceMac: GUEST_MAC } },
};

class Router {
  readonly trace = new RecordingTrace();
  readonly engine: RouterAdvertiser;
  now = 0;

  constructor(config: Partial<RouterConfig> = {}, seed = 1) {
    const random = new SeededRandom(seed);
    this.engine = new RouterAdvertiser(
      { ...CONFIG, ...config },
      Uint8Array.from(mac(GATEWAY_MAC6)),
      random,
      this.trace,
    );
  }

  receive(frame: Uint8Array): Frame | null {
    const out = new Uint8Array(14 + ROUTER_ADVERT_MAX);
    const len = ipv6PayloadLength(frame, 14);
    return packet(out, this.engine.receive(frame, 14, 54, len, 6, this.now, out, 14));
  }

  send(spec: FrameSpec): Frame | null {
    return this.receive(encodeFrame(spec));
  }

  /** The advertisement to all, if one is due. */
  poll(): Frame | null {
    const out = new Uint8Array(14 + ROUTER_ADVERT_MAX);
    return packet(out, this.engine.poll(this.now, out, 14));
  }
}

function packet(out: Uint8Array, length: number): Frame | null {
  if (length === 0) return null;
  out.set([0x86, 0xdd], 12);
  const frame = decodeFrame(out.subarray(0, 14 + length));
  expect(frame.problems).toEqual([]);
  return frame;
}

describe("RFC 4861 section 6.2.6: a solicitation", () => {
  test(proves("ipv6.ra", "is answered at once and alone, with libslirp's values and what RFC 8106 adds"), () => {
    const advert = new Router({ dnssearch: ["lab.test", "test"] }).receive(hexFixture("ipv6/linux-router-solicit"));
    expect(advert).toMatchObject({
      ip6: { src: GATEWAY_LINK_LOCAL, dst: GUEST_LINK_LOCAL, hopLimit: 255 },
      ndp: { kind: "ra", hopLimit: 64, managed: false, other: true, lifetime: 1800 },
    });
    expect(advert!.ndp!.options).toEqual({
      sourceMac: GATEWAY_MAC6,
      prefix: { prefix: "fec0::", bits: 64, onLink: true, autonomous: true, valid: 86_400, preferred: 14_400 },
      mtu: 1500,
      rdnss: { servers: [DNS_IP6], lifetime: 1800 },
      dnssl: { names: ["lab.test", "test"], lifetime: 1800 },
    });
  });

  test("from :: is answered to all, as soon as three seconds have passed since the last", () => {
    const router = new Router();
    router.engine.linkUp(0);
    expect(router.poll()).not.toBeNull();
    router.now = 1_000;
    expect(router.send({ ip6: { src: "::", dst: "ff02::2" }, ndp: { kind: "rs" } })).toBeNull();
    expect(router.engine.nextAt()).toBe(3_000);
    router.now = 2_999;
    expect(router.poll()).toBeNull();
    router.now = 3_000;
    expect(router.poll()).toMatchObject({ ip6: { src: GATEWAY_LINK_LOCAL, dst: "ff02::1" }, ndp: { kind: "ra" } });
  });

  test("however many come from ::, no two advertisements to all are closer than three seconds", () => {
    const router = new Router();
    let last = Number.NEGATIVE_INFINITY;
    for (router.now = 0; router.now < 20_000; router.now += 100) {
      router.send({ ip6: { src: "::", dst: "ff02::2" }, ndp: { kind: "rs" } });
      if (router.poll() === null) continue;
      expect(router.now - last).toBeGreaterThanOrEqual(3_000);
      last = router.now;
    }
  });
});

describe("RFC 4861 section 6.1.1: a solicitation is dropped", () => {
  test.each<[string, FrameSpec]>([
    ["with hop limit 64", { ...SOLICIT, ip6: { ...SOLICIT.ip6, hopLimit: 64 } }],
    ["with code 1", { ...SOLICIT, icmp6: { code: 1 } }],
    ["with an option of length 0", { ...SOLICIT, ndp: { kind: "rs", options: { raw: [1, 0, 0, 0, 0, 0, 0, 0] } } }],
    ["with an option that overruns", { ...SOLICIT, ndp: { kind: "rs", options: { raw: [1, 2, 0, 0, 0, 0, 0, 0] } } }],
    ["from :: with a MAC", { ...SOLICIT, ip6: { src: "::", dst: "ff02::2" } }],
    ["from a group", { ...SOLICIT, ip6: { src: "ff02::9", dst: "ff02::2" } }],
  ])("%s", (_name, spec) => {
    const router = new Router();
    expect(router.send(spec)).toBeNull();
    expect(router.trace.drops).toEqual(["ndp-malformed"]);
    expect(router.engine.nextAt()).toBe(Number.POSITIVE_INFINITY);
  });

  test("with another's MAC", () => {
    const router = new Router();
    expect(router.send({ ...SOLICIT, ndp: { kind: "rs", options: { sourceMac: "52:54:00:00:00:09" } } })).toBeNull();
    expect(router.trace.drops).toEqual(["ndp-spoofed"]);
  });
});

describe("RFC 4861 section 6.2.4: unsolicited advertisements", () => {
  test("none without a cable; the first at once, the next two within 16 s, the others 198 to 600 s apart", () => {
    fc.assert(
      fc.property(fc.integer(), (seed) => {
        const router = new Router({}, seed);
        expect(router.engine.nextAt()).toBe(Number.POSITIVE_INFINITY);
        expect(router.poll()).toBeNull();
        router.engine.linkUp(5);
        const gaps: number[] = [];
        for (let i = 0; i < 6; i++) {
          gaps.push(router.engine.nextAt() - router.now);
          router.now = router.engine.nextAt();
          expect(router.poll()).toMatchObject({ ip6: { dst: "ff02::1" } });
          expect(router.poll()).toBeNull();
        }
        expect(gaps[0]).toBe(5);
        expect(gaps.slice(1, 3)).toEqual([16_000, 16_000]);
        for (const gap of gaps.slice(3)) {
          expect(gap).toBeGreaterThanOrEqual(198_000);
          expect(gap).toBeLessThanOrEqual(600_000);
        }
      }),
      { numRuns: 20 },
    );
  });

  test("intervals differ from each other", () => {
    const gaps = new Set<number>();
    const router = new Router();
    router.engine.linkUp(0);
    for (let i = 0; i < 10; i++) {
      router.now = router.engine.nextAt();
      router.poll();
      gaps.add(router.engine.nextAt() - router.now);
    }
    expect(gaps.size).toBeGreaterThan(5);
  });

  test("a cable plugged in later hears one soon", () => {
    const router = new Router();
    router.engine.linkUp(0);
    for (let i = 0; i < 5; i++) {
      router.now = router.engine.nextAt();
      router.poll();
    }
    router.now += 1_000;
    router.engine.linkUp(router.now);
    expect(router.engine.nextAt()).toBe(router.now + 2_000);
  });
});

describe("what is advertised", () => {
  test("RFC 4862 section 5.5.3 d: another length than 64 is not for SLAAC, so M says to ask DHCPv6", () => {
    const advert = new Router({ net6: "fd00:1::", prefix6: 80 }).send(SOLICIT);
    expect(advert!.ndp).toMatchObject({ managed: true, other: true });
    expect(advert!.ndp!.options.prefix).toMatchObject({
      prefix: "fd00:1::",
      bits: 80,
      onLink: true,
      autonomous: false,
    });
  });

  test("a restricted network's router is not for default and names no DNS server", () => {
    const advert = new Router({ restrict: true, dnssearch: ["lab.test"] }).send(SOLICIT);
    expect(advert!.ndp!.lifetime).toBe(0);
    expect(Object.keys(advert!.ndp!.options).sort()).toEqual(["mtu", "prefix", "sourceMac"]);
  });

  test("the network's MTU (RFC 4861 section 4.6.4)", () => {
    expect(new Router({ mtu: 65_520 }).send(SOLICIT)!.ndp!.options.mtu).toBe(65_520);
  });

  test("RFC 8106 section 5.2: any number of search domains leaves the packet within 1280 bytes", () => {
    const dnssearch = Array.from({ length: 200 }, (_, i) => `${"d".repeat(i % 60)}x.zone-${i}.test`);
    const advert = new Router({ dnssearch }).send(SOLICIT)!;
    expect(advert.ip6!.length).toBeLessThanOrEqual(1240);
    expect(advert.ndp!.options.dnssl!.names[0]).toBe("x.zone-0.test");
  });
});
