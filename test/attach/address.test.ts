import { describe, expect, it } from "vitest";
import { attachAddressText, parseAttachAddress } from "../../src/attach/address.ts";

describe("attach addresses", () => {
  it.each([
    ["unix:/run/x.sock", { kind: "unix", path: "/run/x.sock" }],
    ["unix:relative:with:colons", { kind: "unix", path: "relative:with:colons" }],
    ["tcp:127.0.0.1:9000", { kind: "tcp", host: "127.0.0.1", port: 9000 }],
    ["tcp:localhost:0", { kind: "tcp", host: "localhost", port: 0 }],
    ["udp:[::1]:65535", { kind: "udp", host: "::1", port: 65535 }],
    ["ws://127.0.0.1:8080/", { kind: "ws", host: "127.0.0.1", port: 8080, path: "/" }],
    ["ws://[::1]:0/a/relay", { kind: "ws", host: "::1", port: 0, path: "/a/relay" }],
  ])("reads %s and writes it the same", (text, address) => {
    expect(parseAttachAddress(text)).toEqual(address);
    expect(attachAddressText(parseAttachAddress(text))).toBe(text);
  });

  it("a WebSocket's path may be left out", () => {
    expect(attachAddressText(parseAttachAddress("ws://localhost:1"))).toBe("ws://localhost:1/");
  });

  it.each([
    "",
    "x",
    "/run/x.sock",
    "http:x:1",
    "unix:",
    "unix:a\0b",
    `unix:/${"x".repeat(200)}`,
    "tcp:",
    "tcp:9000",
    "tcp::9000",
    "tcp:host:",
    "tcp:host:65536",
    "tcp:host:-1",
    "tcp:host:0x10",
    "tcp:::1:9000",
    "tcp:[]:1",
    "tcp:[host]:1",
    "tcp:ho st:1",
    "tcp:a\nb:1",
    "udp:1:2:3",
    "ws:127.0.0.1:80",
    "ws://127.0.0.1",
    "ws://127.0.0.1:80/a?b",
    "ws://user@127.0.0.1:80/",
    "wss://127.0.0.1:443/",
  ])("refuses %j in one line that says what would be right", (text) => {
    expect(() => parseAttachAddress(text)).toThrow(/^expected [^\n]+$/);
  });
});
