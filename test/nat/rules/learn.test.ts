/** What the gate tells of flows that only the default allows, while rules are learned. The shared address is FAR_IP. */
import { expect, test } from "vitest";
import { LearnedRules } from "../../../src/control/learned-rules.ts";
import { DNS_A, dnsReply } from "../../../src/wire/dns.ts";
import { clientHello } from "../../support/client-hello.ts";
import { query } from "../../support/dns.ts";
import { FAR_IP, PacketScript } from "../../support/packet-script.ts";

/** The rules that are learned of a connection to FAR_IP, which these names have led to, and that begins so; and what its host heard. */
async function learned(
  names: readonly string[],
  says: readonly (Uint8Array | string)[],
  dstPort = 443,
): Promise<{ rules: string[]; heard: string }> {
  const script = new PacketScript({ learn: "/nowhere", rules: ["default deny"] });
  for (const name of names) {
    const asked = query(name, DNS_A);
    script.send({ ip: { dst: "10.0.2.3" }, udp: { srcPort: 5000, dstPort: 53 }, payload: asked });
    await settled(script);
    script.queries
      .at(-1)!
      .answer(dnsReply(asked, 0, asked.length, 0, [Uint8Array.from(FAR_IP.split(".").map(Number))], 300));
  }
  script.takeAll();
  const tcp = script.tcp({ dstPort });
  tcp.send({ flags: "SYN", seq: 0, options: { mss: 1460 } });
  await settled(script);
  tcp.expect({ flags: "SYN ACK", seq: 0, ack: 1 });
  tcp.send({ flags: "ACK", seq: 1, ack: 1 });
  let seq = 1;
  for (const bytes of says) {
    tcp.send({ flags: "ACK", seq, ack: 1 }, bytes);
    seq += bytes.length;
    await settled(script);
  }
  const rules = new LearnedRules(100, 100);
  for (const event of script.events) {
    expect(event.type).not.toBe("flow-refused");
    if (event.type === "flow-allowed") rules.add(event);
  }
  return {
    rules: rules
      .text([])
      .split("\n")
      .slice(2, -1)
      .filter((line) => !line.startsWith("#"))
      .map((line) => line.replace(/ {2}#.*/, "")),
    heard: script.host.dialled[0]!.text,
  };
}

async function settled(script: PacketScript): Promise<void> {
  for (let i = 0; i < 5; i++) await Promise.resolve();
  script.host.run();
}

const HTTP = (host: string): string => `GET / HTTP/1.1\r\nHost: ${host}\r\n\r\n`;

test("a name that led there, though the default denies", async () => {
  expect((await learned(["a.test"], [clientHello({ names: ["a.test"] })])).rules).toEqual(["allow tcp a.test:443"]);
});

test("of several names the one that the connection shows; the other was asked for", async () => {
  expect((await learned(["a.test", "b.test"], [clientHello({ names: ["a.test"] })])).rules).toEqual([
    "allow tcp a.test:443",
    "allow dns b.test",
  ]);
});

test("a name that did not lead there takes a rule of its own beside the one that did", async () => {
  expect((await learned(["a.test"], [clientHello({ names: ["front.test"] })])).rules).toEqual([
    "allow tcp a.test:443",
    "allow tcp front.test:443",
  ]);
});

test("TLS without a name, and with an encrypted one, takes the word for it", async () => {
  expect((await learned(["a.test"], [clientHello({ names: [] })])).rules).toEqual([
    "allow tcp a.test:443 unnamed=allow",
  ]);
});

test("each request of a connection is looked at, and one that cannot be read passes whole and is learned by the address", async () => {
  const odd = "GET / HTTP/1.1\nHost: a.test\n\n";
  const { rules, heard } = await learned(["a.test"], [HTTP("a.test"), HTTP("b.test"), odd], 80);
  expect(heard).toBe(HTTP("a.test") + HTTP("b.test") + odd);
  expect(rules).toContain(`allow tcp ${FAR_IP}:80`);
  expect(rules).toContain("allow tcp b.test:80");
});

test("a Host that is an address is learned by the address", async () => {
  expect((await learned(["a.test"], [HTTP(FAR_IP)], 80)).rules).toEqual([`allow tcp ${FAR_IP}:80`, "allow dns a.test"]);
});

test.each(["any", "in", "[fd00:ec2::254]", "[::1]", "[::ffff:169.254.169.254]", "-x.test"])(
  "a Host %s, which no rule can say as a name, is learned by the address",
  async (host) => {
    expect((await learned(["a.test"], [HTTP(host)], 80)).rules).toEqual([`allow tcp ${FAR_IP}:80`, "allow dns a.test"]);
  },
);

test("queries for a wildcard, or for a word of the rules' own, are no rule", async () => {
  const { rules } = await learned(["*.a.test", "any"], ["SSH-2.0-x\r\n"], 22);
  expect(rules).toEqual([`allow tcp ${FAR_IP}:22`]);
});

test("a protocol that has no place for a name, and a connection without a name", async () => {
  expect((await learned(["a.test"], ["SSH-2.0-x\r\n"], 22)).rules).toEqual(["allow tcp a.test:22"]);
  expect((await learned([], [HTTP("a.test")], 80)).rules).toEqual([`allow tcp ${FAR_IP}:80`]);
});
