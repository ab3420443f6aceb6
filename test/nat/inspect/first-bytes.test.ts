/** What a connection's first bytes have to show where a rule about a domain has allowed it. The shared address is FAR_IP. */
import { describe, expect, it, test } from "vitest";
import { parseRules } from "../../../src/control/rules.ts";
import { unshared } from "../../../src/core/byte-budget.ts";
import { DEFAULT_LIMITS } from "../../../src/core/limits.ts";
import { FirstBytes } from "../../../src/nat/inspect/first-bytes.ts";
import type { TcpFlow } from "../../../src/nat/tcp/tcp-flow.ts";
import { DNS_A, dnsReply } from "../../../src/wire/dns.ts";
import { clientHello } from "../../support/client-hello.ts";
import { query } from "../../support/dns.ts";
import { FAR_IP, PacketScript, type TcpScript } from "../../support/packet-script.ts";

const RULES = ["allow tcp *.good.test:80,443,3128", "default deny"];
const HTTP = (host: string): string => `GET / HTTP/1.1\r\nHost: ${host}\r\n\r\n`;
const TLS = (...names: string[]): Uint8Array => clientHello({ names });
const ECH = { type: 0xfe0d, data: new Uint8Array(40) };

interface Rig {
  readonly script: PacketScript;
  readonly tcp: TcpScript;
  /** The guest's next bytes, from sequence number `seq` on. */
  say(bytes: Uint8Array | string, seq?: number): Promise<void>;
  /** What has reached the host. */
  heard(): string;
  refused(): { rule?: string; reason?: string }[];
}

/** A connection to FAR_IP, which `www.good.test` has led this guest to. */
async function rig(rules: readonly string[] = RULES, dstPort = 443, refuseHttp = false): Promise<Rig> {
  const script = new PacketScript({ rules, refuseHttp });
  const asked = query("www.good.test", DNS_A);
  script.send({ ip: { dst: "10.0.2.3" }, udp: { srcPort: 5000, dstPort: 53 }, payload: asked });
  await settled(script);
  script.queries[0]!.answer(dnsReply(asked, 0, asked.length, 0, [Uint8Array.from(FAR_IP.split(".").map(Number))], 300));
  script.takeAll();
  const tcp = script.tcp({ dstPort });
  tcp.send({ flags: "SYN", seq: 0, options: { mss: 1460 } });
  await settled(script);
  tcp.expect({ flags: "SYN ACK", seq: 0, ack: 1 });
  tcp.send({ flags: "ACK", seq: 1, ack: 1 });
  return {
    ...{ script, tcp },
    async say(bytes, seq = 1) {
      tcp.send({ flags: "ACK", seq, ack: 1 }, bytes);
      await settled(script);
    },
    heard: () => script.host.dialled[0]!.text,
    refused: () => script.events.filter((event) => event.type === "flow-refused"),
  };
}

/** The gate answers from microtasks, and so does what resets a connection. */
async function settled(script: PacketScript): Promise<void> {
  for (let i = 0; i < 5; i++) await Promise.resolve();
  script.host.run();
}

function latin1(bytes: Uint8Array | string): string {
  return Buffer.from(bytes as string, "latin1").toString("latin1");
}

function flags({ script }: Rig): (string | undefined)[] {
  return script.takeAll().map(({ tcp }) => tcp?.flags);
}

