import { expect, it } from "vitest";
import { cableArgument, hasStream, parseVersion } from "../../../src/cli/qemu/version.ts";

const UNIX = { kind: "unix", path: "/tmp/x/0.sock" } as const;
const TCP = { kind: "tcp", host: "127.0.0.1", port: 4711 } as const;
const STREAM = "stream,id=n0,server=off,addr.type=unix,addr.path=/tmp/x/0.sock";

it.each([
  ["QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7+deb12u18+b3)\nCopyright (c) …", 702],
  ["QEMU emulator version 10.1.50 (v10.1.0-1)", 1001],
  ["starting…\nQEMU emulator version 2.12.0\n", 212],
  ["GNU bash, version 5.2.15", null],
  ["", null],
])("the version in %j is %j", (text, version) => {
  expect(parseVersion(text)).toBe(version);
});

it.each([
  [602, TCP, "socket,id=n0,connect=127.0.0.1:4711"],
  [701, TCP, "socket,id=n0,connect=127.0.0.1:4711"],
  [702, UNIX, STREAM],
  [800, UNIX, `${STREAM},reconnect=1`],
  [901, UNIX, `${STREAM},reconnect=1`],
  [902, UNIX, `${STREAM},reconnect-ms=500`],
  [1002, UNIX, `${STREAM},reconnect-ms=500`],
  [null, UNIX, STREAM],
])("QEMU %j attaches by what it knows", (version, address, netdev) => {
  expect(hasStream(version)).toBe(address.kind === "unix");
  expect(cableArgument(version, "n0", address)).toBe(netdev);
});
