/** Three Linux guests on one LAN: they reach each other, by name too, at full speed, and no hostile fourth keeps them from it. */
import { once } from "node:events";
import net from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { Guest } from "../support/e2e/guest.ts";
import { describeE2e, LIBSLIRP } from "../support/e2e/requirements.ts";
import { GATEWAY, GUEST_MAC, HostRig, HTTP_PORT, url } from "../support/e2e/rig.ts";
import { ServicesProcess } from "../support/e2e/services-process.ts";
import { encodeFrame, type FrameSpec } from "../support/frames.ts";

const NEEDS = LIBSLIRP ? ["no such thing"] : ["curl", "dig", "iperf3", "ping"];
const FORWARDED = 18_080;
/** Not a figure to compare: what no fault would leave. */
const FLOOR_BITS = 20e6;
const MACS = [1, 2, 3].map((last) => `${GUEST_MAC.slice(0, -1)}${last}`);
const ADDRESSES = ["10.0.2.15", "10.0.2.16", "10.0.2.17"];
const NAMES = ["web", "db", "client"];

async function plugged(rig: HostRig, count: number): Promise<Guest[]> {
  const guests: Guest[] = [];
  for (let i = 0; i < count; i++) {
    const guest = new Guest(join(rig.folder, `lease${i}`), MACS[i]!);
    guests.push(guest);
    await guest.plug(rig.backend.socketPath);
    const { code, stderr } = await guest.dhcp("-t", "10", "-x", `hostname:${NAMES[i]}`);
    expect(code, stderr + rig.backend.log).toBe(0);
    expect(guest.lease().ip).toBe(ADDRESSES[i]);
  }
  return guests;
}

async function pings(guest: Guest, host: string): Promise<boolean> {
  return (await guest.run("ping", ["-c", "2", "-i", "0.2", "-W", "3", host])).code === 0;
}