describe("a name that is allowed", () => {
  test.each<[string, number, Uint8Array | string]>([
    ["in TLS", 443, TLS("www.good.test")],
    ["another of the domain", 443, TLS("other.good.test")],
    ["in records of 50 bytes", 443, clientHello({ names: ["www.good.test"], recordSize: 50 })],
    ["in HTTP", 80, HTTP("www.good.test")],
    ["asked of a proxy", 3128, "CONNECT x.good.test:443 HTTP/1.1\r\n\r\n"],
  ])("%s goes to the host as it is, and so does all that follows", async (_, port, bytes) => {
    const one = await rig(RULES, port);
    const more = port === 80 ? HTTP("other.good.test") : "\0 and so on";
    await one.say(bytes);
    await one.say(more, 1 + bytes.length);
    expect(latin1(one.heard())).toBe(latin1(bytes) + more);
    expect(one.refused()).toEqual([]);
  });
  it("is waited for over segments, of which the host has none before it is there", async () => {
    const one = await rig(RULES, 80);
    const text = HTTP("www.good.test");
    for (let i = 0; i < text.length; i++) {
      expect(one.heard()).toBe("");
      await one.say(text[i]!, 1 + i);
    }
    expect(one.heard()).toBe(text);
    one.script.advance(60_000);
    expect(one.refused()).toEqual([]);
  });
  it("and segments out of order", async () => {
    const one = await rig();
    const bytes = TLS("www.good.test");
    await one.say(bytes.subarray(90), 91);
    await one.say(bytes.subarray(0, 90));
    expect(latin1(one.heard())).toBe(latin1(bytes));
  });
  it("may be followed by a FIN in the same segment", async () => {
    const one = await rig(RULES, 80);
    one.tcp.send({ flags: "FIN ACK", seq: 1, ack: 1 }, HTTP("www.good.test"));
    await settled(one.script);
    expect(one.heard()).toBe(HTTP("www.good.test"));
    expect(one.script.host.dialled[0]!.ended).toBe(true);
  });
});

it("an open connection outlasts its answer's time, and a new one to that address does not begin", async () => {
  const one = await rig(RULES, 80);
  const get = HTTP("www.good.test");
  await one.say(get);
  one.script.advance(301_000);
  await one.say(get, 1 + get.length);
  expect(one.heard()).toBe(get + get);
  expect(one.refused()).toEqual([]);
  one.script.tcp({ dstPort: 80, srcPort: 40_001 }).send({ flags: "SYN", seq: 0, options: { mss: 1460 } });
  await settled(one.script);
  expect(one.refused()).toMatchObject([{ rule: "default deny" }]);
});

describe("a second TLS hello", () => {
  it("for another name does not reach the server, and ends the connection", async () => {
    const one = await rig();
    const first = TLS("www.good.test");
    await one.say(first);
    await one.say(Uint8Array.of(20, 3, 3, 0, 1, 1), 1 + first.length);
    one.script.takeAll();
    await one.say(TLS("www.evil.test"), 7 + first.length);
    expect(one.heard().length).toBe(first.length + 6);
    expect(flags(one)).toContain("RST ACK");
    expect(one.refused()).toMatchObject([{ reason: "default deny: TLS name www.evil.test" }]);
  });
  it("for the same one passes, as does all that follows, and nobody waits for one", async () => {
    const one = await rig();
    const first = TLS("www.good.test");
    await one.say(first);
    one.script.advance(60_000);
    await one.say(first, 1 + first.length);
    await one.say(Uint8Array.of(23, 3, 3, 0, 1, 1), 1 + 2 * first.length);
    await one.say("and so on", 7 + 2 * first.length);
    expect(one.heard().length).toBe(2 * first.length + 6 + 9);
    expect(one.refused()).toEqual([]);
  });
});

