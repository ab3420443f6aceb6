import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { describe, expect, it } from "vitest";
import type { ServeArguments } from "../../src/cli/argument-types.ts";
import { readServeArguments } from "../../src/cli/arguments.ts";
import { ConfigError } from "../../src/control/errors.ts";
import { LEARNED_HEADER } from "../../src/control/learned-rules.ts";
import { resolveOptions } from "../../src/control/options.ts";
import { DEFAULT_LIMITS } from "../../src/core/limits.ts";

const resolved = (args: ServeArguments) => resolveOptions(readServeArguments(args).network).stack;

describe("what was typed", () => {
  it("gives a guest the address that --lease says", () => {
    const { staticLeases } = resolved({ lease: ["52-54-00-00-00-0A=10.0.2.20"] });
    expect([...staticLeases]).toEqual([["52:54:00:00:00:0a", "10.0.2.20"]]);
  });

  it("is nothing: libslirp's network on n0", () => {
    const options = readServeArguments({});
    expect(options).toMatchObject({
      id: "n0",
      listen: [],
      connect: [],
      fd: null,
      session: { log: { level: "info", json: false } },
    });
    expect(resolveOptions(options.network)).toEqual(resolveOptions());
  });

  it("counts one by one as it does within --netdev", () => {
    const one = resolved({
      net: "10.9.0.0/24",
      host: "10.9.0.1",
      dns: "10.9.0.2",
      dhcpstart: "10.9.0.9",
      hostname: "vm",
      domainname: "a.test",
      dnssearch: ["b.test"],
      restrict: true,
      bootfile: "x",
      tftp: "/tmp",
      tftpServerName: "y",
      smb: "/tmp",
      smbserver: "10.9.0.5",
      hostfwd: ["tcp::2222-:22"],
      ipv4: "on",
      ipv6: "on",
      ipv6Net: "fd00::/64",
      ipv6Host: "fd00::1",
      ipv6Dns: "fd00::53",
      guestfwd: [":10.9.0.100:1-cmd:a b,c"],
    });
    const netdev =
      "user,id=n7,net=10.9.0.0/24,host=10.9.0.1,dns=10.9.0.2,dhcpstart=10.9.0.9,hostname=vm,domainname=a.test," +
      "dnssearch=b.test,restrict=on,bootfile=x,tftp=/tmp,tftp-server-name=y,hostfwd=tcp::2222-:22," +
      "ipv4=on,ipv6=on,ipv6-net=fd00::/64,ipv6-host=fd00::1,ipv6-dns=fd00::53," +
      "smb=/tmp,smbserver=10.9.0.5,guestfwd=:10.9.0.100:1-cmd:a b,,c";
    expect(resolved({ netdev })).toEqual(one);
    expect(readServeArguments({ netdev }).id).toBe("n7");
  });

  it("adds lists to those of --netdev and wins over its single options", () => {
    const stack = resolved({
      netdev: "user,hostname=a,dnssearch=a.test,hostfwd=tcp::1-:1,restrict=on",
      hostname: "b",
      dnssearch: ["b.test"],
      hostfwd: ["tcp::2-:2"],
      publish: ["3:3"],
      restrict: "off",
    });
    expect(stack).toMatchObject({ hostname: "b", dnssearch: ["a.test", "b.test"], restrict: false });
    expect(stack.forwards.map((rule) => rule.guest.port)).toEqual([1, 2, 3]);
  });

  it("takes caps by their names, and of what all may have gives one guest three quarters unless it is told", () => {
    expect(resolved({ max: ["tcpFlows=100", "halfOpen=10", "halfOpenPerGuest=10"] }).limits).toEqual({
      ...DEFAULT_LIMITS,
      ...{ tcpFlows: 100, tcpFlowsPerGuest: 75, halfOpen: 10, halfOpenPerGuest: 10 },
    });
  });

  it("gives a UDP cable the MTU of any Ethernet unless it is told", () => {
    expect(resolved({}).mtu).toBe(65_520);
    expect(resolved({ listen: ["udp:127.0.0.1:9000"] }).mtu).toBe(1500);
    expect(resolved({ connect: ["udp:127.0.0.1:9000"], mtu: "9000" }).mtu).toBe(9000);
  });
});