describeE2e("three Linux guests on one LAN", NEEDS, () => {
  let rig: HostRig;
  let api: string;
  let guests: Guest[] = [];
  beforeAll(async () => {
    api = join(tmpdir(), `tslirp-lan-${process.pid}.sock`);
    rig = await HostRig.startHost({ args: ["--api", `unix:${api}`, "-p", `web:${FORWARDED}:${HTTP_PORT}`] });
    guests = await plugged(rig, 3);
    await ServicesProcess.start(guests[0]!, { host: "0.0.0.0", ports: { http: HTTP_PORT }, files: { "/": "web's\n" } });
  });
  afterAll(async () => {
    for (const guest of guests) await guest.close();
    await rig?.close();
  });

  const get = async (path: string): Promise<unknown> => {
    const { stdout } = await rig.host.run("curl", ["-sS", "--unix-socket", api, `http://api/v1/${path}`]);
    return JSON.parse(stdout);
  };

  it("each pings each, and the gateway", async () => {
    for (const guest of guests) {
      for (const address of [...ADDRESSES, GATEWAY]) {
        if (address !== guest.lease().ip) expect(await pings(guest, address), address).toBe(true);
      }
    }
  });

  it("names lead to them and back, by IPv4 and IPv6", async () => {
    const dig = async (...args: string[]): Promise<string[]> => {
      const { stdout } = await guests[2]!.run("dig", ["+short", "+tries=2", "+time=3", ...args]);
      return stdout.trim().split("\n");
    };
    for (const guest of guests) await guest.hasAddress(6);
    // What SLAAC gave the card is known once the card has used it.
    await guests[0]!.run("ping", ["-c", "1", "-W", "3", "fec0::2"]);
    expect(await dig("web.internal", "A")).toEqual(["10.0.2.15"]);
    const [address6] = await dig("web.internal", "AAAA");
    expect(address6).toMatch(/^fec0:/);
    for (const address of ["10.0.2.15", address6!]) expect(await dig("-x", address)).toEqual(["web.internal."]);
    expect((await guests[2]!.run("ping", ["-c", "2", "-i", "0.2", "-W", "3", address6!])).code).toBe(0);
    const page = await guests[2]!.run("curl", ["-sS", "--max-time", "5", url("db.internal", "/")]);
    expect(page.code).toBe(7);
    expect((await guests[2]!.run("curl", ["-sS", "--max-time", "5", url("web.internal", "/")])).stdout).toBe("web's\n");
  });

  it("a forward of the guest's own leads from the host to it by its name", async () => {
    const { stdout } = await rig.host.run("curl", ["-sS", "--max-time", "5", `http://127.0.0.1:${FORWARDED}/`]);
    expect(stdout).toBe("web's\n");
  });

  it("iperf3 from one to another passes as frames: no connection of it is ours", async () => {
    const server = guests[1]!.spawn("iperf3", ["--server", "--forceflush"], { stdio: ["ignore", "pipe", "inherit"] });
    await once(server.stdout!, "data");
    const client = guests[2]!.run("iperf3", ["--client", ADDRESSES[1]!, "--time", "2", "--json"], 20_000);
    const during = get("flows");
    const { stdout, code } = await client;
    expect(code, stdout).toBe(0);
    const bits = JSON.parse(stdout).end.sum_received.bits_per_second;
    process.stdout.write(`guest to guest, iperf3, one stream at MTU 1500: ${(bits / 1e9).toFixed(2)} Gbit/s\n`);
    expect(bits).toBeGreaterThan(FLOOR_BITS);
    const ours = ((await during) as { proto: string; remote: string }[]).filter(({ remote }) =>
      remote.includes("5201"),
    );
    expect(ours).toEqual([]);
  });

  it("a fourth that spoofs, floods and reads nothing touches none of them, nor the gateway", async () => {
    const from = "52:54:00:e2:e0:66";
    const all = "ff:ff:ff:ff:ff:ff";
    const spoofs: FrameSpec[] = [
      ...[...ADDRESSES, GATEWAY, "10.0.2.3"].map((senderIp) => ({
        eth: { src: from, dst: all },
        arp: { op: "reply" as const, senderMac: from, senderIp, targetIp: "10.0.2.16" },
      })),
      {
        eth: { src: MACS[0]!, dst: all },
        arp: { op: "request", senderMac: MACS[0]!, senderIp: ADDRESSES[0]!, targetIp: GATEWAY },
      },
      {
        eth: { src: from, dst: all },
        ip: { src: "10.0.2.66", dst: "255.255.255.255" },
        udp: { srcPort: 67, dstPort: 68 },
      },
      {
        eth: { src: from, dst: all },
        ip: { src: "10.0.2.66", dst: "255.255.255.255" },
        udp: { srcPort: 1067, dstPort: 68 },
      },
      {
        eth: { src: from, dst: all },
        arp: { op: "reply", senderMac: from, senderIp: "169.254.169.254", targetIp: "10.0.2.16" },
      },
      { eth: { src: from, dst: "33:33:00:00:00:01" }, ip6: { src: "fe80::66", dst: "ff02::1" }, ndp: { kind: "ra" } },
      { eth: { src: from, dst: all }, payload: "x".repeat(1400) },
    ];
    // The same in a priority tag, in a provider's, in both, and by SNAP: a Linux guest takes the first three for untagged.
    const wraps: ((frame: Uint8Array) => Uint8Array)[] = [
      (frame) => frame,
      ...[
        [0x81, 0, 0, 0],
        [0x88, 0xa8, 0, 0],
        [0x88, 0xa8, 0, 0, 0x81, 0, 0, 0],
      ].map(
        (tags) => (frame: Uint8Array) =>
          Buffer.concat([frame.subarray(0, 12), Uint8Array.from(tags), frame.subarray(12)]),
      ),
      (frame) =>
        Buffer.concat([
          frame.subarray(0, 12),
          Uint8Array.of((frame.length - 6) >> 8, (frame.length - 6) & 255, 0xaa, 0xaa, 3, 0, 0, 0),
          frame.subarray(12),
        ]),
    ];
    const burst = Buffer.concat(
      spoofs
        .flatMap((spec) => wraps.map((wrap) => wrap(encodeFrame(spec))))
        .map((frame) => {
          const length = Buffer.alloc(4);
          length.writeUInt32BE(frame.length);
          return Buffer.concat([length, frame]);
        }),
    );
    const hostile = net.connect(rig.backend.socketPath).pause();
    await once(hostile, "connect");
    let sent = 0;
    const flood = setInterval(() => {
      if (hostile.writableNeedDrain) return;
      for (let i = 0; i < 8; i++) hostile.write(burst);
      sent += 8;
    }, 10);
    try {
      for (const [i, guest] of guests.entries()) {
        expect(await pings(guest, ADDRESSES[(i + 1) % 3]!)).toBe(true);
        expect(await pings(guest, GATEWAY)).toBe(true);
        const { stdout } = await guest.run("ip", ["-o", "neigh", "show", "dev", "tap0"]);
        expect(stdout).not.toContain(from);
        expect((await guest.run("ip", ["-6", "route", "show", "default"])).stdout).not.toContain("fe80::66");
      }
      const { code, stderr } = await guests[2]!.dhcp("-t", "12", "-r", ADDRESSES[2]!);
      expect(code, stderr + JSON.stringify(await get("status"))).toBe(0);
      expect(guests[2]!.lease()).toMatchObject({ ip: ADDRESSES[2], serverid: GATEWAY });
    } finally {
      clearInterval(flood);
      hostile.destroy();
    }
    expect(sent).toBeGreaterThan(0);
    const { drops } = (await get("status")) as { drops: Record<string, number> };
    for (const reason of ["mac-spoofed", "arp-spoofed", "policy"]) expect(drops[reason], reason).toBeGreaterThan(100);
  });
});

describeE2e("two Linux guests that are kept apart", NEEDS, () => {
  let rig: HostRig;
  let guests: Guest[] = [];
  beforeAll(async () => {
    rig = await HostRig.startHost({ args: ["--isolate"] });
    guests = await plugged(rig, 2);
  });
  afterAll(async () => {
    for (const guest of guests) await guest.close();
    await rig?.close();
  });

  it("reach the gateway and not each other", async () => {
    const [one, two] = guests as [Guest, Guest];
    for (const guest of guests) expect(await pings(guest, GATEWAY)).toBe(true);
    expect((await one.run("ping", ["-c", "1", "-W", "1", ADDRESSES[1]!])).code).toBe(1);
    expect((await two.run("ping", ["-c", "1", "-W", "1", ADDRESSES[0]!])).code).toBe(1);
  });
});