describe("HTTP in the clear, for as long as the connection lives", () => {
  const GOOD = HTTP("www.good.test");
  it("a later request for another name does not reach the server, and ends the connection", async () => {
    const one = await rig(RULES, 80);
    await one.say(GOOD);
    one.script.host.dialled[0]!.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    await settled(one.script);
    await one.say(HTTP("evil.test"), 1 + GOOD.length);
    expect(one.heard()).toBe(GOOD);
    expect(one.refused()).toMatchObject([{ rule: "default deny", reason: "default deny: HTTP name evil.test" }]);
    expect(one.script.host.dialled[0]!.closed).toBe("ECONNRESET");
    expect(one.script.stack.gauges()).toMatchObject({ tcpFlows: 0, timers: 0 });
  });
  it("requests in one segment are read one by one, and what is cut is held until it is whole", async () => {
    const one = await rig(RULES, 80);
    const post = "POST / HTTP/1.1\r\nHost: a.good.test\r\nContent-Length: 10\r\n\r\n";
    const all = `${post}0123456789${GOOD}${HTTP("b.good.test")}`;
    const cut = post.length + 10 + GOOD.length + 7;
    await one.say(all.slice(0, cut));
    expect(one.heard()).toBe(all.slice(0, cut - 7));
    await one.say(all.slice(cut), 1 + cut);
    expect(one.heard()).toBe(all);
    one.script.advance(60_000);
    expect(one.refused()).toEqual([]);
  });
  it("half a request is held for ten seconds, and holds no more than a whole one may", async () => {
    const one = await rig(RULES, 80);
    await one.say(`${GOOD}GET /`);
    one.script.advance(9_900);
    expect(one.refused()).toEqual([]);
    one.script.advance(200);
    await settled(one.script);
    expect(one.refused()).toMatchObject([{ reason: `${RULES[0]}: no name in time` }]);
    const other = await rig(RULES, 80);
    await other.say(`${GOOD}GET / HTTP/1.1\r\n`);
    const line = `X: ${"y".repeat(1_391)}\r\n`;
    for (let i = 0; i < 12; i++) await other.say(line, 1 + GOOD.length + 16 + i * line.length);
    expect(flags(other)).toContain("RST ACK");
    expect(other.heard()).toBe(GOOD);
  });
  it("half a request and a FIN is refused", async () => {
    const one = await rig(RULES, 80);
    one.tcp.send({ flags: "FIN ACK", seq: 1, ack: 1 }, `${GOOD}GET / HTTP/1.1\r\nHost: evil.test`);
    await settled(one.script);
    expect(one.heard()).toBe(GOOD);
    expect(one.refused()).toHaveLength(1);
  });
  it("another protocol behind an Upgrade is no longer looked at", async () => {
    const one = await rig(RULES, 80);
    const upgrade = GOOD.replace("\r\n\r\n", "\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n");
    await one.say(upgrade);
    await one.say("\x81\x85abcd \x01ghi", 1 + upgrade.length);
    await one.say(HTTP("evil.test"), 1 + upgrade.length + 11);
    expect(latin1(one.heard())).toBe(`${upgrade}\x81\x85abcd \x01ghi${HTTP("evil.test")}`);
  });
  it("the rules of the moment count for each request", async () => {
    const one = await rig(RULES, 80);
    await one.say(GOOD);
    one.script.stack.setRules(parseRules(["allow tcp www.good.test:80", "default deny"]));
    await one.say(HTTP("other.good.test"), 1 + GOOD.length);
    expect(one.heard()).toBe(GOOD);
  });
});

