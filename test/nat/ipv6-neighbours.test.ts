/** Neighbours and routers on the cable (RFC 4861, RFC 4862, RFC 8106), DHCPv6 (RFC 8415), and who may have an address. */
import { describe, expect, test } from "vitest";
import { cable } from "../../src/attach/memory.ts";
import { proves } from "../cases/proves.ts";
import { decodeFrame, encodeFrame, type Frame, type FrameSpec } from "../support/frames.ts";
import {
  DNS_IP6,
  FAR_IP6,
  GATEWAY_IP6,
  GATEWAY_LINK_LOCAL,
  GATEWAY_MAC6,
  GUEST_IP6,
  GUEST_LEASE6,
  GUEST_LINK_LOCAL,
  GUEST_MAC,
  PacketScript,
} from "../support/packet-script.ts";

const OTHER_MAC = "52:54:00:12:34:57";
const solicitation = (target: string): FrameSpec => ({
  ip6: { dst: `ff02::1:ff00:${target.split(":").pop()}` },
  ndp: { kind: "ns", target, options: { sourceMac: GUEST_MAC } },
});

describe("neighbour solicitation (RFC 4861 section 7.2)", () => {
  test.each([GATEWAY_IP6, DNS_IP6, GATEWAY_LINK_LOCAL])("%s is ours: router, solicited, override", (target) => {
    const script = new PacketScript();
    script.send(solicitation(target));
    const frame = script.expect({
      eth: { src: GATEWAY_MAC6, dst: GUEST_MAC },
      ip6: { src: target, dst: GUEST_IP6, hopLimit: 255 },
    });
    expect(frame.ndp).toMatchObject({
      ...{ kind: "na", target, router: true, solicited: true, override: true },
      options: { targetMac: GATEWAY_MAC6 },
    });
  });

  test("nobody else's address is answered for", () => {
    const script = new PacketScript();
    script.send(solicitation("fec0::77"));
    script.expectNothing();
  });

  test(
    proves("ipv6.dad", "duplicate address detection of the guest's own address is left alone (RFC 4862 section 5.4)"),
    () => {
      const script = new PacketScript();
      const probe = { ip6: { src: "::", dst: "ff02::1:ff12:3456" }, ndp: { kind: "ns", target: GUEST_IP6 } } as const;
      script.send(probe);
      script.expectNothing();
    },
  );

  test(proves("ipv6.dad", "for one of ours it is told to all nodes that the address is taken"), () => {
    const script = new PacketScript();
    script.send({ ip6: { src: "::", dst: "ff02::1:ff00:2" }, ndp: { kind: "ns", target: GATEWAY_IP6 } });
    const frame = script.expect({ eth: { dst: "33:33:00:00:00:01" }, ip6: { dst: "ff02::1" } });
    expect(frame.ndp).toMatchObject({ kind: "na", target: GATEWAY_IP6, solicited: false });
  });

  test(proves("ipv6.hop-limit", "section 7.1.1: a hop limit of 64 drops it"), () => {
    const script = new PacketScript();
    const spec = solicitation(GATEWAY_IP6);
    script.send({ ...spec, ip6: { ...spec.ip6, hopLimit: 64 } });
    script.expectNothing();
    expect(script.dropped("ndp-malformed")).toBe(1);
  });

  test("RFC 6980: a fragment header drops it, even of a fragment that is the whole", () => {
    const script = new PacketScript();
    const spec = solicitation(GATEWAY_IP6);
    script.send({ ...spec, ip6: { ...spec.ip6, fragment: { id: 1 } } });
    script.expectNothing();
    expect(script.dropped("ndp-malformed")).toBe(1);
  });

  test("a wrong checksum drops it", () => {
    const script = new PacketScript();
    script.send({ ...solicitation(GATEWAY_IP6), icmp6: { checksum: 1 } });
    script.expectNothing();
    expect(script.dropped("icmp-checksum")).toBe(1);
  });

  test(
    proves("ipv6.mld", "listener reports are ignored, those before the guest has an address, too (RFC 3590)"),
    () => {
      const script = new PacketScript();
      for (const src of ["::", GUEST_LINK_LOCAL]) {
        const hop = { header: 0, body: [5, 2, 0, 0] };
        script.send({ ip6: { src, dst: "ff02::16", hopLimit: 1, extensions: [hop] }, icmp6: { type: 143 } });
      }
      script.expectNothing();
      expect(script.dropped("icmp-type")).toBe(2);
    },
  );
});

