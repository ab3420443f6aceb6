import { execFileSync } from "node:child_process";
import { expect, it } from "vitest";
import { qemuArgs, shellLine } from "../../src/control/qemu-args.ts";

it.each([
  [
    { kind: "unix", path: "/run/user/1000/tslirp/n0.sock" },
    "stream,id=n0,server=off,addr.type=unix,addr.path=/run/user/1000/tslirp/n0.sock",
  ],
  [{ kind: "unix", path: "/tmp/a,b" }, "stream,id=n0,server=off,addr.type=unix,addr.path=/tmp/a,,b"],
  [
    { kind: "tcp", host: "127.0.0.1", port: 9000 },
    "stream,id=n0,server=off,addr.type=inet,addr.host=127.0.0.1,addr.port=9000",
  ],
  [
    { kind: "tcp", host: "0.0.0.0", port: 9000 },
    "stream,id=n0,server=off,addr.type=inet,addr.host=127.0.0.1,addr.port=9000",
  ],
  [
    { kind: "udp", host: "127.0.0.1", port: 9000 },
    "dgram,id=n0,local.type=inet,local.host=127.0.0.1,local.port=0,remote.type=inet,remote.host=127.0.0.1,remote.port=9000",
  ],
] as const)("a guest attaches to %j", (address, netdev) => {
  expect(qemuArgs("n0", address)).toEqual(["-netdev", netdev, "-device", "virtio-net-pci,netdev=n0"]);
});

it("a pasted line reaches the program as it was meant", () => {
  const args = ["-netdev", "stream,addr.path=/tmp/a b'c$HOME`x`\\\"", "", "virtio-net-pci,netdev=n0"];
  const seen = execFileSync("sh", ["-c", `for a in ${shellLine(args)}; do printf '%s\\0' "$a"; done`], {
    encoding: "utf8",
  });
  expect(seen.split("\0").slice(0, -1)).toEqual(args);
});
