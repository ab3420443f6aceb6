import { mkdtempSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { NodeDns } from "../../src/host/dns.ts";
import { parseResolvConf, ResolvConf } from "../../src/host/resolv-conf.ts";
import { DNS_A } from "../../src/wire/dns.ts";
import { answer, query } from "../support/dns.ts";
import { UdpServer } from "../support/dns-server.ts";

let dir: string;
let path: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "tslirp-dns-"));
  path = join(dir, "resolv.conf");
});
afterEach(() => {
  vi.restoreAllMocks();
  rmSync(dir, { recursive: true });
});

test("nameserver lines with addresses count, the first three, scope ids kept", () => {
  const text = [
    "# nameserver 192.0.2.1",
    "; nameserver 192.0.2.2",
    "search example.com",
    "\tnameserver\t192.0.2.3   # the office\r",
    "nameserver resolver.example.com",
    "nameserver",
    "nameservers 192.0.2.4",
    "nameserver fe80::1%eth0",
    "nameserver 2001:db8::53",
    "nameserver 192.0.2.5",
  ].join("\n");
  expect(parseResolvConf(text)).toEqual([
    { host: "192.0.2.3", port: 53 },
    { host: "fe80::1%eth0", port: 53 },
    { host: "2001:db8::53", port: 53 },
  ]);
  expect(parseResolvConf("")).toEqual([]);
});

describe("the file", () => {
  const hosts = (conf: ResolvConf, now: number): string[] => conf.servers(now).map((s) => s.host);

  test("is looked at once a second, and its change noticed", () => {
    writeFileSync(path, "nameserver 192.0.2.1\n");
    const conf = new ResolvConf(path);
    expect(hosts(conf, 0)).toEqual(["192.0.2.1"]);
    writeFileSync(path, "nameserver 192.0.2.22\n");
    expect(hosts(conf, 999)).toEqual(["192.0.2.1"]);
    expect(hosts(conf, 1000)).toEqual(["192.0.2.22"]);
    const same = conf.servers(2000);
    expect(conf.servers(3000)).toBe(same);
  });

  test("may be replaced, vanish and come back", () => {
    const conf = new ResolvConf(path);
    expect(hosts(conf, 0)).toEqual([]);
    writeFileSync(path, "nameserver 192.0.2.1\n");
    expect(hosts(conf, 1000)).toEqual(["192.0.2.1"]);
    writeFileSync(`${path}.new`, "nameserver 192.0.2.2\n");
    renameSync(`${path}.new`, path);
    expect(hosts(conf, 2000)).toEqual(["192.0.2.2"]);
    rmSync(path);
    expect(hosts(conf, 3000)).toEqual([]);
  });
});

test("queries go to the servers that the file names now", async (context) => {
  const open = (host: string): Promise<UdpServer | null> =>
    UdpServer.open((q) => [answer(q)], host, 53).catch(() => null);
  const [old, fresh] = await Promise.all([open("127.53.0.1"), open("127.53.0.2")]);
  if (old === null || fresh === null) return context.skip("port 53 cannot be bound here");
  writeFileSync(path, "nameserver 127.53.0.1\n");
  const now = vi.spyOn(performance, "now");
  now.mockReturnValue(0);
  const dns = new NodeDns({ resolvConf: path });
  const q = query("a.test", DNS_A);
  const ask = (): Promise<Uint8Array | null> => new Promise((done) => dns.query(q, false, done));
  expect(await ask()).toEqual(answer(q));
  writeFileSync(path, "nameserver 127.53.0.2\n");
  now.mockReturnValue(1500);
  expect(dns.servers()).toEqual([{ host: "127.53.0.2", port: 53 }]);
  expect(await ask()).toEqual(answer(q));
  expect([old.seen.length, fresh.seen.length]).toEqual([1, 1]);
  dns.close();
  await Promise.all([old.close(), fresh.close()]);
});
