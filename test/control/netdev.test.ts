import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { ConfigError } from "../../src/control/errors.ts";
import { type Netdev, parseNetdev } from "../../src/control/netdev.ts";

describe("QEMU's -netdev user", () => {
  it.each<[string, Netdev]>([
    ["user", { id: null, options: {} }],
    ["user,id=n0", { id: "n0", options: {} }],
    ["type=user,id=n0", { id: "n0", options: {} }],
    [
      "user,id=n0,net=192.168.5.0/24,host=192.168.5.1,dns=192.168.5.9,dhcpstart=192.168.5.20",
      {
        id: "n0",
        options: { subnet: "192.168.5.0/24", host: "192.168.5.1", dns: "192.168.5.9", dhcpStart: "192.168.5.20" },
      },
    ],
    [
      "user,hostname=vm,domainname=example.test,tftp=/srv,bootfile=/pxe.0,tftp-server-name=boot",
      {
        id: null,
        options: {
          ...{ hostname: "vm", domainname: "example.test" },
          ...{ tftp: "/srv", bootfile: "/pxe.0", tftpServerName: "boot" },
        },
      },
    ],
    [
      "user,dnssearch=a.test,hostfwd=tcp::2222-:22,dnssearch=b.test,hostfwd=udp::53-:53",
      { id: null, options: { hostfwd: ["tcp::2222-:22", "udp::53-:53"], dnsSearch: ["a.test", "b.test"] } },
    ],
    ["user,restrict=on", { id: null, options: { restrict: true } }],
    ["user,restrict=yes", { id: null, options: { restrict: true } }],
    ["user,restrict=off", { id: null, options: { restrict: false } }],
    ["user,restrict", { id: null, options: { restrict: true } }],
    ["user,restrict=on,restrict=n", { id: null, options: { restrict: false } }],
    ["user,ipv4=on,ipv6=off", { id: null, options: { ipv4: true, ipv6: false } }],
    // One turned on alone turns the other off, as QEMU has it.
    ["user,ipv6=on", { id: null, options: { ipv4: false, ipv6: true } }],
    ["user,ipv6", { id: null, options: { ipv4: false, ipv6: true } }],
    ["user,ipv4=on", { id: null, options: { ipv4: true, ipv6: false } }],
    ["user,ipv4=off", { id: null, options: { ipv4: false } }],
    ["user,ipv6=off", { id: null, options: { ipv6: false } }],
    [
      "user,ipv6-net=2001:db8::/64,ipv6-host=2001:db8::1,ipv6-dns=2001:db8::53",
      { id: null, options: { subnet6: "2001:db8::/64", host6: "2001:db8::1", dns6: "2001:db8::53" } },
    ],
    ["user,ipv6-prefix=2001:db8::,ipv6-prefixlen=80", { id: null, options: { subnet6: "2001:db8::/80" } }],
    ["user,ipv6-prefix=2001:db8::", { id: null, options: { subnet6: "2001:db8::/64" } }],
    ["user,ipv6-prefixlen=80", { id: null, options: { subnet6: "fec0::/80" } }],
    ["user,bootfile=a,,b,,,,c,id=n1", { id: "n1", options: { bootfile: "a,b,,c" } }],
    ["user,bootfile=a,,", { id: null, options: { bootfile: "a," } }],
    ["user,bootfile=a=b", { id: null, options: { bootfile: "a=b" } }],
    ["user,net=10.0.0.0/8,net=10.1.0.0/16", { id: null, options: { subnet: "10.1.0.0/16" } }],
    ["user,ip=10.0.9.0", { id: null, options: { subnet: "10.0.9.0/24" } }],
    ["user,id=n0,", { id: "n0", options: {} }],
    ['{"type":"user","id":"n0"}', { id: "n0", options: {} }],
    [
      '{"type":"user","id":"n0","restrict":true,"net":"10.9.0.0/24","hostfwd":[{"str":"tcp::2222-:22"},{"str":"udp::1-:1"}],"dnssearch":[{"str":"a,b"}]}',
      {
        id: "n0",
        options: {
          restrict: true,
          subnet: "10.9.0.0/24",
          hostfwd: ["tcp::2222-:22", "udp::1-:1"],
          dnsSearch: ["a,b"],
        },
      },
    ],
    ['{"type":"user","hostfwd":[]}', { id: null, options: {} }],
  ])("%s", (text, netdev) => {
    expect(parseNetdev(text)).toEqual(netdev);
  });

  it.each([
    ["", "netdev", "expected QEMU's option string"],
    ["tap,id=n0", "netdev", "expected QEMU's option string"],
    ["id=n0", "netdev", "expected QEMU's option string"],
    ["user=x", "netdev", "expected QEMU's option string"],
    ["user,hostfw=tcp::1-:1", "netdev", "no such option"],
    ["{", "netdev", "valid JSON"],
    ["{}", "netdev", "expected QEMU's option string"],
    ['{"type":"tap"}', "netdev", "expected QEMU's option string"],
    ['{"type":"user","hostfwd":["x"]}', "netdev hostfwd", 'a list of {"str": TEXT}'],
    ['{"type":"user","net":null}', "netdev net", "expected a text"],
    ['{"type":"user","netz":"x"}', "netdev", "no such option"],
    ["user,,id=n0", "netdev", "no such option"],
    ["user,net", "netdev net", "expected net=VALUE"],
    ["user,id=", "netdev id", "expected a letter"],
    ["user,id=0n", "netdev id", "expected a letter"],
    ["user,restrict=maybe", "netdev restrict", "expected on or off"],
    ["user,ipv6=maybe", "netdev ipv6", "expected on or off"],
    ["user,ipv6-net", "netdev ipv6-net", "expected ipv6-net=VALUE"],
  ])("refuses %j", (text, field, expectation) => {
    expect(() => parseNetdev(text)).toThrow(ConfigError);
    expect(() => parseNetdev(text)).toThrow(expectation);
    expect(() => parseNetdev(text)).toThrow(expect.objectContaining({ field }));
  });

  it("carries any value through its doubled commas", () => {
    fc.assert(
      fc.property(fc.string({ minLength: 1 }), fc.string({ minLength: 1 }), (bootfile, hostname) => {
        // QEMU's own ambiguity: a comma that begins a value is the separator's second half.
        fc.pre(!bootfile.startsWith(",") && !hostname.startsWith(","));
        const double = (text: string): string => text.replaceAll(",", ",,");
        const text = `user,bootfile=${double(bootfile)},hostname=${double(hostname)}`;
        expect(parseNetdev(text).options).toEqual({ bootfile, hostname });
      }),
    );
  });

  it("no text makes it throw anything but a ConfigError of one line", () => {
    const pieces = fc.constantFrom(
      "user",
      "type",
      "=",
      ",",
      "id",
      "net",
      "ipv6",
      "on",
      "restrict",
      "hostfwd",
      "smb",
      "\n",
      "{",
      '"type":"user"',
      "[",
      "]",
      "}",
    );
    const texts = fc.oneof(
      fc.string({ unit: "binary" }),
      fc.array(pieces, { maxLength: 14 }).map((p) => p.join("")),
    );
    fc.assert(
      fc.property(
        texts.chain((text) => fc.constantFrom(text, `user,${text}`)),
        (text) => {
          try {
            parseNetdev(text);
          } catch (error) {
            expect(error).toBeInstanceOf(ConfigError);
            expect((error as Error).message).not.toMatch(/[\p{Cc}\u2028\u2029]/u);
          }
        },
      ),
      { numRuns: 1000 },
    );
  });
});