describe("router advertisements (RFC 4861 section 6.2, libslirp's values)", () => {
  const PREFIX = { prefix: "fec0::", bits: 64, onLink: true, autonomous: true, valid: 86_400, preferred: 14_400 };

  test(proves("ipv6.ra", "a solicitation is answered at once, to the asker alone"), () => {
    const script = new PacketScript({ dnsSearch: ["example.test"] });
    script.send({ ip6: { src: GUEST_LINK_LOCAL, dst: "ff02::2" }, ndp: { kind: "rs" } });
    const frame = script.expect({
      eth: { src: GATEWAY_MAC6, dst: GUEST_MAC },
      ip6: { src: GATEWAY_LINK_LOCAL, dst: GUEST_LINK_LOCAL, hopLimit: 255 },
    });
    expect(frame.ndp).toMatchObject({
      ...{ kind: "ra", hopLimit: 64, managed: false, other: true, lifetime: 1800 },
      options: {
        sourceMac: GATEWAY_MAC6,
        prefix: PREFIX,
        mtu: 1500,
        rdnss: { servers: [DNS_IP6] },
        dnssl: { names: ["example.test"] },
      },
    });
  });

  test("who plugs a cable in hears of the router without asking", () => {
    const script = new PacketScript();
    script.advance(0);
    expect(script.adverts.length).toBe(1);
    expect(script.adverts[0]).toMatchObject({
      eth: { src: GATEWAY_MAC6, dst: "33:33:00:00:00:01" },
      ip6: { src: GATEWAY_LINK_LOCAL, dst: "ff02::1", hopLimit: 255 },
      ndp: { kind: "ra", options: { prefix: PREFIX } },
    });
    script.advance(2_000_000);
    expect(script.adverts.length).toBeGreaterThan(4);
  });

  test("one from :: is answered to all, three seconds after the last at the earliest", () => {
    const script = new PacketScript();
    script.advance(0);
    script.send({ ip6: { src: "::", dst: "ff02::2" }, ndp: { kind: "rs" } });
    script.expectNothing();
    script.advance(3_000);
    expect(script.adverts.length).toBe(2);
  });

  test("any prefix on request; one that is not 64 bits sends guests to DHCPv6", () => {
    const script = new PacketScript({ subnet6: "2001:db8:5::/80", mtu: 9000 });
    script.advance(0);
    expect(script.adverts[0]!.ndp).toMatchObject({
      managed: true,
      options: {
        prefix: { prefix: "2001:db8:5::", bits: 80, autonomous: false },
        mtu: 9000,
        rdnss: { servers: ["2001:db8:5::3"] },
      },
    });
  });
});

describe("DHCPv6", () => {
  const xid = [1, 2, 3, 4].slice(1);
  const duid = [0, 3, 0, 1, 0x52, 0x54, 0, 0x12, 0x34, 0x56];
  const clientId = [0, 1, 0, duid.length, ...duid];
  const send = (script: PacketScript, message: readonly number[], dst = "ff02::1:2", checksum?: number): void =>
    script.send({
      ip6: { src: GUEST_LINK_LOCAL, dst },
      udp: { srcPort: 546, dstPort: 547, ...(checksum !== undefined && { checksum }) },
      payload: Uint8Array.from(message),
    });

  test(proves("ipv6.dhcp6", "an information request is answered from the router with what was asked for"), () => {
    const script = new PacketScript();
    send(script, [11, ...xid, ...clientId, 0, 6, 0, 2, 0, 23]);
    const frame = script.expect({
      ip6: { src: GATEWAY_LINK_LOCAL, dst: GUEST_LINK_LOCAL },
      udp: { srcPort: 547, dstPort: 546 },
    });
    expect([...frame.payload.slice(0, 4)]).toEqual([7, ...xid]);
    const dns = [0, 23, 0, 16, 0xfe, 0xc0, ...new Array<number>(13).fill(0), 3];
    expect(Buffer.from(frame.payload).includes(Buffer.from(dns))).toBe(true);
  });

  test(proves("ipv6.dhcp6", "a solicit with rapid commit has its address at once, and a lease is reported"), () => {
    const script = new PacketScript();
    send(script, [1, ...xid, ...clientId, 0, 14, 0, 0, 0, 3, 0, 12, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0]);
    const frame = script.expect({ udp: { srcPort: 547 } });
    const address = [0xfe, 0xc0, ...new Array<number>(13).fill(0), 0x15];
    expect(Buffer.from(frame.payload).includes(Buffer.from(address))).toBe(true);
    expect(script.stack.leases()).toMatchObject([{ ip: GUEST_LEASE6, mac: GUEST_MAC }]);
  });

  test("a message without a checksum, or with a wrong one, is dropped", () => {
    const script = new PacketScript();
    for (const checksum of [0, 1]) send(script, [11, ...xid, ...clientId], "ff02::1:2", checksum);
    script.expectNothing();
    expect(script.dropped("udp-malformed")).toBe(2);
  });
});