it.each<[ServeArguments, string, string]>([
  [{ lease: ["10.0.2.20"] }, "--lease", "expected MAC=IP, like 52:54:00:12:34:56=10.0.2.20"],
  [{ lease: ["52:54:00:00:00:01=10.0.2.20", "52:54:00:00:00:01=10.0.2.21"] }, "--lease", "each MAC address once"],
  [{ lease: ["01:54:00:00:00:01=10.0.2.20"] }, "--lease", "expected a guest's MAC address"],
  [{ lease: ["52:54:00:00:00:01=10.0.2.2"] }, "--lease", "10.0.2.2"],
  [{ net: "10.0.2.0/33" }, "--net", "10.0.2.0/33"],
  [{ netdev: "user,net=10.0.2.0/33" }, "--netdev net", "10.0.2.0/33"],
  [{ netdev: "user,net=10.0.2.0/24", net: "x" }, "--net", "x"],
  [{ netdev: "user,dns=10.0.9.3" }, "--netdev dns", "10.0.9.3"],
  [{ netdev: "tap" }, "--netdev", "expected QEMU's option string"],
  [{ netdev: "user,smb=/no/such" }, "--netdev smb", "a folder that exists"],
  [{ smb: "/tmp", smbserver: "10.9.9.9" }, "--smbserver", "10.9.9.9"],
  [{ netdev: "user,guestfwd=tcp:10.0.2.100:80-cmd:'" }, "--netdev guestfwd", "quotes"],
  [{ guestfwd: ["x"] }, "--guestfwd", '"x"'],
  [{ netdev: "user,hostfwd=x" }, "--netdev hostfwd", '"x"'],
  [{ netdev: "user,hostfwd=tcp::1-:1", hostfwd: ["y"] }, "--hostfwd", '"y"'],
  [{ dnssearch: ["a.test", "a..b"] }, "--dnssearch", "a..b"],
  [{ publish: ["22"] }, "--publish", '"22"'],
  [{ dnsUpstream: ["resolver"] }, "--dns-upstream", "resolver"],
  [{ tftp: "/no/such" }, "--tftp", "a folder that exists"],
  [{ netdev: "user,tftp=/dev/null" }, "--netdev tftp", "a folder that exists"],
  [{ tftpServerName: "a b" }, "--tftp-server-name", "a b"],
  [{ outboundAddr: "eth0" }, "--outbound-addr", "eth0"],
  [{ mtu: "1400" }, "--mtu", "from 1500 to 65520"],
  [{ busyPoll: "1ms" }, "--busy-poll", "1ms"],
  [{ busyPoll: "1001" }, "--busy-poll", "up to 1000"],
  [{ mtu: "9k" }, "--mtu", "9k"],
  [{ mtu: "65520", listen: ["udp:127.0.0.1:1"] }, "--mtu", "from 1500 to 65493"],
  [{ ipv6Net: "fe80::/64" }, "--ipv6-net", "fe80::/64"],
  [{ netdev: "user,ipv6-host=fd00::1" }, "--netdev ipv6-host", "fd00::1"],
  [{ ipv4: "off", ipv6: "off" }, "--ipv6", "one of ipv4 and ipv6 to be on"],
  [{ ipv6: "yes" }, "--ipv6", "on or off"],
  [{ hostLoopback: "maybe" }, "--host-loopback", "on or off"],
  [{ dnsRebind: "maybe" }, "--dns-rebind", "allow or refuse"],
  [{ restrict: "yes" }, "--restrict", "on or off"],
  [{ listen: ["/run/x.sock"] }, "--listen", "unix:PATH"],
  [{ connect: ["tcp:1"] }, "--connect", "tcp:HOST:PORT"],
  [{ fd: "stdin" }, "--fd", "number"],
  [{ max: ["tcpFlows"] }, "--max", "NAME=NUMBER, like tcpFlows=1000"],
  [{ max: ["tcpFlow=1"] }, "--max", "expected the name of a limit: tcpFlows?"],
  [{ max: ["HALFOPEN=1"] }, "--max", "expected the name of a limit: halfOpen?"],
  [{ max: ["everything=1"] }, "--max", "docs/limits.md lists them"],
  [{ max: ["__proto__=1"] }, "--max", "expected the name of a limit"],
  [{ max: ["tcpFlows=0"] }, "--max", "from 1 to 1048576 for tcpFlows"],
  [{ max: ["tcpFlows=1k"] }, "--max", "from 1 to 1048576 for tcpFlows"],
  [{ max: ["tcpFlows=1", "tcpFlows=2"] }, "--max", "each limit once"],
  [{ max: ["udpFlowsPerGuest=5000"] }, "--max udpFlowsPerGuest", "no more than all may have, udpFlows: 4096"],
  [{ logLevel: "loud" }, "--log-level", "silent, error"],
])("%j is refused under its own name", (args, field, shown) => {
  expect(() => readServeArguments(args)).toThrow(ConfigError);
  expect(() => readServeArguments(args)).toThrow(expect.objectContaining({ field }));
  expect(() => readServeArguments(args)).toThrow(shown);
});

