import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { ConfigError } from "../../src/control/errors.ts";
import { parseHostfwd, parsePublish } from "../../src/control/forward-rules.ts";
import { endpointText } from "../../src/core/address.ts";

const port = fc.integer({ min: 1, max: 65_535 });

describe("hostfwd, QEMU's grammar", () => {
  it.each([
    ["tcp::2222-:22", "tcp", "0.0.0.0", 2222, null, 22],
    ["::2222-:22", "tcp", "0.0.0.0", 2222, null, 22],
    ["udp::5353-:53", "udp", "0.0.0.0", 5353, null, 53],
    ["tcp:127.0.0.1:2222-10.0.2.15:22", "tcp", "127.0.0.1", 2222, "10.0.2.15", 22],
    ["tcp:[::1]:2222-:22", "tcp", "::1", 2222, null, 22],
    ["udp:[2001:DB8::0:1]:1-:65535", "udp", "2001:db8::1", 1, null, 65_535],
    ["tcp:[::]:0-:22", "tcp", "::", 0, null, 22],
    ["tcp:127.0.0.1:0-:22", "tcp", "127.0.0.1", 0, null, 22],
    ["tcp:[::1]:2222-[fec0::15]:22", "tcp", "::1", 2222, "fec0::15", 22],
    ["udp::53-[FEC0:0::15]:53", "udp", "0.0.0.0", 53, "fec0::15", 53],
  ])("%s", (text, proto, host, hostPort, guest, guestPort) => {
    expect(parseHostfwd(text)).toEqual({
      proto,
      host: { host, port: hostPort },
      guest: { host: guest, port: guestPort },
    });
  });

  it.each([
    ["unix:/run/vm.sock-:22", "/run/vm.sock", null, 22],
    ["unix:/run/a-b:c-10.0.2.16:22", "/run/a-b:c", "10.0.2.16", 22],
    ["unix:rel-:1", "rel", null, 1],
    ["unix:/run/vm.sock-[fec0::15]:22", "/run/vm.sock", "fec0::15", 22],
  ])("%s", (text, path, guest, guestPort) => {
    expect(parseHostfwd(text)).toEqual({ proto: "tcp", host: { path }, guest: { host: guest, port: guestPort } });
  });

  it.each([
    ["", "hostport"],
    ["2222", "hostport"],
    ["tcp::2222", "hostport"],
    ["tcp::2222:22", "hostport"],
    ["tcp:2222-:22", "hostport"],
    ["tcp::2222-22", "hostport"],
    ["sctp::2222-:22", 'tcp or udp, not "sctp"'],
    ["TCP::2222-:22", "hostport"],
    ["tcp:localhost:2222-:22", 'IP address of the host (IPv6 in brackets), not "localhost"'],
    ["tcp:[::g]:2222-:22", 'not "[::g]"'],
    ["tcp:[127.0.0.1]:2222-:22", 'not "[127.0.0.1]"'],
    ["tcp:::1:2222-:22", "hostport"],
    ["tcp::65536-:22", 'host port from 0 to 65535, not "65536"'],
    ["tcp::-:22", "host port from 0 to 65535, not nothing"],
    ["tcp::+22-:22", 'host port from 0 to 65535, not "+22"'],
    ["tcp:: 22-:22", "host port"],
    ["tcp::2222-:0", 'guest port from 1 to 65535, not "0"'],
    ["tcp::2222-:", "guest port from 1 to 65535, not nothing"],
    ["tcp::2222-:ssh", 'guest port from 1 to 65535, not "ssh"'],
    ["tcp::2222-guest:22", 'IP address of the guest (IPv6 in brackets), not "guest"'],
    ["tcp::2222-[fec0::15%eth0]:22", 'not "[fec0::15%eth0]"'],
    ["tcp::2222-fec0::15:22", "hostport"],
    ["unix:-:22", "unix:PATH"],
    ["unix:/x:22", "unix:PATH"],
    [`unix:/${"x".repeat(120)}-:22`, "bytes"],
    ["tcp::2222-:22\n", "guest port"],
  ])("refuses %j and says what would be right", (text, expectation) => {
    expect(() => parseHostfwd(text)).toThrow(ConfigError);
    expect(() => parseHostfwd(text)).toThrow(expectation);
  });

  it("reads back what it means", () => {
    const host = fc.oneof(
      fc.ipV4().map((ip) => [ip, false] as const),
      fc.constantFrom(["::", true] as const, ["::1", true] as const, ["2001:db8::1", true] as const),
    );
    fc.assert(
      fc.property(fc.constantFrom("tcp", "udp"), host, port, fc.option(fc.ipV4()), port, (proto, [ip], p, guest, q) => {
        const text = `${proto}:${endpointText({ host: ip, port: p })}-${guest ?? ""}:${q}`;
        expect(parseHostfwd(text)).toEqual({ proto, host: { host: ip, port: p }, guest: { host: guest, port: q } });
      }),
    );
  });
});

