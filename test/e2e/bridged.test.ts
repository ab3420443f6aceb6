/** Guests on a segment of other machines, by VXLAN: a Linux bridge's with its own DHCP, and another tslirp's. */
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { Backend } from "../support/e2e/backend.ts";
import { Guest } from "../support/e2e/guest.ts";
import { Namespace } from "../support/e2e/namespace.ts";
import { describeE2e, LIBSLIRP } from "../support/e2e/requirements.ts";
import { GATEWAY, GUEST_MAC, HostRig, HTTP_PORT, OUTSIDE, Rig, url } from "../support/e2e/rig.ts";
import { HERE, joinNamespaces, ROUTER, Segment, THERE, VNI } from "../support/e2e/segment.ts";
import { ServicesProcess } from "../support/e2e/services-process.ts";
import { patternSha256 } from "../support/services.ts";

const SIZE = 3_000_000;
const NEEDS = LIBSLIRP ? ["no such thing"] : ["curl", "ping", "sha256sum", "ethtool"];

/** Three megabytes from an HTTP server, their hash compared. */
async function fetched(guest: Guest, host: string): Promise<void> {
  const { stdout, stderr } = await guest.sh(
    `curl -sS --max-time 15 '${url(host, `/bytes?n=${SIZE}&seed=9`)}' | sha256sum`,
    20_000,
  );
  expect(stdout.slice(0, 64), stderr).toBe(patternSha256(9, SIZE));
}

/** What DHCP has told a guest of the MTU becomes its interface's: see guest.ts for why the script does not. */
function takeMtu(guest: Guest): void {
  guest.ip("link", "set", "tap0", "mtu", guest.lease().mtu!);
}

describeE2e("a guest on a segment that has its own router and DHCP", NEEDS, () => {
  let segment: Segment | undefined;
  let rig: Rig;
  beforeAll(async () => {
    rig = await Rig.start((folder) => ({
      prepare: async (host) => {
        mkdirSync(join(folder, "segment"));
        segment = await Segment.join(host, folder);
      },
      args: ["--mode", "bridged", "--uplink", `vxlan://${THERE}?vni=${VNI}&local=${HERE}`],
    }));
    await ServicesProcess.start(segment!.namespace, { host: "0.0.0.0", ports: { http: HTTP_PORT } });
  });
  afterAll(async () => {
    await rig?.close();
    await segment?.close();
  });

  it("gets its lease from the segment, and its MTU with it", async () => {
    const { code, stderr } = await rig.guest.dhcp("-t", "10");
    expect(code, stderr + rig.backend.log).toBe(0);
    expect(rig.guest.lease()).toMatchObject({ router: ROUTER, serverid: ROUTER, mtu: "1450" });
    expect(rig.guest.lease().ip).toMatch(/^192\.168\.77\.1[01][0-9]$/);
    takeMtu(rig.guest);
  });

  it("pings the segment's router with all that fits, and no answer comes twice", async () => {
    const { code, stdout } = await rig.guest.run("ping", ["-c", "3", "-i", "0.2", "-s", "1422", "-M", "do", ROUTER]);
    expect(code, stdout).toBe(0);
    expect(stdout).toContain("3 received, 0% packet loss");
  });

  it("carries 3 MB by TCP from the segment, and a connection to the guest", async () => {
    await fetched(rig.guest, ROUTER);
    if (segment!.lacking !== null) return;
    await ServicesProcess.start(rig.guest, { host: "0.0.0.0", ports: { http: HTTP_PORT } });
    const line = `curl -sS --max-time 15 '${url(rig.guest.lease().ip!, `/bytes?n=${SIZE}&seed=4`)}' | sha256sum`;
    const { stdout, stderr } = await segment!.namespace.sh(line, 20_000);
    expect(stdout.slice(0, 64), stderr).toBe(patternSha256(4, SIZE));
  });
});

