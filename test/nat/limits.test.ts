/** Limits that rules set, seen from a guest under a manual clock. */
import { describe, expect, it } from "vitest";
import { DNS_A } from "../../src/wire/dns.ts";
import { query } from "../support/dns.ts";
import { FAR_IP, PacketScript, type TcpScript } from "../support/packet-script.ts";

/** A megabyte a second; its bucket holds 128 KiB. */
const RATE = "rate=8mbit";
const MEGABYTE = 1_000_000;
const BUCKET = 131_072;

async function settled(script: PacketScript): Promise<void> {
  for (let i = 0; i < 4; i++) await Promise.resolve();
  script.host.run();
}

/** What a SYN from this port gets. */
async function dial(script: PacketScript, srcPort: number): Promise<TcpScript | "refused"> {
  const tcp = script.tcp({ srcPort });
  tcp.send({ flags: "SYN", seq: 0, options: { mss: 1460, windowScale: 7 } });
  await settled(script);
  const [first] = script.takeAll();
  if (first?.tcp?.flags !== "SYN ACK") return "refused";
  tcp.peerIsn = first.tcp.seq;
  tcp.send({ flags: "ACK", seq: 1, ack: 1, window: 65_535 });
  return tcp;
}

function refusals({ events }: PacketScript): object[] {
  return events.filter(({ type }) => type === "flow-refused");
}

describe("connections", () => {
  it("at once: one too many gets a RST, until another has ended", async () => {
    const rule = "allow tcp any conns=2";
    const script = new PacketScript({ rules: [rule, "default deny"] });
    const first = (await dial(script, 1001)) as TcpScript;
    expect(await dial(script, 1002)).not.toBe("refused");
    expect(await dial(script, 1003)).toBe("refused");
    expect(refusals(script)).toMatchObject([{ rule, reason: `${rule}: 2 at once`, guest: "10.0.2.15:1003" }]);
    expect(script.dropped("conn-limit")).toBe(1);
    expect(script.stack.limits()).toMatchObject([{ rule, conns: 2, refused: 1, dropped: 0 }]);
    first.send({ flags: "RST", seq: 1 });
    expect(await dial(script, 1004)).not.toBe("refused");
    script.stack.close();
    expect(script.stack.limits()).toMatchObject([{ conns: 0 }]);
  });
  it("a second", async () => {
    const script = new PacketScript({ rules: ["allow tcp any opens=2/s", "default deny"] });
    const outcomes = async (): Promise<string[]> => {
      const all = [];
      for (let i = 0; i < 4; i++) all.push((await dial(script, (port += 1))) === "refused" ? "refused" : "open");
      return all;
    };
    let port = 2000;
    expect(await outcomes()).toEqual(["open", "open", "refused", "refused"]);
    script.advance(500);
    expect(await outcomes()).toEqual(["open", "refused", "refused", "refused"]);
  });
  it("of a guest in all, whatever rules allow it: UDP flows count, too, and are told by ICMP", async () => {
    const script = new PacketScript({ rules: ["limit conns=2"] });
    expect(await dial(script, 1001)).not.toBe("refused");
    script.host.udpFar({ host: FAR_IP, port: 9 });
    const said: (string | undefined)[] = [];
    for (const srcPort of [1, 2]) {
      script.send({ ip: { dst: FAR_IP }, udp: { srcPort, dstPort: 9 }, payload: "x" });
      await settled(script);
      const [frame] = script.takeAll();
      said.push(frame && `${frame.icmp?.type}/${frame.icmp?.code}`);
    }
    expect(said).toEqual([undefined, "3/13"]);
    script.advance(1_100);
    expect(script.stack.limits()).toMatchObject([{ rule: "limit conns=2", conns: 2, refused: 1 }]);
  });
});

