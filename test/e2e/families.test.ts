/** A Linux guest of one family alone does what one of both does: configured by SLAAC, by DHCPv6, and by IPv4's DHCP. */
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { afterAll, beforeAll, expect, it } from "vitest";
import { agent } from "../support/e2e/agent.ts";
import type { Guest } from "../support/e2e/guest.ts";
import { AT_ONCE_MS, describeE2e, LIBSLIRP } from "../support/e2e/requirements.ts";
import {
  GATEWAY,
  GATEWAY6,
  LONG_TXT,
  OUTSIDE,
  OUTSIDE_NAME,
  OUTSIDE6,
  RESOLVER,
  RESOLVER6,
  Rig,
  type RigOptions,
  url,
} from "../support/e2e/rig.ts";
import { patternSha256 } from "../support/services.ts";

const MIB = 1024 * 1024;
const SLAAC = "fec0::5054:ff:fee2:e001";
const LEASE6 = "fec0::15";
/** A forward from the host's port to the guest's port 80, and to its UDP port. */
const FORWARDED = 10_080;

interface Kind {
  readonly name: string;
  readonly family: 4 | 6;
  readonly options: RigOptions;
  /** The guest's address. */
  readonly address: string;
  configure(rig: Rig): Promise<void>;
}

const sysctl =
  (...settings: string[]) =>
  (guest: Guest) =>
    guest.run("sysctl", ["-qw", ...settings]);

const KINDS: readonly Kind[] = [
  {
    name: "IPv6 by SLAAC alone",
    family: 6,
    address: SLAAC,
    options: { netdev: ["ipv4=off"], hostfwd: [`tcp:[::1]:${FORWARDED}-[${SLAAC}]:80`] },
    async configure({ guest }) {
      const heard = await guest.slaac();
      expect(heard).toMatch(/Stateful address conf\.\s*:\s*No/);
      expect(heard).toMatch(/Prefix\s*:\s*fec0::\/64/);
      expect(heard).toMatch(/Router lifetime\s*:\s*1800/);
      if (!LIBSLIRP) expect(heard).toMatch(/MTU\s*:\s*65520/);
    },
  },
  {
    name: "IPv6 by DHCPv6",
    family: 6,
    address: LEASE6,
    options: {
      netdev: ["ipv4=off"],
      hostfwd: [`tcp:[::1]:${FORWARDED}-[${LEASE6}]:80`],
      prepareGuest: sysctl("net.ipv6.conf.tap0.autoconf=0"),
    },
    async configure({ guest }) {
      await guest.hasAddress(6, "link");
      await guest.dhcp6();
      expect(guest.lease()).toMatchObject({ new_ip6_address: LEASE6, new_dhcp6_name_servers: RESOLVER6 });
      await guest.hasAddress(6);
      expect((await guest.run("ip", ["-6", "addr", "show", "dev", "tap0"])).stdout).not.toContain(SLAAC);
    },
  },
  {
    name: "IPv4 alone",
    family: 4,
    address: "10.0.2.15",
    options: {
      netdev: ["ipv6=off"],
      hostfwd: [`tcp:127.0.0.1:${FORWARDED}-:80`],
      prepareGuest: sysctl("net.ipv6.conf.tap0.disable_ipv6=1"),
    },
    async configure({ guest }) {
      const result = await guest.dhcp();
      expect(result.code, result.stderr).toBe(0);
    },
  },
];

