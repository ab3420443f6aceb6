import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { NDP_PACKET, NeighbourDiscovery } from "../../src/proto/ndp.ts";
import { ipv6Equals, ipv6FromText, ipv6PayloadLength, ipv6ToString } from "../../src/wire/ipv6.ts";
import { proves } from "../cases/proves.ts";
import { mac } from "../support/frames/bytes.ts";
import { decodeFrame, encodeFrame, type Frame, type FrameSpec } from "../support/frames.ts";
import { hexFixture } from "../support/hex-fixture.ts";
import {
  DNS_IP6,
  GATEWAY_IP6,
  GATEWAY_LINK_LOCAL,
  GATEWAY_MAC6,
  GUEST_IP6,
  GUEST_LINK_LOCAL,
  GUEST_MAC,
} from "../support/packet-script.ts";
import { RecordingTrace } from "../support/recording-trace.ts";

const OWN = [GATEWAY_IP6, DNS_IP6, GATEWAY_LINK_LOCAL].map(ipv6FromText);
const OTHER_MAC = "52:54:00:00:00:09";

class Discovery {
  readonly trace = new RecordingTrace();
  readonly engine = new NeighbourDiscovery(
    { isOurs6: (buf, at) => OWN.some((own) => ipv6Equals(buf, at, own, 0)) },
    Uint8Array.from(mac(GATEWAY_MAC6)),
    this.trace,
  );
  /** The address that the last frame's sender was found to have. */
  heard: string | null = null;

  receive(frame: Uint8Array): Frame | null {
    const out = new Uint8Array(14 + NDP_PACKET);
    const length = this.engine.receive(frame, 14, 54, ipv6PayloadLength(frame, 14), 6, out, 14);
    const { heardAt } = this.engine;
    this.heard = heardAt < 0 ? null : ipv6ToString(frame, heardAt);
    return answer(out, length);
  }

  send(spec: FrameSpec): Frame | null {
    return this.receive(encodeFrame(spec));
  }
}

function answer(out: Uint8Array, length: number): Frame | null {
  if (length === 0) return null;
  expect(length).toBe(NDP_PACKET);
  out.set([0x86, 0xdd], 12);
  const frame = decodeFrame(out);
  expect(frame.problems).toEqual([]);
  return frame;
}

function solicit(target: string, src: string = GUEST_IP6, dst = "ff02::1:ff00:2"): FrameSpec {
  const options = src === "::" ? {} : { sourceMac: GUEST_MAC };
  return { ip6: { src, dst }, ndp: { kind: "ns", target, options } };
}

describe("RFC 4861 section 7.2.4: a solicitation for one of our addresses", () => {
  test.each([GATEWAY_IP6, GATEWAY_LINK_LOCAL, DNS_IP6])("%s is answered to the asker", (target) => {
    const discovery = new Discovery();
    expect(discovery.send(solicit(target))).toMatchObject({
      ip6: { src: target, dst: GUEST_IP6, hopLimit: 255 },
      ndp: {
        ...{ kind: "na", target, router: true, solicited: true, override: true },
        options: { targetMac: GATEWAY_MAC6 },
      },
    });
    expect(discovery.heard).toBe(GUEST_IP6);
  });

  test("Linux asks: answered, and the asker is known", () => {
    const discovery = new Discovery();
    const advert = discovery.receive(hexFixture("ipv6/linux-neighbour-solicit"));
    expect(advert).toMatchObject({ ip6: { dst: "fec0::15" }, ndp: { target: GATEWAY_IP6 } });
    expect(discovery.heard).toBe("fec0::15");
  });

  test("RFC 4861 section 7.3: a unicast probe of reachability without a MAC is answered too", () => {
    const discovery = new Discovery();
    const spec: FrameSpec = { ip6: { src: GUEST_IP6, dst: GATEWAY_IP6 }, ndp: { kind: "ns", target: GATEWAY_IP6 } };
    expect(discovery.send(spec)).toMatchObject({ ip6: { dst: GUEST_IP6 }, ndp: { solicited: true } });
    expect(discovery.heard).toBeNull();
  });
});

