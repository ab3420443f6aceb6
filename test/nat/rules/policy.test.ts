import { describe, expect, test } from "vitest";
import { resolveOptions } from "../../../src/control/options.ts";
import { addressFromText } from "../../../src/core/address.ts";
import { Policy } from "../../../src/nat/rules/policy.ts";

const policy = (options = {}) => new Policy(resolveOptions(options).stack);
const side = (text: string, p = policy()) => p.hostSide(addressFromText(text));

describe("where guests may go", () => {
  test.each([
    "198.51.100.1",
    "192.168.1.1",
    "2001:db8::1",
    "fd00::1",
    "64:ff9b::c633:6401",
    "2002:c633:6401::1",
    "2001:db8::5efe:c633:6401",
  ])("%s is let through", (text) => expect(side(text)).toBe(text));
  test("the gateway's addresses are the host's loopback", () => {
    expect(side("10.0.2.2")).toBe("127.0.0.1");
    expect(side("fec0::2")).toBe("::1");
    expect(side("fe80::2")).toBe("::1");
  });
  test.each(["10.0.2.2", "fec0::2", "fe80::2"])("%s is nobody with hostLoopback off", (text) =>
    expect(side(text, policy({ hostLoopback: false }))).toBeNull(),
  );
  test.each(["198.51.100.1", "2001:db8::1", "10.0.2.2", "fec0::2"])("%s is out of reach when restricted", (text) =>
    expect(side(text, policy({ restrict: true }))).toBeNull(),
  );
  test.each([
    ["127.0.0.1", "the host's loopback"],
    ["127.255.0.1", "the host's loopback"],
    ["0.0.0.0", "this network"],
    ["169.254.169.254", "link-local, where clouds keep their metadata"],
    ["224.0.0.251", "multicast"],
    ["255.255.255.255", "broadcast"],
    ["10.0.2.77", "the guests' own net"],
    ["::", "unspecified"],
    ["::1", "the host's loopback"],
    ["::127.0.0.1", "IPv4-compatible"],
    ["::198.51.100.1", "IPv4-compatible, deprecated"],
    ["::ffff:127.0.0.1", "IPv4-mapped"],
    ["::ffff:198.51.100.1", "IPv4-mapped: IPv4 has its own way"],
    ["::ffff:0:127.0.0.1", "IPv4-translated"],
    ["64:ff9b::127.0.0.1", "loopback through NAT64"],
    ["64:ff9b::169.254.169.254", "metadata through NAT64"],
    ["64:ff9b::10.0.2.77", "the guests' own net through NAT64"],
    ["64:ff9b:1::7f00:1", "loopback through a local NAT64"],
    ["64:ff9b:1:7f00:0:100::", "the same with the address around the eighth byte"],
    ["2002:7f00:1::1", "loopback through 6to4"],
    ["2001:0:7f00:1::1", "a Teredo server on loopback"],
    ["2001:0:c633:6401::80ff:fffe", "a Teredo client on loopback"],
    ["64:ff9b::a83f:8110", "Azure's metadata through NAT64"],
    ["64:ff9b::6464:64c8", "Alibaba's metadata through NAT64"],
    ["64:ff9b:1::c000:c0", "Oracle's metadata through a local NAT64"],
    ["64:ff9b:1:a8:3f:8110::", "Azure's with a prefix of 56 bits"],
    ["64:ff9b:1:0:a8:3f81:1000:0", "Azure's with a prefix of 64 bits"],
    ["64:ff9b:1:a83f:81:1000::", "Azure's with a prefix of 48 bits"],
    ["2002:a83f:8110::1", "Azure's metadata through 6to4"],
    ["2002:a00:24d::1", "the guests' own net through 6to4"],
    ["2001:0:a83f:8110::1", "a Teredo server on Azure's metadata"],
    ["2001:db8::5efe:7f00:1", "loopback through ISATAP"],
    ["2001:db8::200:5efe:a9fe:a9fe", "metadata through ISATAP"],
    ["::168.63.129.16", "IPv4-compatible metadata"],
    ["fd00:ec2::254", "Amazon's metadata"],
    ["fd00:ec2::23", "Amazon's credentials of containers"],
    ["fd00:ec2::253", "Amazon's DNS"],
    ["fd20:ce::254", "Google's metadata"],
    ["fd00:c1::a9fe:a9fe", "Oracle's metadata"],
    ["fd00:42::42", "Scaleway's metadata"],
    ["fd00:a9fe:a9fe::1", "Akamai's metadata"],
    ["fd00:100::100:200", "Alibaba's metadata"],
    ["100.100.100.200", "Alibaba's metadata"],
    ["168.63.129.16", "Azure's metadata"],
    ["192.0.0.192", "Oracle's metadata"],
    ["fe80::1", "link-local"],
    ["febf::1", "link-local"],
    ["fec0:0:0:1::1", "site-local"],
    ["fec0::77", "the guests' own net"],
    ["ff02::fb", "multicast"],
    ["ff0e::1", "multicast"],
  ])("%s is refused: %s", (text) => expect(side(text)).toBeNull());
});

describe("how the host's addresses are shown", () => {
  test.each([
    ["198.51.100.7", 4, "198.51.100.7"],
    ["127.0.0.1", 4, "10.0.2.2"],
    ["10.0.2.15", 4, "10.0.2.2"],
    ["::1", 4, "10.0.2.2"],
    ["::ffff:198.51.100.7", 4, "198.51.100.7"],
    ["2001:db8::7", 4, "10.0.2.2"],
    ["2001:db8::7", 6, "2001:db8::7"],
    ["::1", 6, "fec0::2"],
    ["127.0.0.1", 6, "fec0::2"],
    ["fec0::15", 6, "fec0::2"],
    ["fe80::1234%eth0", 6, "fec0::2"],
    ["198.51.100.7", 6, "fec0::2"],
  ] as const)("%s to an IPv%i guest is %s", (host, family, shown) =>
    expect(policy().guestSide(host, family).text).toBe(shown),
  );
});

describe("who is a guest", () => {
  const isGuest6 = (text: string) => policy().isGuest6(addressFromText(text).bytes, 0);
  test.each(["fec0::15", "fec0::5054:ff:fe12:3456", "fe80::5054:ff:fe12:3456"])("%s may be one", (text) =>
    expect(isGuest6(text)).toBe(true),
  );
  test.each(["fec0::2", "fec0::3", "fe80::2", "fec0::", "fec0:0:0:1::1", "2001:db8::1", "::", "::1", "ff02::1"])(
    "%s may not",
    (text) => expect(isGuest6(text)).toBe(false),
  );
});
