import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { readQemuCommand, type UserNetwork } from "../../../src/cli/qemu/command-line.ts";
import { ConfigError } from "../../../src/control/errors.ts";

const QEMU = "qemu-system-x86_64";
const words = (line: string): string[] => line.split(" ").filter((word) => word !== "");
const cable = ({ id }: UserNetwork): string => `<${id}>`;
const rewritten = (line: string, program = QEMU): string =>
  readQemuCommand(program, words(line)).arguments(cable).join(" ");

describe("what becomes of a QEMU command", () => {
  it.each([
    // -netdev keeps its place and id.
    ["-m 512 -netdev user,id=n0,restrict=on -device e1000,netdev=n0", "-m 512 -netdev <n0> -device e1000,netdev=n0"],
    ["--netdev user,id=n0 -S", "-netdev <n0> -S"],
    ["-netdev type=user,id=n0", "-netdev <n0>"],
    ["-netdev id=n0,type=user", "-netdev <n0>"],
    ['-netdev {"type":"user","id":"n0"}', "-netdev <n0>"],
    ["-netdev user,id=a -netdev tap,id=t -netdev user,id=b", "-netdev <a> -netdev tap,id=t -netdev <b>"],
    // -nic is a back-end and an on-board card.
    ["-nic user", "-net nic,netdev=tslirp0 -netdev <tslirp0>"],
    ["-nic user,model=virtio,hostfwd=tcp::2222-:22", "-net nic,netdev=tslirp0,model=virtio -netdev <tslirp0>"],
    ["-nic model=e1000", "-net nic,netdev=tslirp0,model=e1000 -netdev <tslirp0>"],
    ["-nic mac=52:54:00:00:00:07", "-net nic,netdev=tslirp0,macaddr=52:54:00:00:00:07 -netdev <tslirp0>"],
    [
      "-nic user,id=x,model=rtl8139,mac=52:54:00:00:00:07",
      "-net nic,netdev=x,model=rtl8139,macaddr=52:54:00:00:00:07 -netdev <x>",
    ],
    // All of them are split, since QEMU counts `-nic` before `-net nic`.
    [
      "-nic tap,ifname=t,,0,model=virtio -S -nic user -nic none",
      "-net nic,netdev=tslirp0,model=virtio -net nic,netdev=tslirp1 -netdev tap,ifname=t,,0,id=tslirp0 -S -netdev <tslirp1> -nic none",
    ],
    [
      "-net nic,netdev=n9 -netdev user,id=n9 -nic user",
      "-net nic,netdev=tslirp0 -net nic,netdev=n9 -netdev <n9> -netdev <tslirp0>",
    ],
    ["-nic tap -netdev user,id=n0", "-nic tap -netdev <n0>"],
    [
      "-nic user,id=tslirp1 -nic user -nic user",
      "-net nic,netdev=tslirp1 -net nic,netdev=tslirp0 -net nic,netdev=tslirp2 -netdev <tslirp1> -netdev <tslirp0> -netdev <tslirp2>",
    ],
    // One card and one user network on the hub need no hub.
    ["-net nic,model=e1000 -net user", "-net nic,model=e1000,netdev=tslirp0 -netdev <tslirp0>"],
    ["-net user,id=u -net nic", "-netdev <u> -net nic,netdev=u"],
    // More than that do.
    [
      "-net nic -net nic -net user",
      "-net nic -net nic -netdev <tslirp0> -netdev hubport,id=tslirp0-hub,hubid=0,netdev=tslirp0",
    ],
    [
      "-net nic -net user -net tap",
      "-net nic -netdev <tslirp0> -netdev hubport,id=tslirp0-hub,hubid=0,netdev=tslirp0 -net tap",
    ],
    ["-net user", "-netdev <tslirp0> -netdev hubport,id=tslirp0-hub,hubid=0,netdev=tslirp0"],
    [
      "-net nic -net user -netdev hubport,id=h,hubid=0,netdev=t -netdev tap,id=t",
      "-net nic -netdev <tslirp0> -netdev hubport,id=tslirp0-hub,hubid=0,netdev=tslirp0 -netdev hubport,id=h,hubid=0,netdev=t -netdev tap,id=t",
    ],
    // A card that has its netdev is not on the hub.
    ["-net nic,netdev=n0 -netdev user,id=n0", "-net nic,netdev=n0 -netdev <n0>"],
    // None at all: the card that the machine has by default, as QEMU itself would have it.
    ["-m 512", "-m 512 -net nic,netdev=tslirp0 -netdev <tslirp0>"],
    ["-M isapc", "-M isapc -net nic,netdev=tslirp0 -netdev <tslirp0>"],
    ["-device virtio-net-pci", "-device virtio-net-pci -net nic,netdev=tslirp0 -netdev <tslirp0>"],
    // Where QEMU would have none, neither do we.
    ["-nodefaults -m 512", "-nodefaults -m 512"],
    ["--nodefaults", "--nodefaults"],
    ["-netdev tap,id=tslirp0", "-netdev tap,id=tslirp0"],
    ["-netdev socket,id=n0,fd=3 -device e1000,netdev=n0", "-netdev socket,id=n0,fd=3 -device e1000,netdev=n0"],
    ["-nic tap", "-nic tap"],
    ["-net nic", "-net nic"],
    ["-M microvm,rtc=on", "-M microvm,rtc=on"],
    ["-machine type=microvm", "-machine type=microvm"],
    ["-M none", "-M none"],
    ["-nic none", "-nic none"],
    ["-net none -m 1", "-net none -m 1"],
    // Not ours.
    ["-netdev", "-netdev"],
    ["-netdev {} -nic none", "-netdev {} -nic none"],
    ["-netdev user2,id=x -nic none", "-netdev user2,id=x -nic none"],
  ])("%s", (line, expected) => {
    expect(rewritten(line)).toBe(expected);
  });

  it("knows each network's options, and which end in a hub", () => {
    const { networks } = readQemuCommand(QEMU, [
      ...["-netdev", "user,id=a,net=10.1.0.0/24", "-netdev", "hubport,id=h,hubid=3,netdev=a"],
      ...["-nic", "user,hostname=b", "-net", "user,restrict=on", "-net", "nic", "-net", "nic"],
    ]);
    expect(networks.map(({ option, netdev, hub }) => [option, netdev.options, hub])).toEqual([
      ["-netdev", { subnet: "10.1.0.0/24" }, true],
      ["-nic", { hostname: "b" }, false],
      ["-net", { restrict: true }, true],
    ]);
  });

  it.each([
    ["-netdev user,restrict=on", "-netdev", "expected an id"],
    ["-netdev user,id=n0,foo=1", "-netdev", "no such option"],
    ["-nic user,vlan=1", "-nic", "no such option"],
    ["-nic user,restrict=maybe", "-nic restrict", "on or off"],
    ["-net user,id=0", "-net id", "a letter"],
    ['-netdev {"type":"user","id":7,"x":[1]}', "-netdev x", '{"str": TEXT}'],
    ["-m 1 -daemonize", "qemu", "foreground"],
  ])("refuses %s under the option's own name", (line, field, expectation) => {
    expect(() => rewritten(line)).toThrow(expect.objectContaining({ name: "ConfigError", field }));
    expect(() => rewritten(line)).toThrow(expectation);
  });

  it("takes the value of another option for no option, whatever it looks like", () => {
    for (const value of ["-nodefaults", "-nic", "-netdev", "--net", "-nic user", "-daemonize"]) {
      for (const option of ["-name", "-append", "--kernel", "-fw_cfg"]) {
        const args = [option, value];
        const { networks, arguments: to } = readQemuCommand("qemu-system-x86_64", args);
        expect(networks, `${option} ${value}`).toHaveLength(1);
        expect(to(() => "stream").slice(0, 2)).toEqual(args);
      }
    }
    const machine = readQemuCommand("qemu-system-x86_64", ["-name", "-M", "-append", "microvm", "-S", "-nic", "user"]);
    expect(machine.networks.map(({ option }) => option)).toEqual(["-nic"]);
  });

  it("takes what follows an option without a value for an option", () => {
    for (const bare of ["-S", "-snapshot", "-nographic", "--enable-kvm", "-not-known"])
      expect(readQemuCommand("qemu-system-x86_64", [bare, "-nodefaults"]).networks, bare).toEqual([]);
  });

  it("whatever the arguments are: a command, or a ConfigError", () => {
    const option = fc.constantFrom("-netdev", "--nic", "-net", "-device");
    const value = fc.oneof(
      fc.string(),
      fc.constantFrom("user,id=n0", "user", "nic", "nic,netdev=n0", "none", "tap", "hubport,id=h,hubid=0,netdev=n0"),
      fc.constantFrom("{", "{}", '{"type":"user"}', '{"type":"user","id":"n1"}', '{"type":"user","hostfwd":[3]}'),
    );
    fc.assert(
      fc.property(fc.array(fc.tuple(option, value), { maxLength: 6 }), (pairs) => {
        try {
          const command = readQemuCommand(QEMU, pairs.flat());
          const ids = command.networks.map(({ id }) => id);
          // Each network is somebody's cable, and no user network is left to QEMU.
          const args = command.arguments(({ id }) => `<${id}>`);
          expect(args.filter((arg) => /^<.*>$/.test(arg)).length).toBe(ids.length);
          for (const [i, arg] of args.entries()) {
            if (/^--?(netdev|nic|net)$/.test(args[i - 1] ?? "")) expect(arg).not.toMatch(/^(type=)?user(,|$)/);
          }
        } catch (error) {
          expect(error).toBeInstanceOf(ConfigError);
        }
      }),
    );
  });
});