describe("hostfwd's address of the host", () => {
  it.each([
    ["tcp:[fe80::1]:80-:80", "not a link-local one"],
    ["udp:[ff02::1]:80-:80", "not of a group"],
    ["tcp:[::ffff:192.0.2.1]:80-:80", "expected 192.0.2.1, the IPv4 address that is meant"],
  ])("is one that can be listened on: not %s", (text, expectation) => {
    expect(() => parseHostfwd(text)).toThrow(`hostfwd: got "${text}"; expected`);
    expect(() => parseHostfwd(text)).toThrow(expectation);
  });
});

describe("publish, Docker's grammar", () => {
  it.each([
    ["2222:22", "tcp", "127.0.0.1", [[2222, 22]]],
    ["2222:22/tcp", "tcp", "127.0.0.1", [[2222, 22]]],
    ["5353:53/udp", "udp", "127.0.0.1", [[5353, 53]]],
    ["0.0.0.0:80:80", "tcp", "0.0.0.0", [[80, 80]]],
    ["[::1]:80:8080", "tcp", "::1", [[80, 8080]]],
    [
      "8000-8002:80-82",
      "tcp",
      "127.0.0.1",
      [
        [8000, 80],
        [8001, 81],
        [8002, 82],
      ],
    ],
    ["192.0.2.1:7-7:9-9/udp", "udp", "192.0.2.1", [[7, 9]]],
  ])("%s", (text, proto, host, ports) => {
    expect(parsePublish(text)).toEqual(
      ports.map(([from, to]) => ({ proto, host: { host, port: from }, guest: { host: null, port: to } })),
    );
  });

  it.each([
    ["", "HOST"],
    ["22", "HOST"],
    ["2222:", "HOST"],
    [":22", "HOST"],
    ["2222:22/", "HOST"],
    ["2222:22/sctp", 'not "sctp"'],
    ["0:22", "ports from 1 to 65535"],
    ["2222:0", "ports from 1 to 65535"],
    ["65536:22", "ports from 1 to 65535"],
    ["9999999999:22", "ports from 1 to 65535"],
    ["8000-8002:80-81", "equal length, not 3 and 2"],
    ["8000-8002:80", "equal length, not 3 and 1"],
    ["8002-8000:80-82", "low to high"],
    ["300.0.0.1:2222:22", "IP address of the host"],
    ["::1:2222:22", "HOST"],
    ["a:b:c", "HOST"],
    ["::1:8080:80", "IPv6 in brackets"],
    ["localhost:localhost:1:1", 'publish: got "localhost:localhost:1:1"; expected'],
    ["LOCALHOST:x", 'publish: got "LOCALHOST:x"; expected'],
    ["[fe80::1]:80:80", 'not a link-local one: "[fe80::1]"'],
    ["[febf::1]:80:80", "not a link-local one"],
    ["[ff02::1]:80:80", "not of a group"],
    ["[::ffff:127.0.0.1]:80:80", "expected 127.0.0.1, the IPv4 address that is meant"],
  ])("refuses %j and says what would be right", (text, expectation) => {
    expect(() => parsePublish(text)).toThrow(ConfigError);
    expect(() => parsePublish(text)).toThrow(expectation);
  });

  it.each([
    ["web:2222:22", "127.0.0.1", "web"],
    ["Web-1.lab:0.0.0.0:2222:22", "0.0.0.0", "web-1.lab"],
    ["tcp:[::1]:2222:22", "::1", "tcp"],
  ])("%s leads to a guest by name", (text, host, name) => {
    const guest = { host: null, port: 22, name };
    expect(parsePublish(text)).toEqual([{ proto: "tcp", host: { host, port: 2222 }, guest }]);
  });

  it.each(["localhost:2222:22", "LOCALHOST:2222:22/tcp"])(
    "%s listens on this machine: localhost is no guest",
    (text) => {
      const rule = { proto: "tcp", host: { host: "127.0.0.1", port: 2222 }, guest: { host: null, port: 22 } };
      expect(parsePublish(text)).toEqual([rule]);
    },
  );

  it("makes one rule for each port of a range", () => {
    fc.assert(
      fc.property(port, port, fc.nat(300), (from, to, extra) => {
        fc.pre(Math.max(from, to) + extra <= 65_535);
        const rules = parsePublish(`${from}-${from + extra}:${to}-${to + extra}`);
        expect(rules).toHaveLength(extra + 1);
        expect(rules.at(-1)).toMatchObject({ host: { port: from + extra }, guest: { port: to + extra } });
      }),
    );
  });
});

it("no text makes either grammar throw anything but a ConfigError of one line", () => {
  const pieces = fc.constantFrom(
    "tcp",
    "udp",
    "unix",
    ":",
    "-",
    "[",
    "]",
    "::1",
    "10.0.2.15",
    "22",
    "0",
    "/",
    "\n",
    "",
  );
  const texts = fc.oneof(
    fc.string({ unit: "binary" }),
    fc.array(pieces, { maxLength: 14 }).map((p) => p.join("")),
  );
  fc.assert(
    fc.property(texts, (text) => {
      for (const parse of [parseHostfwd, parsePublish]) {
        try {
          parse(text);
        } catch (error) {
          expect(error).toBeInstanceOf(ConfigError);
          expect((error as Error).message).not.toMatch(/[\p{Cc}\u2028\u2029]/u);
        }
      }
    }),
    { numRuns: 1000 },
  );
});