/** A second guest on a cable of its own. */
class Second {
  readonly frames: Frame[] = [];
  readonly #cable: ReturnType<typeof cable>;

  constructor(script: PacketScript) {
    this.#cable = cable(script.stack, { onFrame: (frame) => this.frames.push(decodeFrame(frame)) });
  }

  send(spec: FrameSpec): void {
    const dst = spec.ip6?.dst?.startsWith("ff") ? "33:33:00:00:00:01" : GATEWAY_MAC6;
    this.#cable.send(encodeFrame({ ...spec, eth: { src: OTHER_MAC, dst, ...spec.eth } }));
  }

  unplug(): void {
    this.#cable.close();
  }
}

describe("one guest cannot take another's address", () => {
  const echo = (src: string): FrameSpec => ({ ip6: { src, dst: GATEWAY_IP6 }, icmp6: {} });

  test("who is heard with an address first has it until its cable is gone", () => {
    const script = new PacketScript();
    const second = new Second(script);
    script.send(echo(GUEST_IP6));
    script.expect({ icmp6: { type: 129 } });
    second.send(echo(GUEST_IP6));
    expect(second.frames).toEqual([]);
    expect(script.dropped("ip-source")).toBe(1);
    script.cable.close();
    second.send(echo(GUEST_IP6));
    expect(second.frames).toMatchObject([{ eth: { dst: OTHER_MAC }, icmp6: { type: 129 } }]);
  });

  test(proves("bad.ip.spoofing", "nor by an advertisement, nor by a solicitation"), () => {
    const script = new PacketScript();
    const second = new Second(script);
    script.send(echo(GUEST_IP6));
    second.send({
      ip6: { src: GUEST_LINK_LOCAL, dst: GATEWAY_IP6 },
      ndp: { kind: "na", target: GUEST_IP6, solicited: true, override: true, options: { targetMac: OTHER_MAC } },
    });
    second.send({
      ip6: { src: GUEST_IP6, dst: "ff02::1:ff00:2" },
      ndp: { kind: "ns", target: GATEWAY_IP6, options: { sourceMac: OTHER_MAC } },
    });
    expect(second.frames).toEqual([]);
    expect(script.dropped("ndp-spoofed")).toBe(2);
    script.takeAll();
    script.send(echo(GUEST_IP6));
    script.expect({ eth: { dst: GUEST_MAC }, icmp6: { type: 129 } });
  });

  test("an address that DHCPv6 has leased is the lessee's", () => {
    const script = new PacketScript();
    const second = new Second(script);
    const duid = [0, 3, 0, 1, 0x52, 0x54, 0, 0x12, 0x34, 0x56];
    const solicit = [1, 1, 2, 3, 0, 1, 0, 10, ...duid, 0, 14, 0, 0, 0, 3, 0, 12, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0];
    script.send({
      ip6: { src: GUEST_LINK_LOCAL, dst: "ff02::1:2" },
      udp: { srcPort: 546, dstPort: 547 },
      payload: Uint8Array.from(solicit),
    });
    second.send(echo(GUEST_LEASE6));
    expect(second.frames).toEqual([]);
    expect(script.dropped("ip-source")).toBe(1);
  });

  test(proves("bad.ip.spoofing", "our own are nobody's: claims to them are dropped"), () => {
    const script = new PacketScript();
    script.send({
      ip6: { src: GUEST_LINK_LOCAL, dst: "ff02::1" },
      ndp: { kind: "na", target: GATEWAY_IP6, override: true, options: { targetMac: GUEST_MAC } },
    });
    script.send({ ip6: { src: GUEST_LINK_LOCAL, dst: "ff02::1" }, ndp: { kind: "ra" } });
    script.expectNothing();
    expect(script.dropped("ndp-spoofed")).toBe(1);
    expect(script.dropped("ndp-rogue")).toBe(1);
  });

  test("thousands of addresses from one cable cost it its own, not others'", () => {
    const script = new PacketScript();
    const second = new Second(script);
    script.send(echo(GUEST_IP6));
    for (let i = 0; i < 3000; i++) second.send(echo(`fec0::1:${(i + 1).toString(16)}`));
    second.send(echo(GUEST_IP6));
    expect(script.dropped("ip-source")).toBe(1);
    script.takeAll();
    script.send(echo(GUEST_IP6));
    script.expect({ icmp6: { type: 129 } });
  });
});