describe("a RST, and not one byte to the host, for", () => {
  test.each<[string, Uint8Array | string, number, string, string]>([
    ["another name in TLS", TLS("evil.test"), 443, "default deny", "TLS name evil.test"],
    [
      "the domain's own name where the rule is for those below",
      TLS("good.test"),
      443,
      "default deny",
      "TLS name good.test",
    ],
    ["another Host", HTTP("evil.test"), 80, "default deny", "HTTP name evil.test"],
    ["an address as Host", HTTP(FAR_IP), 80, "default deny", `HTTP name ${FAR_IP}`],
    ["a proxy's way elsewhere", "CONNECT evil.test:443 HTTP/1.1\r\n\r\n", 3128, "default deny", "HTTP name evil.test"],
    [
      "a proxy's way to another port",
      "CONNECT a.good.test:22 HTTP/1.1\r\n\r\n",
      3128,
      "default deny",
      "HTTP name a.good.test",
    ],
    [
      "two Hosts",
      `GET / HTTP/1.1\r\nHost: a.good.test\r\n${HTTP("evil.test").slice(16)}`,
      80,
      RULES[0]!,
      "HTTP: two Host fields",
    ],
    ["no name in TLS", TLS(), 443, RULES[0]!, "TLS without a name"],
    ["no Host", "GET / HTTP/1.0\r\n\r\n", 80, RULES[0]!, "HTTP without a name"],
    [
      "an alert before the hello",
      Uint8Array.of(21, 3, 1, 0, 2, 1, 0, ...TLS("evil.test")),
      443,
      RULES[0]!,
      "TLS: another record before its hello",
    ],
    [
      "a hello of an odd version",
      Uint8Array.of(22, 2, ...TLS("www.good.test").subarray(2)),
      443,
      RULES[0]!,
      "TLS: a record of another version",
    ],
    ["a blank before the request", ` ${HTTP("www.good.test")}`, 80, RULES[0]!, "HTTP: a request line of another form"],
    [
      "a method of 33 letters",
      `${"G".repeat(33)}${HTTP("evil.test").slice(3)}`,
      80,
      "default deny",
      "HTTP name evil.test",
    ],
    ["HTTP/2 in the clear", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 80, RULES[0]!, "HTTP without a name"],
    [
      "ECH",
      clientHello({ names: ["www.good.test"], extensions: [ECH] }),
      443,
      RULES[0]!,
      "TLS with an encrypted name, beside www.good.test",
    ],
  ])("%s", async (_, bytes, port, rule, shown) => {
    const one = await rig(RULES, port);
    await one.say(bytes);
    expect(flags(one).at(-1)).toBe("RST ACK");
    expect(one.heard()).toBe("");
    expect(one.script.host.dialled[0]!.closed).toBe("ECONNRESET");
    expect(one.refused().map((event) => [event.rule, event.reason])).toEqual([[rule, `${rule}: ${shown}`]]);
    expect(one.script.dropped("name-refused")).toBe(1);
    expect(one.script.events.at(-1)).toMatchObject({ type: "flow-close", reason: "denied" });
    expect(one.script.stack.gauges()).toMatchObject({ tcpFlows: 0, timers: 0 });
  });
  it("another name with a FIN behind it", async () => {
    const one = await rig(RULES, 80);
    one.tcp.send({ flags: "FIN ACK", seq: 1, ack: 1 }, HTTP("evil.test"));
    await settled(one.script);
    expect(flags(one).at(-1)).toBe("RST ACK");
    expect(one.heard()).toBe("");
  });
  it("what is not whole within ten seconds", async () => {
    const one = await rig();
    await one.say(TLS("www.good.test").subarray(0, 100));
    one.script.advance(9_900);
    expect(one.refused()).toEqual([]);
    one.script.advance(200);
    await settled(one.script);
    expect(flags(one).at(-1)).toBe("RST ACK");
    expect(one.refused()).toMatchObject([{ rule: RULES[0], reason: `${RULES[0]}: no name in time` }]);
  });
  it("what has no end within 16 KiB", async () => {
    const one = await rig(RULES, 80);
    const line = `X: ${"y".repeat(1_391)}\r\n`;
    await one.say("GET / HTTP/1.1\r\n");
    for (let i = 0; i < 12; i++) await one.say(line, 17 + i * line.length);
    expect(flags(one)).toContain("RST ACK");
    expect(one.heard()).toBe("");
  });
  it("what comes in more pieces than anybody's", async () => {
    const one = await rig(RULES, 80);
    for (let i = 0; i < 256; i++) await one.say(i === 1 ? " " : "G", 1 + i);
    expect(one.heard()).toBe("");
    expect(one.refused()).toHaveLength(1);
  });
  it("what ends before it has shown a name", async () => {
    const one = await rig(RULES, 80);
    one.tcp.send({ flags: "FIN ACK", seq: 1, ack: 1 }, "GET / HTTP/1.1\r\nHost: evil");
    await settled(one.script);
    expect(flags(one).at(-1)).toBe("RST ACK");
    expect(one.heard()).toBe("");
  });
});

describe("where no name can show", () => {
  it("another protocol passes at once", async () => {
    const one = await rig();
    await one.say("\0\0\0\x10anything");
    expect(one.heard()).toBe("\0\0\0\x10anything");
  });
  it("a server that speaks first is heard, and what the guest says then is looked at all the same", async () => {
    const one = await rig();
    one.script.host.dialled[0]!.send("220 ready\r\n");
    one.tcp.expect({ flags: "ACK" }, "220 ready\r\n");
    one.tcp.send({ flags: "ACK", seq: 1, ack: 12 }, TLS("evil.test"));
    await settled(one.script);
    expect(flags(one).at(-1)).toBe("RST ACK");
    const other = await rig();
    other.script.host.dialled[0]!.send("220 ready\r\n");
    await other.say("EHLO me\r\n");
    expect(other.heard()).toBe("EHLO me\r\n");
  });
  it("silence is no reason, however long, and a FIN without a byte passes", async () => {
    const one = await rig();
    one.script.advance(60_000);
    one.tcp.send({ flags: "FIN ACK", seq: 1, ack: 1 });
    await settled(one.script);
    expect(one.script.host.dialled[0]!.ended).toBe(true);
    expect(one.refused()).toEqual([]);
  });
});