describeE2e("a bridge loop through two uplinks to one segment", NEEDS, () => {
  let segment: Segment | undefined;
  let rig: Rig;
  beforeAll(async () => {
    rig = await Rig.start((folder) => ({
      prepare: async (host) => {
        mkdirSync(join(folder, "segment"));
        segment = await Segment.join(host, folder, 2);
      },
      args: [
        ...["--mode", "bridged", "--uplink", `vxlan://${THERE}?vni=${VNI}&local=${HERE}`],
        ...["--uplink", `vxlan://${THERE}:4790?vni=${VNI + 1}&local=${HERE}:4790`],
      ],
    }));
  });
  afterAll(async () => {
    await rig?.close();
    await segment?.close();
  });

  it("carries no frame round: broadcasts come a bounded number of times, pings once", async () => {
    expect((await rig.guest.dhcp("-t", "10")).code, rig.backend.log).toBe(0);
    // All to the segment's broadcast address: each is flooded by both bridges.
    await rig.guest.sh("ping -b -c 20 -i 0.05 -W 1 192.168.77.255 2>&1", 20_000);
    const pings = await rig.guest.run("ping", ["-c", "10", "-i", "0.2", "-W", "2", ROUTER]);
    expect(pings.stdout).not.toContain("DUP");
    expect(pings.stdout).toMatch(/ [1-9]\d* received/);
    if (segment!.lacking !== null) return;
    // By each way the frames that the guest has sent, once: a loop would make hundreds of thousands of them.
    expect(await segment!.received("vx0")).toBeLessThan(400);
    expect(await segment!.received("vx1")).toBeLessThan(400);
  });
});

describeE2e("two tslirps joined by VXLAN are one LAN", NEEDS, () => {
  let rig: HostRig;
  let second: Namespace;
  let backend: Backend;
  const guests: Guest[] = [];
  beforeAll(async () => {
    second = new Namespace("second");
    rig = await HostRig.startHost({
      prepare: (host) => joinNamespaces(host, ["und0", `${HERE}/24`], second, ["und1", `${THERE}/24`]),
      args: ["--uplink", `vxlan://${THERE}?vni=${VNI}&local=${HERE}`],
    });
    const folder = join(rig.folder, "second");
    mkdirSync(folder);
    const uplink = `vxlan://${HERE}?vni=${VNI}&local=${THERE}`;
    backend = await Backend.start(second, folder, { kind: "tslirp", args: ["--mode", "bridged", "--uplink", uplink] });
    for (const [i, socketPath] of [rig.backend.socketPath, backend.socketPath].entries()) {
      const guest = new Guest(join(rig.folder, `lease${i}`), `${GUEST_MAC.slice(0, -1)}${i + 1}`);
      guests.push(guest);
      await guest.plug(socketPath);
      const { code, stderr } = await guest.dhcp("-t", "10", "-x", `hostname:guest${i}`);
      expect(code, stderr).toBe(0);
      takeMtu(guest);
    }
  });
  afterAll(async () => {
    for (const guest of guests) await guest.close();
    await second?.close();
    await rig?.close();
  });

  it("with one DHCP server: the first's leases, with the MTU that fits", () => {
    expect(guests.map((guest) => guest.lease())).toMatchObject([
      { ip: "10.0.2.15", router: GATEWAY, mtu: "1450" },
      { ip: "10.0.2.16", router: GATEWAY, mtu: "1450" },
    ]);
  });

  it("guests ping each other by IPv4, and by the IPv6 addresses that the router's prefix gave them", async () => {
    const [one, two] = guests as [Guest, Guest];
    const reached = await one.run("ping", ["-c", "2", "-i", "0.2", "-s", "1422", "-M", "do", "10.0.2.16"]);
    expect(reached.code, reached.stdout).toBe(0);
    for (const guest of guests) await guest.hasAddress(6);
    const list = await two.sh("ip -6 -o addr show dev tap0 | grep -o 'fec0:[^/]*' | head -1");
    const address = list.stdout.trim();
    expect(address).toMatch(/^fec0:/);
    const reached6 = await one.run("ping", ["-c", "2", "-i", "0.2", "-W", "5", address], 20_000);
    expect(reached6.code, reached6.stdout).toBe(0);
  });

  it("TCP passes between them, and from the second's guest through the first's gateway to the world", async () => {
    const [one, two] = guests as [Guest, Guest];
    await ServicesProcess.start(one, { host: "0.0.0.0", ports: { http: HTTP_PORT } });
    await fetched(two, "10.0.2.15");
    await fetched(two, OUTSIDE);
    await fetched(two, GATEWAY);
  });
});