describe("files that are written", () => {
  it("are one option's each", () => {
    const folder = fs.mkdtempSync(path.join(os.tmpdir(), "arguments-"));
    const around = `${folder}/../${path.basename(folder)}`;
    expect(() => readServeArguments({ learn: `${folder}/x`, audit: `${around}/x` })).toThrow(
      /^--audit: .*than that of --learn/,
    );
    fs.rmSync(folder, { recursive: true });
  });

  it("are one option's each by links, too", () => {
    const folder = fs.mkdtempSync(path.join(os.tmpdir(), "arguments-"));
    const [file, link, hard, other] = ["file", "link", "hard", "folder"].map((name) => path.join(folder, name));
    fs.symlinkSync("file", link!);
    fs.symlinkSync(".", other!);
    const wrong = /^--audit: .*than that of --learn/;
    // As long as it is not there, and when it is.
    expect(() => readServeArguments({ learn: file!, audit: link! })).toThrow(wrong);
    expect(() => readServeArguments({ learn: file!, audit: path.join(other!, "file") })).toThrow(wrong);
    fs.writeFileSync(file!, "");
    fs.linkSync(file!, hard!);
    expect(() => readServeArguments({ learn: file!, audit: link! })).toThrow(wrong);
    expect(() => readServeArguments({ learn: file!, audit: hard! })).toThrow(wrong);
    fs.writeFileSync(file!, `${LEARNED_HEADER}\ndefault deny\n`);
    expect(() => readServeArguments({ learn: file!, rules: link! })).toThrow(/^--learn: .*than that of --rules/);
    fs.rmSync(folder, { recursive: true });
  });

  it.each(["learn", "capture", "tftp"])("with a name that no folder takes are refused in our words: %s", (option) => {
    const name = `/tmp/${"x".repeat(300)}`;
    expect(() => readServeArguments({ [option]: name })).toThrow(
      expect.objectContaining({ name: "ConfigError", field: `--${option}` }),
    );
  });

  it("by --learn lose nothing that it has not made", () => {
    const folder = fs.mkdtempSync(path.join(os.tmpdir(), "arguments-"));
    const [learned, other] = ["learned", "other"].map((name) => path.join(folder, name));
    fs.writeFileSync(learned!, `${LEARNED_HEADER}\nallow tcp a.test:1\n`);
    fs.writeFileSync(other!, "keep me\n");
    expect(readServeArguments({ learn: learned }).network.learn).toBe(learned);
    expect(() => readServeArguments({ learn: other })).toThrow(/^--learn: .*one that --learn has made/);
    fs.rmSync(folder, { recursive: true });
  });
});
