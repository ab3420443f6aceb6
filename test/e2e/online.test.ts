/** A Linux guest comes online and uses the network as people do: DHCP, DNS, HTTP, UDP, ping. */
import { readFileSync } from "node:fs";
import { afterAll, beforeAll, expect, it } from "vitest";
import { agent } from "../support/e2e/agent.ts";
import { AT_ONCE_MS, describeE2e, LIBSLIRP } from "../support/e2e/requirements.ts";
import { GATEWAY, GUEST, LONG_TXT, METADATA, OUTSIDE, OUTSIDE_NAME, RESOLVER, Rig, url } from "../support/e2e/rig.ts";

describeE2e("a Linux guest comes online", ["curl", "dig", "socat", "ping"], () => {
  let rig: Rig;
  beforeAll(async () => {
    rig = await Rig.online({ files: { "/hello": "hello over HTTP\n" } });
  });
  afterAll(() => rig?.close());

  const dig = async (...args: string[]): Promise<string> => {
    const result = await rig.guest.run("dig", ["+tries=1", "+time=3", ...args]);
    expect(result.code, result.stdout + result.stderr).toBe(0);
    return result.stdout.trim();
  };

  it("DHCP gives udhcpc address, mask, router, resolver and lease time", () => {
    expect(rig.guest.lease()).toMatchObject({
      ip: GUEST,
      mask: "24",
      router: GATEWAY,
      dns: RESOLVER,
      lease: "86400",
      serverid: GATEWAY,
      ...(LIBSLIRP ? {} : { mtu: "65520" }),
    });
    expect(readFileSync(rig.guest.resolvConf, "utf8")).toContain(`nameserver ${RESOLVER}`);
  });

  it("DHCP gives the same address again to the same client, and to one that asks for it", async () => {
    const result = await rig.guest.dhcp("-r", GUEST);
    expect(result.code, result.stderr).toBe(0);
    expect(rig.guest.lease().ip).toBe(GUEST);
  });

  it("DHCP renews a lease by unicast and takes its release", async () => {
    const client = rig.guest.dhcpDaemon();
    await client.said(new RegExp(`lease of ${GUEST} obtained`));
    client.kill("SIGUSR1");
    await client.said(new RegExp(`lease of ${GUEST} obtained`));
    client.kill("SIGUSR2");
    await client.said(/entering released state/);
    client.kill("SIGTERM");
    expect((await rig.guest.dhcp()).code).toBe(0);
  });

  for (const [transport, flag] of [
    ["UDP", "+notcp"],
    ["TCP", "+tcp"],
  ] as const) {
    it(`DNS over ${transport} resolves A, AAAA and TXT`, async () => {
      expect(await dig(flag, "+short", OUTSIDE_NAME, "A")).toBe(OUTSIDE);
      expect(await dig(flag, "+short", OUTSIDE_NAME, "AAAA")).toBe("fd99::1");
      expect(await dig(flag, "+short", OUTSIDE_NAME, "TXT")).toBe('"hello from the outside"');
    });

    it(`DNS over ${transport} says NXDOMAIN for a name that is not there`, async () => {
      expect(await dig(flag, "nowhere.e2e.test")).toContain("status: NXDOMAIN");
    });
  }

  it("DNS over UDP with an answer too long for it is truncated, and dig's second try over TCP has it whole", async () => {
    const truncated = await dig("+ignore", "+notcp", "+bufsize=1232", "long.e2e.test", "TXT");
    expect(truncated).toMatch(/flags:[^;]* tc[ ;]/);
    const whole = await dig("+short", "+notcp", "+bufsize=1232", "long.e2e.test", "TXT");
    expect(whole.replaceAll(/" "|"/g, "")).toBe(LONG_TXT);
  });

  it("curl fetches by name from the outside", async () => {
    const result = await rig.guest.run("curl", ["-sS", "--max-time", "5", url(OUTSIDE_NAME, "/hello")]);
    expect(result).toMatchObject({ code: 0, stdout: "hello over HTTP\n" });
  });

  it("curl reaches the host's own loopback through the gateway's address", async () => {
    const result = await rig.guest.run("curl", ["-sS", "--max-time", "5", url(GATEWAY, "/hello")]);
    expect(result).toMatchObject({ code: 0, stdout: "hello over HTTP\n" });
  });

  it("a refused port fails at once", async () => {
    const result = await rig.guest.run("curl", ["-sS", "--max-time", "5", `http://${OUTSIDE}:1/`]);
    expect(result.code, result.stderr).toBe(7);
    expect(result.stderr).toMatch(/refused|Couldn't connect/);
    expect(result.millis).toBeLessThan(AT_ONCE_MS);
  });

  it("socat's UDP echo comes back", async () => {
    const line = `printf 'over UDP' | socat -t 2 - UDP4:${OUTSIDE}:${rig.services.ports.udpEcho}`;
    expect((await rig.guest.sh(line)).stdout).toBe("over UDP");
  });

  it("UDP datagrams of every size up to fragmented ones come back unchanged", async () => {
    const sizes = [1, 2, 512, 1471, 1472, 1473, 4000, 6000, 9000];
    expect(await agent(rig.guest, "udpEcho", { host: OUTSIDE, port: rig.services.ports.udpEcho, sizes })).toEqual({
      sizes,
    });
  });

  it("a closed UDP port gives ECONNREFUSED in the guest", async () => {
    expect(await agent(rig.guest, "udpRefused", { host: OUTSIDE, port: 9 })).toEqual({ error: "ECONNREFUSED" });
  });

  it("the gateway answers ping, small and fragmented, and no reply is doubled", async () => {
    for (const size of ["56", "1472", "1473", "4000"]) {
      const result = await rig.guest.run("ping", ["-n", "-c", "3", "-i", "0.05", "-W", "2", "-s", size, GATEWAY]);
      expect(result.stdout).toContain("3 packets transmitted, 3 received, 0% packet loss");
    }
  });

  it("an address of the subnet that nobody has stays silent to ARP", async () => {
    const result = await rig.guest.sh("busybox arping -c 1 -w 1 -I tap0 10.0.2.77");
    expect(result.stdout).toContain("Received 0 response(s)");
  });

  it.skipIf(LIBSLIRP)("a name that leads to the metadata address does not open it (libslirp: opens it)", async () => {
    const control = await rig.host.run("curl", ["-sS", "--max-time", "5", url(METADATA, "/hello")]);
    expect(control.stdout).toBe("hello over HTTP\n");
    const result = await rig.guest.run("curl", ["-sS", "--max-time", "3", url("metadata.e2e.test", "/hello")]);
    expect(result.stdout).toBe("");
    expect(result.code).not.toBe(0);
  });
});