for (const kind of KINDS.filter(({ name }) => !(LIBSLIRP && name.includes("DHCPv6"))))
  describeE2e(`a guest with ${kind.name}`, ["curl", "dig", "ping", "sysctl", "rdisc6", "ndisc6", "dhclient"], () => {
    const v6 = kind.family === 6;
    const [outside, gateway, resolver] = v6 ? [OUTSIDE6, GATEWAY6, RESOLVER6] : ([OUTSIDE, GATEWAY, RESOLVER] as const);
    let rig: Rig;
    const ports = () => (v6 ? rig.services6 : rig.services).ports;
    beforeAll(async () => {
      rig = await Rig.start({ ...kind.options, host6: true, files: { "/hello": "hello over HTTP\n" } });
      await kind.configure(rig);
    });
    afterAll(() => rig?.close());

    const dig = async (...args: string[]): Promise<string> => {
      const result = await rig.guest.run("dig", ["+tries=1", "+time=3", ...args]);
      expect(result.code, result.stdout + result.stderr).toBe(0);
      return result.stdout.trim();
    };
    const curl = (...args: string[]) => rig.guest.run("curl", ["-sS", "--max-time", "20", ...args], 25_000);

    it("has an address of this family and none of the other, and knows its resolver", async () => {
      const list = async (family: 4 | 6) =>
        (await rig.guest.run("ip", ["-o", `-${family}`, "addr", "show", "dev", "tap0"])).stdout;
      expect(await list(kind.family)).toContain(` ${kind.address}/`);
      expect(await list(v6 ? 4 : 6)).toBe("");
      expect(readFileSync(rig.guest.resolvConf, "utf8")).toContain(`nameserver ${resolver}\n`);
    });

    for (const [transport, flag] of [
      ["UDP", "+notcp"],
      ["TCP", "+tcp"],
    ] as const)
      it(`DNS over ${transport}: A, AAAA, TXT and NXDOMAIN`, async () => {
        expect(await dig(flag, "+short", OUTSIDE_NAME, "A")).toBe(OUTSIDE);
        expect(await dig(flag, "+short", OUTSIDE_NAME, "AAAA")).toBe(OUTSIDE6);
        expect(await dig(flag, "+short", OUTSIDE_NAME, "TXT")).toBe('"hello from the outside"');
        expect(await dig(flag, "nowhere.e2e.test")).toContain("status: NXDOMAIN");
      });

    it("an answer too long for UDP comes whole over TCP", async () => {
      const whole = await dig("+short", "+notcp", "+bufsize=1232", "long.e2e.test", "TXT");
      expect(whole.replaceAll(/" "|"/g, "")).toBe(LONG_TXT);
    });

    it("curl fetches by name from the outside, which sees no other family", async () => {
      expect(await curl(url(OUTSIDE_NAME, "/hello"))).toMatchObject({ code: 0, stdout: "hello over HTTP\n" });
    });

    it("curl reaches the host's own loopback through the gateway's address", async () => {
      expect(await curl(url(gateway, "/hello"))).toMatchObject({ code: 0, stdout: "hello over HTTP\n" });
    });

    it("eight MiB come down and go up, every byte as it was", async () => {
      const down = await rig.guest.sh(
        `curl -sS --max-time 30 '${url(outside, `/bytes?n=${8 * MIB}&seed=3`)}' | sha256sum`,
        35_000,
      );
      expect(down.stdout.split(" ")[0]).toBe(patternSha256(3, 8 * MIB));
      const up = await rig.guest.sh(`head -c ${8 * MIB} /dev/zero | curl -sS -T - '${url(outside, "/sink")}'`, 35_000);
      expect(up.stdout).toBe(
        createHash("sha256")
          .update(Buffer.alloc(8 * MIB))
          .digest("hex"),
      );
    });

    it("many connections at once, each its own bytes and FIN by FIN", async () => {
      const args = { host: outside, port: ports().echo, count: 50, bytes: 20_000 };
      expect(await agent(rig.guest, "echoMany", args)).toEqual({ right: 50, errors: [] });
    });

    it("a refused port fails at once", async () => {
      const result = await curl(`http://${v6 ? `[${outside}]` : outside}:1/`);
      expect(result.code, result.stderr).toBe(7);
      expect(result.millis).toBeLessThan(AT_ONCE_MS);
    });

    it("UDP datagrams of every size up to fragmented ones come back unchanged", async () => {
      const sizes = [1, 512, 1452, 1453, 1472, 1473, 6000, 9000];
      expect(await agent(rig.guest, "udpEcho", { host: outside, port: ports().udpEcho, sizes })).toEqual({ sizes });
    });

    it.skipIf(LIBSLIRP)("a closed UDP port gives ECONNREFUSED in the guest", async () => {
      expect(await agent(rig.guest, "udpRefused", { host: outside, port: 9 })).toEqual({ error: "ECONNREFUSED" });
    });

    it("the gateway answers ping, small and fragmented, and no reply is doubled", async () => {
      for (const size of ["56", "1452", "1453", "4000"]) {
        const result = await rig.guest.run("ping", ["-n", "-c", "3", "-i", "0.05", "-W", "2", "-s", size, gateway]);
        expect(result.stdout).toContain("3 packets transmitted, 3 received, 0% packet loss");
      }
    });

    it("an address of the subnet that nobody has stays silent", async () => {
      const silence = v6
        ? { command: "ndisc6 -1 -r 1 -w 500 fec0::77 tap0", said: "No response" }
        : { command: "busybox arping -c 1 -w 1 -I tap0 10.0.2.77", said: "Received 0 response(s)" };
      const result = await rig.guest.sh(silence.command);
      expect(result.stdout + result.stderr).toContain(silence.said);
    });

    it.skipIf(LIBSLIRP && v6)("the host reaches the guest through a forward", async () => {
      const listen = v6 ? "TCP6-LISTEN" : "TCP4-LISTEN";
      rig.guest.spawn("socat", ["-U", `${listen}:80,fork,reuseaddr`, "SYSTEM:echo from the inside"], {
        stdio: "ignore",
      });
      const host = v6 ? "TCP6:[::1]" : "TCP4:127.0.0.1";
      const ask = () => rig.host.sh(`socat -T 3 -u ${host}:${FORWARDED} -`).then((result) => result.stdout);
      // The listener comes up in its own time: until then the forward is refused.
      await expect.poll(ask, { timeout: 5000 }).toBe("from the inside\n");
    });
  });

describeE2e("a guest with both families and a host with IPv4 alone", ["curl"], () => {
  let rig: Rig;
  beforeAll(async () => {
    rig = await Rig.online({ files: { "/hello": "hello over HTTP\n" } });
    await rig.guest.hasAddress(6);
  });
  afterAll(() => rig?.close());

  it("learns at once that IPv6 leads nowhere", async () => {
    const result = await rig.guest.run("curl", ["-sS", "--max-time", "5", url("2001:db8::1", "/hello")]);
    expect(result.code, result.stderr).toBe(7);
    expect(result.millis).toBeLessThan(AT_ONCE_MS);
  });

  it("and falls back to IPv4 without delay", async () => {
    const result = await rig.guest.run("curl", ["-sS", "--max-time", "5", url("both.e2e.test", "/hello")]);
    expect(result).toMatchObject({ code: 0, stdout: "hello over HTTP\n" });
    expect(result.millis).toBeLessThan(AT_ONCE_MS);
  });
});
