/** What `ctl why` and `net.explain` say is what a flow gets. */
import { describe, expect, it, test } from "vitest";
import { parseFlow } from "../../../src/control/explain.ts";
import type { NetworkOptions } from "../../../src/control/options.ts";
import { addressFromText, endpointText } from "../../../src/core/address.ts";
import type { Explanation } from "../../../src/nat/rules/rule-gate.ts";
import { FakeFiles } from "../../support/fake-files.ts";
import { GUEST_IP, PacketScript } from "../../support/packet-script.ts";

const DNS = addressFromText("10.0.2.3");

function explain(script: PacketScript, flow: string): Explanation {
  return script.stack.explain(parseFlow(flow, GUEST_IP, DNS));
}

/** Whether a connection begins there: with the host, or with what we serve ourselves. */
async function connects(script: PacketScript, host: string, port: number, srcPort: number): Promise<boolean> {
  const dialled = script.host.dialled.length;
  const tcp = script.tcp({ dst: host, dstPort: port, srcPort });
  tcp.send({ flags: "SYN", seq: 0, options: { mss: 1460 } });
  for (let turns = 0; turns < 4; turns++) await Promise.resolve();
  const answered = script.takeAll().some((frame) => frame.tcp?.dstPort === srcPort && frame.tcp.flags === "SYN ACK");
  return answered || script.host.dialled.length > dialled;
}

const ADDRESSES = [
  ...["198.51.100.1", "192.168.1.1", "10.0.2.2", "10.0.2.3", "10.0.2.0", "10.0.2.77", "10.0.2.255", "127.0.0.1"],
  ...["169.254.169.254", "169.254.1.1", "168.63.129.16", "100.100.100.200", "192.0.0.192", "0.0.0.1", "224.0.0.251"],
  ...["240.0.0.1", "255.255.255.255", "2001:db8::1", "fd00::1", "fec0::2", "fec0::3", "fec0::77", "fe80::2", "fe80::9"],
  ...["::1", "::127.0.0.1", "::ffff:127.0.0.1", "::ffff:198.51.100.1", "64:ff9b::a9fe:a9fe", "64:ff9b::7f00:1"],
  ...["64:ff9b::c633:6401", "64:ff9b::a00:24d", "64:ff9b::a83f:8110", "2002:a9fe:a9fe::1", "2002:a83f:8110::1"],
  ...["2002:c633:6401::1", "fd00:ec2::254", "fd20:ce::254", "fec0:0:0:1::1", "ff02::fb", "ff0e::1"],
];
const RULES: readonly (readonly string[])[] = [
  [],
  ["default allow"],
  ["default deny"],
  ["allow any", "default deny"],
  ["allow tcp any", "default deny"],
  ["allow tcp any:80", "default deny"],
  ["allow 0.0.0.0/0", "allow ::/0", "default deny"],
  ["allow 127.0.0.0/8", "allow ::1", "default deny"],
  ["allow 169.254.0.0/16", "allow fe80::/10", "default deny"],
  ["allow 169.254.169.254", "allow 64:ff9b::a9fe:a9fe", "allow fd00:ec2::/32", "default deny"],
  ["allow 10.0.2.0/24", "allow fec0::/64", "default deny"],
  ["deny 10.0.2.2", "deny fec0::2", "deny 169.254.169.254", "default allow"],
];
const OPTIONS: readonly NetworkOptions[] = [{}, { hostLoopback: false }, { restrict: true }, { mode: "host-only" }];
const CASES = OPTIONS.flatMap((options) => RULES.map((rules) => [JSON.stringify(options), rules, options] as const));

describe("an explanation agrees with what a SYN gets", () => {
  test.each(CASES)("%s %j", async (_, rules, options) => {
    const script = new PacketScript({ ...options, rules });
    const wrong: string[] = [];
    let srcPort = 2_000;
    for (const host of ADDRESSES)
      for (const port of [53, 80]) {
        const flow = `tcp ${endpointText({ host, port })}`;
        const { allow, rule } = explain(script, flow);
        const real = await connects(script, host, port, srcPort++);
        if (allow !== real) wrong.push(`${flow}: said ${allow} by "${rule}", got ${real}`);
      }
    expect(wrong).toEqual([]);
  });
});

describe("the explanation of what is refused whatever rules say", () => {
  const said = (options: NetworkOptions, flow: string): Explanation =>
    explain(new PacketScript({ rules: ["allow any", "default deny"], ...options }), flow);

  it.each([
    [{}, "tcp 169.254.169.254:80", /^built in: no metadata/, "allow tcp 169.254.169.254:80"],
    [{}, "udp 127.0.0.1:80", /^built in: no metadata/, null],
    [{}, "icmp 224.0.0.251", /^built in: no metadata/, null],
    [{}, "tcp 10.0.2.77:80", /^built in: the guests' own network/, null],
    [{ hostLoopback: false }, "tcp 10.0.2.2:80", /^host-loopback off/, null],
    [{ restrict: true }, "tcp example.org:443", /^mode: nothing leaves/, null],
    [{ restrict: true }, "dns example.org", /^mode: nothing leaves/, null],
    [{ restrict: true }, "tcp 169.254.169.254:80", /^mode: nothing leaves/, null],
  ])("%j %s", (options, flow, rule, remedy) => {
    const found = said(options, flow);
    expect(found).toMatchObject({ allow: false, remedy });
    expect(found.rule).toMatch(rule);
  });
});

it("what the network answers itself is allowed whatever rules say", () => {
  const rules = ["default deny"];
  const script = new PacketScript({ rules, hostLoopback: false }, new FakeFiles());
  const flows = ["udp 10.0.2.3:53", "tcp [fec0::3]:53", "udp 10.0.2.2:69", "icmp 10.0.2.2", "icmp fe80::2"];
  for (const flow of flows) expect(explain(script, flow), flow).toMatchObject({ allow: true, remedy: null });
  expect(explain(script, "udp 10.0.2.3:54").allow).toBe(false);
});

it("a name that the user has given is answered where nothing leaves the host", () => {
  const script = new PacketScript({ restrict: true, dnsHosts: ["given.test=192.0.2.7"] });
  expect(explain(script, "dns given.test").allow).toBe(true);
  expect(explain(script, "dns other.test").allow).toBe(false);
});
