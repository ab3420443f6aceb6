/** Guest forwards and SMB as users write them. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { ConfigError } from "../../src/control/errors.ts";
import { type NetworkOptions, resolveOptions } from "../../src/control/options.ts";

let folder = "";
beforeAll(() => {
  folder = mkdtempSync(path.join(tmpdir(), "guestfwd-test-"));
});
afterAll(() => rmSync(folder, { recursive: true }));

describe("guestfwd", () => {
  it.each([
    ["tcp:10.0.2.100:80-cmd:cat", "10.0.2.100", 80, { argv: ["cat"] }],
    [":10.0.2.100:80-cmd:nc -U '/a b'", "10.0.2.100", 80, { argv: ["nc", "-U", "/a b"] }],
    ["tcp::80-cmd:cat - -tcp:x", "10.0.2.4", 80, { argv: ["cat", "-", "-tcp:x"] }],
    ["tcp:10.0.2.100:1-tcp:127.0.0.1:8080", "10.0.2.100", 1, { host: "127.0.0.1", port: 8080 }],
    ["tcp:10.0.2.100:1-tcp:[::1]:8080", "10.0.2.100", 1, { host: "::1", port: 8080 }],
    ["tcp:10.0.2.100:1-tcp:localhost:8080", "10.0.2.100", 1, { host: "localhost", port: 8080 }],
    ["tcp:10.0.2.100:65535-unix:/run/a-b:c,d", "10.0.2.100", 65_535, { path: "/run/a-b:c,d" }],
  ])("%s", (rule, server, port, target) => {
    const { guestForwards, stack } = resolveOptions({ guestfwd: [rule] });
    expect(guestForwards).toEqual([{ server, port, target }]);
    expect(stack.reserved).toEqual([server]);
  });

  it.each([
    ["", "like tcp:10.0.2.100:80-cmd:cat"],
    ["tcp:10.0.2.100:80", "-cmd:COMMAND"],
    ["udp:10.0.2.100:80-cmd:cat", "[tcp]:server"],
    ["tcp:10.0.2.100:80-chardev:x", "-tcp:HOST:PORT"],
    ["tcp:ten:80-cmd:cat", 'not "ten"'],
    ["tcp:10.0.2.100:0-cmd:cat", "from 1 to 65535"],
    ["tcp:10.0.2.100:http-cmd:cat", 'not "http"'],
    ["tcp:10.0.2.100:80-cmd:", "a command behind -cmd:"],
    ["tcp:10.0.2.100:80-cmd:'x", "quotes are closed"],
    ["tcp:10.0.2.100:80-cmd:'' x", "quotes are closed"],
    ["tcp:10.0.2.100:80-tcp:127.0.0.1", "tcp:HOST:PORT"],
    ["tcp:10.0.2.100:80-tcp:127.0.0.256:1", "tcp:HOST:PORT"],
    ["tcp:10.0.2.100:80-tcp::1", "tcp:HOST:PORT"],
    ["tcp:10.0.2.100:80-unix:", "1 to"],
    [`tcp:10.0.2.100:80-unix:${"x".repeat(200)}`, "1 to"],
    ["tcp:10.0.3.100:80-cmd:cat", "within 10.0.2.0/24"],
    ["tcp:10.0.2.2:80-cmd:cat", "not the gateway's"],
    ["tcp:10.0.2.3:80-cmd:cat", "not the DNS server's"],
    ["tcp:10.0.2.15:80-cmd:cat", "no guest is given"],
    ["tcp:10.0.2.40:80-cmd:cat", "no guest is given"],
  ])("%j is refused", (rule, shown) => {
    const staticLeases = { "52:54:00:12:34:56": "10.0.2.40" };
    expect(() => resolveOptions({ guestfwd: [rule], staticLeases })).toThrow(ConfigError);
    expect(() => resolveOptions({ guestfwd: [rule], staticLeases })).toThrow(shown);
  });

  it("takes several, each at a place of its own", () => {
    const rule = "tcp:10.0.2.100:80-cmd:cat";
    expect(resolveOptions({ guestfwd: [rule, "tcp:10.0.2.100:81-cmd:cat"] }).stack.reserved).toEqual(["10.0.2.100"]);
    expect(() => resolveOptions({ guestfwd: [rule, rule] })).toThrow("10.0.2.100:80, which is taken");
    expect(() => resolveOptions({ smb: folder, guestfwd: ["tcp::445-cmd:cat"] })).toThrow("which is taken");
  });
});

describe("SMB", () => {
  it("is at the net's .4 unless told", () => {
    expect(resolveOptions({ smb: folder }).smb).toEqual({ folder, server: "10.0.2.4" });
    expect(resolveOptions({ smb: folder, smbServer: "10.0.2.9" }).stack.reserved).toEqual(["10.0.2.9"]);
    expect(resolveOptions({ smb: folder, subnet: "192.168.7.0/24" }).smb?.server).toBe("192.168.7.4");
    expect(resolveOptions({ smbServer: "10.0.2.9" })).toMatchObject({ smb: null, stack: { reserved: [] } });
  });

  it.each<[NetworkOptions, string]>([
    [{ smb: "/no/such" }, "smb: "],
    [{ smb: tmpdir(), smbServer: "10.0.2.3" }, "smbServer: "],
    [{ smb: tmpdir(), smbServer: "x" }, "smbServer: "],
  ])("%j is refused", (options, shown) => {
    expect(() => resolveOptions(options)).toThrow(shown);
  });
});
