import { describe, expect, it } from "vitest";
import { ConfigError } from "../../src/control/errors.ts";
import { type NetworkOptions, resolveOptions } from "../../src/control/options.ts";
import { resolveUplink, uplinkInnerMtu } from "../../src/control/uplink-rules.ts";

const resolve = (given: string): unknown => resolveUplink("uplink", given);

function fault(act: () => unknown): string {
  try {
    act();
  } catch (error) {
    expect(error).toBeInstanceOf(ConfigError);
    expect((error as Error).message).not.toMatch(/[\r\n]/);
    return (error as Error).message;
  }
  throw new Error("was accepted");
}

describe("an uplink", () => {
  it("is VXLAN to one end or several, IPv4 or IPv6, with RFC 7348's port unless given", () => {
    expect(resolve("vxlan://192.0.2.7?vni=42")).toEqual({
      vni: 42,
      local: { host: "0.0.0.0", port: 4789 },
      remotes: [{ host: "192.0.2.7", port: 4789 }],
      mtu: 1500,
    });
    expect(resolve("vxlan://192.0.2.7,192.0.2.8:4790/?vni=0&local=192.0.2.1:4791&mtu=9000")).toEqual({
      vni: 0,
      local: { host: "192.0.2.1", port: 4791 },
      remotes: [
        { host: "192.0.2.7", port: 4789 },
        { host: "192.0.2.8", port: 4790 },
      ],
      mtu: 9000,
    });
    expect(resolve("vxlan://2001:db8::7,[2001:db8::8]:4790?vni=16777215")).toEqual({
      vni: 0xffffff,
      local: { host: "::", port: 4789 },
      remotes: [
        { host: "2001:db8::7", port: 4789 },
        { host: "2001:db8::8", port: 4790 },
      ],
      mtu: 1500,
    });
    expect(resolveUplink("uplink", { remotes: ["192.0.2.7"], vni: 42 })).toEqual(resolve("vxlan://192.0.2.7?vni=42"));
  });

  it.each([
    ["192.0.2.7", "expected vxlan://"],
    ["vxlan://192.0.2.7", "expected vxlan://"],
    ["vxlan://192.0.2.7?mtu=1500", "expected a vni"],
    ["vxlan://192.0.2.7?vni=1&vni=2", "expected vxlan://"],
    ["vxlan://192.0.2.7?vni=1&ttl=2", "expected vxlan://"],
    ["vxlan://192.0.2.7?vni=16777216", "expected a vni from 0 to 16777215"],
    ["vxlan://192.0.2.7?vni=x", "expected a vni from 0"],
    ["vxlan://192.0.2.7?vni=1&mtu=1349", "expected an mtu from 1350"],
    ["vxlan://host.test?vni=1", 'got "host.test"; expected the address of the other end'],
    ["vxlan://0.0.0.0?vni=1", "expected the address of the other end"],
    ["vxlan://192.0.2.7,192.0.2.7:1?vni=1", "expected each address of another end once"],
    ["vxlan://192.0.2.7,2001:db8::1?vni=1", "expected all ends to have IPv4"],
    ["vxlan://192.0.2.7?vni=1&local=::", "expected all ends to have IPv4"],
    ["vxlan://192.0.2.7?vni=1&local=here", "expected an address of this host"],
  ])("%s is refused", (text, expectation) => {
    expect(fault(() => resolve(text))).toContain(expectation);
  });

  it("leaves guests 50 bytes less than the network between has, 70 over IPv6, and no MTU beyond that", () => {
    expect(uplinkInnerMtu(resolveUplink("uplink", "vxlan://192.0.2.7?vni=1"))).toBe(1450);
    expect(uplinkInnerMtu(resolveUplink("uplink", "vxlan://2001:db8::7?vni=1"))).toBe(1430);
    const uplink = ["vxlan://192.0.2.7?vni=1&mtu=9000", { remotes: ["2001:db8::7"], vni: 2 }];
    expect(resolveOptions({ uplink }).stack.mtu).toBe(1430);
    expect(resolveOptions({ uplink, mtu: 1300 }).stack.mtu).toBe(1300);
    expect(fault(() => resolveOptions({ uplink, mtu: 1450 }))).toContain("expected at most 1430");
    expect(fault(() => resolveOptions({ mtu: 1450 }))).toContain("from 1500");
  });
});

describe("mode bridged", () => {
  const uplink = "vxlan://192.0.2.7?vni=1";

  it("has neither a gateway nor DHCP of ours, unless DHCP is turned on", () => {
    expect(resolveOptions({ mode: "bridged", uplink }).stack).toMatchObject({ gateway: false, dhcp: false });
    expect(resolveOptions({ mode: "bridged", uplink, dhcp: true }).stack).toMatchObject({ gateway: true, dhcp: true });
    expect(resolveOptions({ uplink }).stack).toMatchObject({ gateway: true, dhcp: true });
    expect(resolveOptions({ uplink, dhcp: false }).stack).toMatchObject({ gateway: true, dhcp: false });
  });

  it("leads somewhere", () => {
    expect(fault(() => resolveOptions({ mode: "bridged" }))).toContain("expected where mode bridged leads");
    expect(fault(() => resolveOptions({ mode: "bridged", uplink: [] }))).toContain("expected where mode bridged leads");
  });

  it.each<[NetworkOptions]>([
    [{ publish: ["2222:22"] }],
    [{ hostfwd: ["tcp::2222-:22"] }],
    [{ rules: ["default deny"] }],
    [{ restrict: true }],
    [{ onFlow: () => "allow" }],
  ])("takes nothing that is our gateway's: %j", (options) => {
    expect(fault(() => resolveOptions({ mode: "bridged", uplink, ...options }))).toContain("expected another mode");
    expect(() => resolveOptions({ mode: "bridged", uplink, hostfwd: [], publish: [] })).not.toThrow();
  });
});
