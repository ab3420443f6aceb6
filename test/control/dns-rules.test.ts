import { describe, expect, it } from "vitest";
import { parseDnsHost, parseDnsZone } from "../../src/control/dns-rules.ts";

describe("--dns-host", () => {
  it.each([
    ["db.corp.example=10.1.2.3", { name: "db.corp.example", address: "10.1.2.3" }],
    ["DB.=2001:DB8::1", { name: "db", address: "2001:db8::1" }],
    ["db=[2001:db8::1]", { name: "db", address: "2001:db8::1" }],
    ["me=gateway", { name: "me", address: "gateway" }],
    ["_x-1.test=127.0.0.1", { name: "_x-1.test", address: "127.0.0.1" }],
  ])("%s", (text, host) => expect(parseDnsHost(text)).toEqual(host));

  it.each([
    "db",
    "=10.0.0.1",
    "db=",
    "db=10.0.0.256",
    "a..b=10.0.0.1",
    "db=10.0.0.1:53",
    "-=x",
    `${"a".repeat(64)}=1.2.3.4`,
  ])("refuses %s", (text) => {
    expect(() => parseDnsHost(text)).toThrow(
      expect.objectContaining({
        name: "ConfigError",
        field: "dnsHosts",
        expectation: expect.stringContaining("NAME=IP"),
      }),
    );
  });
});

describe("--dns-zone", () => {
  it.each([
    ["corp.example=10.1.0.53", { zone: "corp.example", server: { host: "10.1.0.53", port: 53 } }],
    [".Corp.=10.1.0.53:5353", { zone: "corp", server: { host: "10.1.0.53", port: 5353 } }],
    ["10.in-addr.arpa=[2001:db8::53]:54", { zone: "10.in-addr.arpa", server: { host: "2001:db8::53", port: 54 } }],
    ["ip6=2001:db8::53", { zone: "ip6", server: { host: "2001:db8::53", port: 53 } }],
  ])("%s", (text, zone) => expect(parseDnsZone(text)).toEqual(zone));

  it.each(["corp", "=10.0.0.1", ".=10.0.0.1", "corp=ns.corp", "corp=10.0.0.1:0", "corp=gateway"])(
    "refuses %s",
    (text) => {
      expect(() => parseDnsZone(text)).toThrow(
        expect.objectContaining({
          name: "ConfigError",
          field: "dnsZones",
          expectation: expect.stringContaining("ZONE=IP"),
        }),
      );
    },
  );
});
