/** A Linux guest pings and traces a far host behind a router, each in a namespace of its own. */
import { afterAll, beforeAll, expect, it } from "vitest";
import { describeE2e } from "../support/e2e/requirements.ts";
import { GATEWAY, Rig } from "../support/e2e/rig.ts";
import {
  FAR,
  FAR_MTU,
  FAR6,
  PROHIBITED,
  PROHIBITED6,
  ROUTER,
  ROUTER6,
  SILENT,
  SILENT6,
  World,
} from "../support/e2e/world.ts";

const GATEWAY6 = "fec0::2";

/** A host whose groups may (or may not) have ping sockets, with the world behind it. */
async function start(groups: string): Promise<{ rig: Rig; world: World }> {
  let world: World | null = null;
  const rig = await Rig.online({
    prepare: async (host) => {
      await host.run("sysctl", ["-qw", `net.ipv4.ping_group_range=${groups}`]);
      world = await World.join(host);
    },
  });
  return { rig, world: world! };
}

describeE2e("a Linux guest pings the world", ["ping", "traceroute", "tracepath", "sysctl"], () => {
  let rig: Rig;
  let world: World;
  beforeAll(async () => {
    ({ rig, world } = await start("0 2147483647"));
  });
  afterAll(async () => {
    await rig?.close();
    await world?.close();
  });

  const ping = async (...args: string[]): Promise<string> =>
    (await rig.guest.run("ping", ["-n", "-W", "2", ...args])).stdout;

  it("has an IPv6 address by router advertisement", async () => {
    const addresses = (): Promise<string> =>
      rig.guest.sh("ip -6 addr show dev tap0 scope site -tentative").then(({ stdout }) => stdout);
    await expect.poll(addresses, { timeout: 10_000 }).toContain("fec0::");
  });

  it("reaches the far host", async () => {
    expect(await ping("-c", "3", "-i", "0.05", FAR)).toContain("3 packets transmitted, 3 received, 0% packet loss");
  });

  it("carries every size, 8 kB in fragments among them, and the guest's own data", async () => {
    for (const size of ["0", "8", "1372", "1473", "8000", "60000"]) {
      const said = await ping("-c", "2", "-i", "0.05", "-M", "dont", "-p", "a5c3", "-s", size, FAR);
      expect(said).toContain("2 packets transmitted, 2 received, 0% packet loss");
      expect(said).not.toContain("wrong data byte");
    }
  });

  it("keeps up with ping -f, a thousand of them", async () => {
    const said = await ping("-f", "-c", "1000", FAR);
    expect(said).toContain("1000 packets transmitted, 1000 received, 0% packet loss");
  });

  it("tells several pingers at once apart", async () => {
    const all = await Promise.all(Array.from({ length: 8 }, () => ping("-c", "10", "-i", "0.02", FAR)));
    for (const said of all) expect(said).toContain("10 packets transmitted, 10 received, 0% packet loss");
  });

  it("shows what was lost as lost, and what follows as answered", async () => {
    await world.answering(false);
    expect(await ping("-c", "3", "-i", "0.05", "-W", "0.3", FAR)).toContain("3 packets transmitted, 0 received, 100%");
    await world.answering(true);
    expect(await ping("-c", "3", "-i", "0.05", FAR)).toContain("3 packets transmitted, 3 received, 0% packet loss");
  });

  it("gets no answer from an address where nobody is, and no error", async () => {
    const said = await ping("-c", "3", "-i", "0.05", "-W", "0.5", SILENT);
    expect(said).toContain("3 packets transmitted, 0 received, 100% packet loss");
    expect(said).not.toContain("From");
  });

  it("hears the router where the way is forbidden", async () => {
    expect(await ping("-c", "1", PROHIBITED)).toMatch(new RegExp(`From ${ROUTER} icmp_seq=1 Packet filtered`));
  });

  it("hears where its time to live ends: at the gateway, at the router", async () => {
    expect(await ping("-c", "1", "-t", "1", FAR)).toContain(`From ${GATEWAY} icmp_seq=1 Time to live exceeded`);
    expect(await ping("-c", "1", "-t", "2", FAR)).toContain(`From ${ROUTER} icmp_seq=1 Time to live exceeded`);
    expect(await ping("-c", "1", "-t", "3", FAR)).toContain("1 packets transmitted, 1 received");
  });

  it("hears that it is too big, with the MTU", async () => {
    const said = await ping("-c", "1", "-M", "do", "-s", "1472", FAR);
    expect(said).toContain(`From ${ROUTER} icmp_seq=1 Frag needed and DF set (mtu = ${FAR_MTU})`);
    rig.guest.ip("route", "flush", "cache");
  });

  for (const [how, ...args] of [["UDP"], ["ICMP", "-I"]] as const) {
    it(`traceroute by ${how} shows gateway, router and target, in both families`, async () => {
      const trace = async (far: string): Promise<string[]> => {
        const { stdout } = await rig.guest.run("traceroute", ["-n", "-w", "2", "-q", "1", "-m", "6", ...args, far]);
        return stdout.split("\n").flatMap((line) => /^ *(\d+) +(\S+)/.exec(line)?.slice(1).join(" ") ?? []);
      };
      expect(await trace(FAR)).toEqual([`1 ${GATEWAY}`, `2 ${ROUTER}`, `3 ${FAR}`]);
      expect(await trace(FAR6)).toEqual([`1 ${GATEWAY6}`, `2 ${ROUTER6}`, `3 ${FAR6}`]);
    });
  }

  for (const [family, gateway, router, far] of [
    ["IPv4", GATEWAY, ROUTER, FAR],
    ["IPv6", GATEWAY6, ROUTER6, FAR6],
  ] as const) {
    it(`tracepath over ${family} shows gateway, router, target and the path's MTU`, async () => {
      const { stdout } = await rig.guest.run("tracepath", ["-n", "-m", "6", far], 30_000);
      expect(stdout).toMatch(new RegExp(`1: +${gateway} `));
      expect(stdout).toMatch(new RegExp(`2: +${router} `));
      expect(stdout).toMatch(new RegExp(`3: +${far} .*reached`));
      expect(stdout).toContain(`Resume: pmtu ${FAR_MTU} `);
    });
  }

  it("does all of that over IPv6", async () => {
    for (const size of ["0", "1352", "8000"]) {
      const said = await ping("-6", "-c", "2", "-i", "0.05", "-M", "dont", "-p", "a5c3", "-s", size, FAR6);
      expect(said).toContain("2 packets transmitted, 2 received, 0% packet loss");
      expect(said).not.toContain("wrong data byte");
    }
    expect(await ping("-6", "-f", "-c", "1000", FAR6)).toContain("1000 packets transmitted, 1000 received, 0% packet");
    const silent = await ping("-6", "-c", "2", "-i", "0.05", "-W", "0.5", SILENT6);
    expect(silent).toContain("2 packets transmitted, 0 received, 100% packet loss");
    expect(await ping("-6", "-c", "1", "-t", "1", FAR6)).toContain(
      `From ${GATEWAY6} icmp_seq=1 Time exceeded: Hop limit`,
    );
    expect(await ping("-6", "-c", "1", "-t", "2", FAR6)).toContain(
      `From ${ROUTER6} icmp_seq=1 Time exceeded: Hop limit`,
    );
    expect(await ping("-6", "-c", "1", PROHIBITED6)).toContain(`From ${ROUTER6} icmp_seq=1 Destination unreachable`);
    rig.guest.ip("-6", "route", "flush", "cache");
    // By the router, or by the host once it has heard it from there.
    const large = await ping("-6", "-c", "1", "-M", "do", "-s", "1452", FAR6);
    expect(large).toMatch(new RegExp(`From (${ROUTER6}|${GATEWAY6}) icmp_seq=1 Packet too big: mtu=${FAR_MTU}`));
  });
});

describeE2e("a Linux guest pings a world that its host may not have ping sockets for", ["ping", "sysctl"], () => {
  let rig: Rig;
  let world: World;
  beforeAll(async () => {
    ({ rig, world } = await start("1 0"));
  });
  afterAll(async () => {
    await rig?.close();
    await world?.close();
  });

  it("through the host's ping program: answers, sizes, silence, and where the time to live ends", async () => {
    const ping = async (...args: string[]): Promise<string> =>
      (await rig.guest.run("ping", ["-n", "-c", "2", "-i", "0.2", "-W", "2", ...args])).stdout;
    expect(await ping(FAR)).toContain("2 packets transmitted, 2 received, 0% packet loss");
    const large = await ping("-s", "8000", "-p", "a5c3", FAR);
    expect(large).toContain("2 packets transmitted, 2 received, 0% packet loss");
    expect(large).not.toContain("wrong data byte");
    expect(await ping("-W", "0.5", SILENT)).toContain("2 packets transmitted, 0 received, 100% packet loss");
    expect(await ping("-t", "2", FAR)).toContain(`From ${ROUTER} icmp_seq=1 Time to live exceeded`);
  });
});