describe("RFC 4862 section 5.4: duplicate address detection", () => {
  test(proves("ipv6.dad", "of a guest's own address is left alone, and the address not believed yet"), () => {
    const discovery = new Discovery();
    expect(discovery.receive(hexFixture("ipv6/linux-dad"))).toBeNull();
    expect(discovery.heard).toBeNull();
    expect(discovery.trace.drops).toEqual([]);
  });

  test(proves("ipv6.dad", "of one of ours is answered to all nodes, unsolicited (section 5.4.4)"), () => {
    expect(new Discovery().send(solicit(GATEWAY_IP6, "::"))).toMatchObject({
      ip6: { src: GATEWAY_IP6, dst: "ff02::1" },
      ndp: { kind: "na", target: GATEWAY_IP6, router: true, solicited: false, override: true },
    });
  });

  test("a solicitation for another guest's address is not answered by us", () => {
    const discovery = new Discovery();
    expect(discovery.send(solicit("fec0::99"))).toBeNull();
    expect(discovery.heard).toBe(GUEST_IP6);
  });
});

describe("RFC 4861 section 7.1: dropped", () => {
  const good = solicit(GATEWAY_IP6);
  const raw = (...bytes: number[]): FrameSpec => {
    return { ...good, ndp: { kind: "ns", target: GATEWAY_IP6, options: { raw: bytes } } };
  };
  test.each<[string, FrameSpec]>([
    [proves("ipv6.hop-limit", "a solicitation with hop limit 64"), { ...good, ip6: { ...good.ip6, hopLimit: 64 } }],
    [proves("ipv6.hop-limit", "one with hop limit 254"), { ...good, ip6: { ...good.ip6, hopLimit: 254 } }],
    ["code 1", { ...good, icmp6: { code: 1 } }],
    ["a multicast target", solicit("ff02::1")],
    ["a multicast source", solicit(GATEWAY_IP6, "ff02::5")],
    ["from :: to an address that is no solicited-node group", solicit(GATEWAY_IP6, "::", GATEWAY_IP6)],
    [
      "from :: with a MAC",
      { ...solicit(GATEWAY_IP6, "::"), ndp: { kind: "ns", target: GATEWAY_IP6, options: { sourceMac: GUEST_MAC } } },
    ],
    ["an option of length 0", raw(1, 0, 0, 0, 0, 0, 0, 0)],
    ["an option that overruns", raw(1, 9, 0, 0, 0, 0, 0, 0)],
    ["half an option", raw(1, 1, 0, 0)],
    ["a multicast advertisement that calls itself solicited", advert({ dst: "ff02::1", solicited: true })],
    ["an advertisement for a group", advert({ target: "ff02::1:ff00:15" })],
    ["an advertisement with hop limit 64", { ...advert({}), ip6: { src: GUEST_IP6, dst: GATEWAY_IP6, hopLimit: 64 } }],
  ])("%s", (_name, spec) => {
    const discovery = new Discovery();
    expect(discovery.send(spec)).toBeNull();
    expect(discovery.heard).toBeNull();
    expect(discovery.trace.drops).toEqual(["ndp-malformed"]);
  });
});

interface Advert {
  readonly src?: string;
  readonly dst?: string;
  readonly target?: string;
  readonly targetMac?: string | null;
  readonly solicited?: boolean;
}

function advert({
  src = GUEST_IP6,
  dst = GATEWAY_IP6,
  target = GUEST_IP6,
  targetMac = GUEST_MAC,
  solicited = false,
}: Advert): FrameSpec {
  const options = targetMac === null ? {} : { targetMac };
  return { ip6: { src, dst }, ndp: { kind: "na", target, solicited, override: true, options } };
}