describe("a rule's own word", () => {
  test.each<[string, Uint8Array | string, boolean]>([
    ["ech=allow", clientHello({ names: ["www.good.test"], extensions: [ECH] }), true],
    ["ech=allow", clientHello({ names: ["evil.test"], extensions: [ECH] }), false],
    ["unnamed=allow", TLS(), true],
    ["unnamed=allow", TLS("evil.test"), false],
    ["unnamed=deny", "\0\0\0\x10anything", false],
    ["unnamed=deny", TLS("www.good.test"), true],
  ])("%s", async (word, bytes, passes) => {
    const one = await rig([`allow tcp *.good.test:443 ${word}`, "default deny"]);
    await one.say(bytes);
    expect(latin1(one.heard())).toBe(passes ? latin1(bytes) : "");
    expect(one.refused()).toHaveLength(passes ? 0 : 1);
  });
  it("of the rule that is about the name shown", async () => {
    const rules = ["allow tcp ech.good.test:443 ech=allow", "allow tcp *.good.test:443", "default deny"];
    const one = await rig(rules);
    await one.say(clientHello({ names: ["ech.good.test"], extensions: [ECH] }));
    expect(one.refused()).toEqual([]);
  });
  it("a rule against a name counts before one that allows its domain", async () => {
    const one = await rig(["deny tcp ads.good.test", ...RULES]);
    await one.say(TLS("ads.good.test"));
    expect(one.refused()).toMatchObject([
      { rule: "deny tcp ads.good.test", reason: "deny tcp ads.good.test: TLS name ads.good.test" },
    ]);
  });
});

it("what a rule about addresses allows is not looked at", async () => {
  const one = await rig([`allow tcp ${FAR_IP}`, ...RULES]);
  await one.say(TLS("evil.test"));
  expect(latin1(one.heard())).toBe(latin1(TLS("evil.test")));
});

it("when rules change, a connection is judged by the name that it has shown as well", async () => {
  const one = await rig();
  await one.say(TLS("other.good.test"));
  one.script.stack.setRules(parseRules(["allow tcp *.good.test:443", "default deny"]));
  expect(flags(one)).not.toContain("RST ACK");
  one.script.stack.setRules(parseRules(["allow tcp www.good.test:443", "default deny"]));
  expect(flags(one)).toContain("RST ACK");
});