describe("forwards", () => {
  test("to a guest's IPv6 address: the guest is asked for, then dialled, and the client's address shown", async () => {
    const script = new PacketScript({ hostfwd: ["tcp:[::1]:2222-[fec0::15]:22"] });
    await script.stack.open();
    const client = script.host.dial({ host: "::1", port: 2222 }, { host: "2001:db8::7", port: 5555 });
    const question = script.expect({ eth: { dst: "33:33:ff:00:00:15" }, ip6: { dst: "ff02::1:ff00:15" } });
    expect(question.ndp).toMatchObject({
      ...{ kind: "ns", target: GUEST_LEASE6 },
      options: { sourceMac: GATEWAY_MAC6 },
    });
    expect(question.ip6!.src).toBe(GATEWAY_LINK_LOCAL);
    script.send({
      ip6: { src: GUEST_LEASE6, dst: GATEWAY_LINK_LOCAL },
      ndp: { kind: "na", target: GUEST_LEASE6, solicited: true, override: true, options: { targetMac: GUEST_MAC } },
    });
    const syn = script.expect({
      eth: { dst: GUEST_MAC },
      ip6: { src: "2001:db8::7", dst: GUEST_LEASE6 },
      tcp: { flags: "SYN", srcPort: 5555, dstPort: 22 },
    });
    const back = { ip6: { src: GUEST_LEASE6, dst: "2001:db8::7" } };
    const ack = syn.tcp!.seq + 1;
    script.send({ ...back, tcp: { flags: "SYN ACK", srcPort: 22, dstPort: 5555, seq: 1, ack } });
    script.expect({ tcp: { flags: "ACK" } });
    client.send("hello");
    script.expect({ tcp: { srcPort: 5555 }, payload: "hello" });
  });

  test.each([
    ["127.0.0.1", GATEWAY_IP6],
    ["::1", GATEWAY_IP6],
    ["198.51.100.7", GATEWAY_IP6],
    ["fe80::1%eth0", GATEWAY_IP6],
    ["2001:db8::7", "2001:db8::7"],
  ])("a client at %s is shown as %s", async (host, shown) => {
    const script = new PacketScript({ hostfwd: ["tcp::2222-[fec0::15]:22"] });
    await script.stack.open();
    script.send({ ip6: { src: GUEST_LEASE6, dst: GATEWAY_IP6 }, icmp6: {} });
    script.takeAll();
    script.host.dial({ host: "0.0.0.0", port: 2222 }, { host, port: 5555 });
    script.expect({ ip6: { src: shown, dst: GUEST_LEASE6 }, tcp: { flags: "SYN" } });
  });

  test("UDP, and the guest's answer finds the client", async () => {
    const script = new PacketScript({ hostfwd: ["udp:[::1]:5353-[fec0::15]:53"] });
    await script.stack.open();
    script.send({ ip6: { src: GUEST_LEASE6, dst: GATEWAY_IP6 }, icmp6: {} });
    script.takeAll();
    const client = script.host.udpFar({ host: "2001:db8::7", port: 5555 });
    client.send("ask", { host: "::1", port: 5353 });
    script.expect({
      ip6: { src: "2001:db8::7", dst: GUEST_LEASE6 },
      udp: { srcPort: 5555, dstPort: 53 },
      payload: "ask",
    });
    script.send({
      ip6: { src: GUEST_LEASE6, dst: "2001:db8::7" },
      udp: { srcPort: 53, dstPort: 5555 },
      payload: "answer",
    });
    expect(client.received.map(({ bytes }) => Buffer.from(bytes).toString())).toEqual(["answer"]);
  });

  test("without IPv4 a forward that names no guest leads to the first DHCPv6 lease", async () => {
    const script = new PacketScript({ ipv4: false, publish: ["2222:22"] });
    await script.stack.open();
    script.host.dial({ host: "127.0.0.1", port: 2222 });
    expect(script.expect({}).ndp).toMatchObject({ kind: "ns", target: GUEST_LEASE6 });
  });

  test("a guest that nobody has heard of is asked for once a second, not per segment", async () => {
    const script = new PacketScript({ hostfwd: ["tcp:[::1]:2222-[fec0::15]:22"] });
    await script.stack.open();
    for (let i = 0; i < 20; i++) script.host.dial({ host: "::1", port: 2222 });
    expect(script.takeAll().length).toBe(1);
  });
});

test("another MAC at a guest's address is another guest: it gets none of the flow's bytes", () => {
  const script = new PacketScript();
  const tcp = script.tcp({ dst: FAR_IP6 });
  tcp.establish();
  script.send({ eth: { src: OTHER_MAC }, ip6: { dst: GATEWAY_IP6 }, icmp6: {} });
  script.takeAll();
  expect(script.host.dialled[0]!.closed).toBe("ECONNRESET");
  script.host.dialled[0]!.send("still here");
  script.expectNothing();
});