describe("RFC 4861 section 7.2.5: a guest's advertisement", () => {
  test.each<[string, Advert]>([
    ["that answers us", { solicited: true }],
    ["that answers us without its MAC", { solicited: true, targetMac: null }],
    ["to all nodes, unasked (section 7.2.6)", { dst: "ff02::1" }],
  ])("%s is believed", (_name, spec) => {
    const discovery = new Discovery();
    expect(discovery.send(advert(spec))).toBeNull();
    expect(discovery.heard).toBe(GUEST_IP6);
    expect(discovery.trace.drops).toEqual([]);
  });

  test("that says nothing new is nothing", () => {
    const discovery = new Discovery();
    discovery.send(advert({ targetMac: null }));
    expect(discovery.heard).toBeNull();
  });
});

describe("speaking for others is dropped and counted", () => {
  test.each<[string, FrameSpec]>([
    [proves("bad.ip.spoofing", "an advertisement for the gateway"), advert({ target: GATEWAY_IP6 })],
    [proves("bad.ip.spoofing", "an advertisement from the router's address"), advert({ src: GATEWAY_LINK_LOCAL })],
    [proves("bad.ip.spoofing", "an advertisement with another's MAC"), advert({ targetMac: OTHER_MAC })],
    ["a solicitation from the DNS server's address", solicit(GATEWAY_IP6, DNS_IP6)],
    [
      "a solicitation with another's MAC",
      { ...solicit(GATEWAY_IP6), ndp: { kind: "ns", target: GATEWAY_IP6, options: { sourceMac: OTHER_MAC } } },
    ],
  ])("%s", (_name, spec) => {
    const discovery = new Discovery();
    expect(discovery.send(spec)).toBeNull();
    expect(discovery.heard).toBeNull();
    expect(discovery.trace.drops).toEqual(["ndp-spoofed"]);
  });

  test(proves("bad.ip.spoofing", "a guest's router advertisement or redirect"), () => {
    const discovery = new Discovery();
    expect(discovery.send({ ip6: { src: GUEST_LINK_LOCAL, dst: "ff02::1" }, ndp: { kind: "ra" } })).toBeNull();
    const redirect = { ip6: { src: GUEST_LINK_LOCAL, dst: GUEST_IP6, hopLimit: 255 }, icmp6: { type: 137 } };
    expect(discovery.send({ ...redirect, payload: new Uint8Array(32) })).toBeNull();
    expect(discovery.trace.drops).toEqual(["ndp-rogue", "ndp-rogue"]);
  });
});

test("RFC 4861 section 7.2.2: our question goes to the solicited-node group", () => {
  const out = new Uint8Array(14 + NDP_PACKET);
  const { engine } = new Discovery();
  const length = engine.solicit(out, 14, ipv6FromText(GATEWAY_LINK_LOCAL), ipv6FromText(GUEST_IP6), 0);
  expect(answer(out, length)).toMatchObject({
    ip6: { src: GATEWAY_LINK_LOCAL, dst: "ff02::1:ff12:3456", hopLimit: 255 },
    ndp: { kind: "ns", target: GUEST_IP6, options: { sourceMac: GATEWAY_MAC6 } },
  });
});

test("property: whatever a message says, what comes out is well formed or the drop is counted", () => {
  const noise = fc.uint8Array({ minLength: 4, maxLength: 80 });
  fc.assert(
    fc.property(
      fc.integer({ min: 130, max: 140 }),
      fc.constantFrom("::", GUEST_IP6, "ff02::1"),
      noise,
      (type, src, payload) => {
        const discovery = new Discovery();
        if (payload.length > 20) payload.set(OWN[payload[0]! % 3]!, 0);
        const spec: FrameSpec = { ip6: { src, dst: GATEWAY_IP6, hopLimit: 255 }, icmp6: { type }, payload };
        discovery.send(spec);
        expect(discovery.trace.drops.length).toBeLessThanOrEqual(1);
      },
    ),
  );
});
