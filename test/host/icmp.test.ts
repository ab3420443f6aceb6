/** Echo by each means the host may have: the ping socket in a network namespace that allows it, the program, and none. */
import { execFile } from "node:child_process";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";
import { ProgramPing, pingArgs, pingResult } from "../../src/host/icmp-program.ts";
import type { Report } from "./icmp-child.ts";

const CHILD = fileURLToPath(new URL("icmp-child.ts", import.meta.url));
/** An upper bound on what the far side of nothing costs. */
const TIMEOUT_MS = 15_000;

/** Runs `icmp-child.ts` in a namespace of its own, whose loopback is up and where 192.0.2.0/24 is unreachable. */
function inNamespace(groups: string, path: string = process.env.PATH ?? ""): Promise<Report> {
  const prepare = [
    "ip link set lo up mtu 65536",
    "ip route add unreachable 192.0.2.0/24",
    `echo '${groups}' > /proc/sys/net/ipv4/ping_group_range`,
    `PATH='${path}' exec ${process.execPath} --import tsx ${CHILD}`,
  ];
  return new Promise((resolve, reject) =>
    execFile("unshare", ["-n", "sh", "-c", prepare.join(" && ")], { timeout: TIMEOUT_MS }, (error, out, err) =>
      error === null ? resolve(JSON.parse(out)) : reject(new Error(`${error.message}\n${err}`)),
    ),
  );
}

it("of the program's runs there are sixteen at a time, and a request beyond is told as lost", () => {
  let lost = 0;
  const env = { source: null, runs: 16, unavailable() {} };
  const ping = new ProgramPing(env, 4, { onReply() {}, onPingError() {}, onPingLost: () => lost++ });
  ping.send(1, new Uint8Array(8), 0, 8, 64, false, "127.0.0.1");
  expect([lost, env.runs]).toEqual([1, 16]);
});

const root = process.platform === "linux" && process.getuid?.() === 0;

describe.skipIf(!root)(`pings in a namespace${root ? "" : " (SKIPPED: root)"}`, () => {
  it("a ping socket carries sequence numbers, data, sizes and hop limits, and hears errors", async () => {
    const report = await inNamespace("0 2147483647");
    expect(report).toEqual({
      notices: [],
      replies: ["1 0 127.0.0.1", "2 56 127.0.0.1", "3 8000 127.0.0.1", "4 65507 127.0.0.1", "5 56 ::1"],
      errors: ["6 EHOSTUNREACH 192.0.2.9"],
      sockets: 2,
    });
  });

  it("where no group may have one, the ping program is run", async () => {
    const report = await inNamespace("1 0");
    expect(report).toMatchObject({
      notices: [],
      replies: ["1 0 127.0.0.1", "2 56 127.0.0.1", "3 8000 127.0.0.1", "4 65507 127.0.0.1", "5 56 ::1"],
      sockets: 0,
    });
  });

  it("where there is no means there is no answer, and one notice says how to allow it", async () => {
    const report = await inNamespace("1 0", "/nowhere");
    expect(report).toMatchObject({ replies: [], errors: [], sockets: 0 });
    expect(report.notices).toEqual([expect.stringMatching(/no ping program.*net\.ipv4\.ping_group_range/)]);
  });
});

describe("the ping program", () => {
  it("is asked for the guest's size and hop limit", () => {
    expect(pingArgs(4, 56, 7, null, "192.0.2.1").join(" ")).toBe("-4 -c 1 -W 5 -s 56 -t 7 192.0.2.1");
    expect(pingArgs(6, 0, 64, "fd00::1", "fd00::2").join(" ")).toBe("-6 -c 1 -W 5 -s 0 -t 64 -I fd00::1 fd00::2");
  });

  const ANSWERS: readonly (readonly [string, string, string])[] = [
    ["iputils", "64 bytes from 192.0.2.1: icmp_seq=1 ttl=64 time=0.031 ms", "192.0.2.1"],
    ["iputils, IPv6", "64 bytes from fd00::2: icmp_seq=1 ttl=64 time=0.040 ms", "fd00::2"],
    ["BusyBox", "64 bytes from 192.0.2.1: seq=0 ttl=64 time=0.058 ms", "192.0.2.1"],
  ];
  for (const [program, line, to] of ANSWERS) {
    it(`answers as ${program}'s does`, () => {
      expect(pingResult(`PING ${to}\n${line}\n`, 56, to)).toBe("answered");
    });
  }

  it("is not believed about another address or another size", () => {
    const said = "64 bytes from 192.0.2.1: icmp_seq=1 ttl=64 time=0.031 ms";
    expect(pingResult(said, 56, "192.0.2.2")).toBe(null);
    expect(pingResult(said, 57, "192.0.2.1")).toBe(null);
    expect(pingResult("1 packets transmitted, 0 received, 100% packet loss, time 0ms", 56, "192.0.2.1")).toBe(null);
  });

  it("names the routers that send errors", () => {
    const from = "From 192.0.2.254 icmp_seq=1 ";
    const error = { from: "192.0.2.254", mtu: 0 };
    expect(pingResult(`${from}Time to live exceeded`, 56, "192.0.2.1")).toEqual({
      ...error,
      code: "EHOSTUNREACH",
      type: 11,
      icmpCode: 0,
    });
    expect(pingResult(`${from}Destination Host Unreachable`, 56, "192.0.2.1")).toMatchObject({ type: 3, icmpCode: 1 });
    expect(pingResult(`${from}Destination Net Unreachable`, 56, "192.0.2.1")).toMatchObject({ type: 3, icmpCode: 0 });
    expect(pingResult(`${from}Packet filtered`, 56, "192.0.2.1")).toMatchObject({ type: 3, icmpCode: 13 });
    expect(pingResult("From fd00::9 icmp_seq=1 Time exceeded: Hop limit", 56, "fd00::2")).toMatchObject({ type: 3 });
  });
});