it("DNS queries a second: more are dropped, and answered when asked again", async () => {
  const rule = "allow tcp *.good.test:443 dns=2/s";
  const script = new PacketScript({ rules: [rule, "default deny"] });
  const ask = async (count: number): Promise<number> => {
    for (let i = 0; i < count; i++) {
      const payload = query(`n${i}.good.test`, DNS_A);
      script.send({ ip: { dst: "10.0.2.3" }, udp: { srcPort: 5000 + i, dstPort: 53 }, payload });
      await settled(script);
    }
    return script.queries.length;
  };
  expect(await ask(5)).toBe(2);
  expect(script.dropped("dns-rate")).toBe(3);
  expect(refusals(script)[0]).toMatchObject({
    proto: "dns",
    host: "n2.good.test",
    rule,
    reason: `${rule}: 2 queries a second`,
  });
  script.advance(1_000);
  expect(await ask(1)).toBe(3);
});

describe("bytes a second", () => {
  it.each([`allow tcp any ${RATE}`, `limit ${RATE}`])("TCP to the guest is read no faster: %s", async (rule) => {
    const script = new PacketScript({ rules: [rule, "default allow"] });
    const tcp = (await dial(script, 1001)) as TcpScript;
    const from = script.clock.now();
    script.host.dialled[0]!.send(new Uint8Array(MEGABYTE));
    let got = 0;
    while (got < MEGABYTE && script.clock.now() < from + 20_000) {
      for (const { payload } of script.takeAll()) got += payload.length;
      tcp.send({ flags: "ACK", seq: 1, ack: 1 + got, window: 65_535 });
      script.advance(5);
    }
    expect(got).toBe(MEGABYTE);
    const took = script.clock.now() - from;
    expect(took).toBeGreaterThan(((MEGABYTE - BUCKET - 65_536) / MEGABYTE) * 1000);
    expect(took).toBeLessThan(1_100);
    expect(script.stack.limits()).toMatchObject([{ rule, dropped: 0, refused: 0 }]);
  });
  it("TCP from the guest is offered no more window", async () => {
    const script = new PacketScript({ rules: [`allow tcp any ${RATE}`, "default deny"] });
    const tcp = (await dial(script, 1001)) as TcpScript;
    const from = script.clock.now();
    let sent = 0;
    let edge = BUCKET;
    const segment = new Uint8Array(1_460);
    while (sent < MEGABYTE && script.clock.now() < from + 20_000) {
      while (sent + segment.length <= edge) {
        tcp.send({ flags: "ACK", seq: 1 + sent, ack: 1 }, segment);
        sent += segment.length;
      }
      script.advance(5);
      for (const frame of script.takeAll()) edge = ((frame.tcp!.ack - tcp.isn - 1) >>> 0) + frame.tcp!.window * 2 ** 3;
    }
    expect(script.host.dialled[0]!.received.length).toBe(sent);
    const took = script.clock.now() - from;
    expect(took).toBeGreaterThan(((MEGABYTE - BUCKET) / MEGABYTE) * 950);
    expect(took).toBeLessThan(1_200);
  });
  it("UDP is dropped, and counted", async () => {
    const script = new PacketScript({ rules: [`allow udp any ${RATE}`, "default deny"] });
    const flood = (count: number): void => {
      const payload = new Uint8Array(1_000);
      for (let i = 0; i < count; i++) script.send({ ip: { dst: FAR_IP }, udp: { srcPort: 1, dstPort: 9 }, payload });
    };
    const far = script.host.udpFar({ host: FAR_IP, port: 9 });
    flood(1);
    await settled(script);
    flood(500);
    const first = far.received.length;
    expect(first).toBeLessThan(300);
    expect(script.dropped("udp-rate")).toBe(501 - first);
    expect(script.stack.limits()).toMatchObject([{ conns: 1, dropped: 501 - first }]);
    script.advance(100);
    flood(500);
    expect(far.received.length - first).toBeLessThanOrEqual(101);
    expect(far.received.length - first).toBeGreaterThan(90);
  });
});