describe("where rules only deny names", () => {
  const DENY = ["deny *.ads.test", "default allow"];
  const HTTP2 = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
  const UPGRADE = (to: string): string =>
    `GET / HTTP/1.1\r\nHost: www.good.test\r\nConnection: Upgrade\r\nUpgrade: ${to}\r\n\r\n`;
  test.each<[string, Uint8Array | string, boolean]>([
    ["a name that is denied", TLS("www.ads.test"), false],
    ["a Host that is denied", HTTP("www.ads.test"), false],
    ["another name", TLS("www.good.test"), true],
    ["no name", TLS(), true],
    ["two names", TLS("www.ads.test", "b.test"), false],
    ["an alert in front of the hello", Uint8Array.of(21, 3, 1, 0, 2, 1, 0, ...TLS("www.ads.test")), false],
    ["a blank in front of the request", ` ${HTTP("www.ads.test")}`, false],
    ["an encrypted name", clientHello({ names: ["x.test"], extensions: [ECH] }), true],
    ["another protocol", "\0\0\0\x10anything", true],
    ["another request that asks for a WebSocket", UPGRADE("websocket"), true],
    ["HTTP/2 in the clear, whose names are packed", HTTP2, false],
    ["and with frames behind the preface", `${HTTP2}\0\0\0\x04\0\0\0\0\0`, false],
    ["a request that asks for it", UPGRADE("h2c"), false],
    ["beside another protocol", UPGRADE("websocket, H2C"), false],
    ["in a field of its own", UPGRADE("websocket\r\nUpgrade: h2c"), false],
    ["by a draft's name", UPGRADE("h2c-14"), false],
    ["by its name in full", UPGRADE("HTTP/2.0"), false],
    ["with the preface in the same write", UPGRADE("h2c") + HTTP2, false],
    ["SPDY", UPGRADE("SPDY/3.1"), false],
  ])("%s", async (_, bytes, passes) => {
    const one = await rig(DENY);
    await one.say(bytes);
    expect(latin1(one.heard())).toBe(passes ? latin1(bytes) : "");
    expect(one.refused().map(({ rule }) => rule)).toEqual(passes ? [] : [DENY[0]]);
  });
  it.each([1, 3, 14, 17, 18, 20, 23])("HTTP/2's preface in two pieces, the first of %i bytes", async (size) => {
    const one = await rig(DENY, 80);
    await one.say(HTTP2.slice(0, size));
    await one.say(HTTP2.slice(size), 1 + size);
    expect(one.heard()).toBe("");
    const reason = `${DENY[0]}: HTTP/2 without TLS, whose names are not read`;
    expect(one.refused()).toMatchObject([{ rule: DENY[0], reason }]);
  });
  it.each([
    ["a request", HTTP("www.good.test")],
    ["one that asked for another protocol", UPGRADE("tls/1.0")],
  ])("HTTP/2's preface behind %s", async (_, first) => {
    const one = await rig(DENY, 80);
    await one.say(first);
    await one.say(HTTP2, 1 + first.length);
    expect(one.heard()).toBe(first);
    expect(one.refused()).toMatchObject([{ rule: DENY[0] }]);
  });
  it("what keeps its name back until nobody looks any more is refused", async () => {
    const one = await rig(DENY);
    await one.say("GET / HTTP/1.1\r\n");
    one.script.advance(10_100);
    await settled(one.script);
    expect(one.heard()).toBe("");
    expect(one.refused()).toMatchObject([{ rule: DENY[0], reason: `${DENY[0]}: no name in time` }]);
  });
  it("of a later request, too", async () => {
    const one = await rig(DENY, 80);
    await one.say(HTTP("www.good.test"));
    await one.say(HTTP("www.ads.test"), 1 + HTTP("www.good.test").length);
    expect(one.heard()).toBe(HTTP("www.good.test"));
    expect(one.refused()).toMatchObject([{ rule: DENY[0], reason: `${DENY[0]}: HTTP name www.ads.test` }]);
  });
  it("what a rule about addresses has allowed is not looked at", async () => {
    const one = await rig([`allow ${FAR_IP}`, ...DENY]);
    await one.say(TLS("www.ads.test"));
    expect(one.refused()).toEqual([]);
  });
});

it("all connections together hold 16 MiB at the most: those that have waited longest make room", async () => {
  const script = new PacketScript();
  const trace = { drop() {}, event() {} };
  const env = { bytes: unshared(), clock: script.clock, trace, wake() {} };
  const firstBytes = new FirstBytes(env, DEFAULT_LIMITS.nameWaitingBytes);
  const closed: number[] = [];
  const part = Buffer.from(`GET / HTTP/1.1\r\nX: ${"y".repeat(8_000)}`);
  const slab = { bytes: part, scarce: false, pin() {}, unpin() {} };
  const begin = (i: number): void => {
    script.clock.advance(1);
    const host = { backlog: 0, local: null, write() {}, end() {}, pause() {}, resume() {}, reset() {} };
    const flow = { host, hostClosed: false, shown: null, onClose: () => closed.push(i) };
    firstBytes.watch(flow as unknown as TcpFlow, () => false).write(slab, 0, part.length);
  };
  const most = Math.floor((16 * 1_048_576) / part.length);
  for (let i = 0; i < most; i++) begin(i);
  await Promise.resolve();
  expect([firstBytes.held, closed]).toEqual([most * part.length, []]);
  for (let i = 0; i < 3; i++) begin(most + i);
  await Promise.resolve();
  expect([firstBytes.held, closed]).toEqual([most * part.length, [0, 1, 2]]);
  firstBytes.poll(script.clock.now() + 10_000);
  expect([firstBytes.held, firstBytes.pollAt()]).toEqual([0, Number.POSITIVE_INFINITY]);
});

describe("HTTP in the clear that is refused is answered", () => {
  const answered = async (request: string, rules = RULES): Promise<{ text: string; fin: boolean; heard: string }> => {
    const { script, tcp, say, heard } = await rig(rules, 80, true);
    await say(request);
    await settled(script);
    const segments = script
      .takeAll()
      .flatMap(({ tcp: segment, payload }) =>
        segment === undefined ? [] : [{ flags: String(segment.flags), payload }],
      );
    void tcp;
    return {
      text: segments.map(({ payload }) => Buffer.from(payload ?? []).toString("latin1")).join(""),
      fin: segments.some(({ flags }) => flags.includes("FIN")),
      heard: heard(),
    };
  };

  test("by 403 with host and rule, and the connection's end", async () => {
    const { text, fin, heard } = await answered(HTTP("evil.test"));
    expect(text).toMatch(/^HTTP\/1\.1 403 Forbidden\r\n/);
    expect(text).toContain("\r\nConnection: close\r\n");
    const [head = "", body = ""] = text.split("\r\n\r\n");
    expect(body).toBe('tslirp: evil.test is refused by the rule "default deny"\n');
    expect(Number(/Content-Length: (\d+)/.exec(head)![1])).toBe(body.length);
    expect([fin, heard]).toEqual([true, ""]);
  });

  test("of a rule that denies the name, too", async () => {
    const { text } = await answered(HTTP("evil.good.test"), ["deny tcp evil.good.test", ...RULES]);
    expect(text).toContain('evil.good.test is refused by the rule "deny tcp evil.good.test"\n');
  });

  test.each([
    [
      "a request that servers read in different ways",
      "GET / HTTP/1.1\r\nHost: evil.test\r\nHost: www.good.test\r\n\r\n",
    ],
    ["a line that ends without CR", "GET / HTTP/1.1\nHost: evil.test\n\n"],
    ["a request behind one that is not answered yet", HTTP("www.good.test") + HTTP("evil.test")],
  ])("but not %s", async (_what, request) => {
    expect((await answered(request)).text).toBe("");
  });

  /** What a later request gets, once the host has said this to the first. */
  const later = async (said: string, method = "GET"): Promise<string> => {
    const { script, say } = await rig(RULES, 80, true);
    const first = HTTP("www.good.test").replace("GET", method);
    await say(first);
    script.host.dialled[0]!.send(said);
    await settled(script);
    await say(HTTP("evil.test"), 1 + first.length);
    await settled(script);
    const all = script.takeAll().map(({ tcp, payload }) => [tcp?.flags, Buffer.from(payload ?? []).toString("latin1")]);
    const text = all.map(([, each]) => each).join("");
    expect(text.startsWith(said)).toBe(true);
    const rest = text.slice(said.length);
    if (rest === "") expect(all.some(([flags]) => flags?.includes("RST"))).toBe(true);
    else expect(rest).toMatch(/^HTTP\/1\.1 403 Forbidden\r\n[\s\S]*evil\.test is refused[\s\S]*\n$/);
    return rest === "" ? "RST" : "403";
  };
  const OK = "HTTP/1.1 200 OK\r\n";
  test.each([
    ["GET", `${OK}Content-Length: 5\r\n\r\nhello`],
    ["GET", `${OK}Content-Length: 0\r\n\r\n`],
    ["GET", "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n"],
    ["GET", `HTTP/1.1 103 Early Hints\r\n\r\n${OK}Content-Length: 1\r\n\r\nx`],
    ["GET", `${OK}Transfer-Encoding: chunked\r\n\r\n5;x=y\r\nhello\r\n0\r\nT: 1\r\n\r\n`],
    ["HEAD", `${OK}Content-Length: 5\r\n\r\n`],
  ])("so is a later one, where the answer to %s is complete: %j", async (method, said) => {
    expect(await later(said, method)).toBe("403");
  });
  test.each([
    ["no word", ""],
    ["half a head", `${OK}Content-Length: 0\r\n`],
    ["half a body", `${OK}Content-Length: 6\r\n\r\nhello`],
    ["half a chunked body", `${OK}Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n`],
    ["a body as long as the connection", `${OK}\r\nhello`],
    ["a length said twice", `${OK}Content-Length: 5\r\nContent-Length: 9\r\n\r\nhello`],
    ["a length beside chunks", `${OK}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`],
    ["a line without CR", `${OK.replace("\r", "")}Content-Length: 0\n\n`],
    ["another answer than was asked for", `${OK}Content-Length: 0\r\n\r\n${OK}Content-Length: 0\r\n\r\n`],
    ["another protocol", "HTTP/1.1 101 Switching Protocols\r\n\r\n"],
    ["no HTTP", "SSH-2.0-x\r\n"],
  ])("but by a RST where the host has said %s: nothing of ours stands within an answer", async (_what, said) => {
    expect(await later(said)).toBe("RST");
  });
});
