/** What QEMU is given beside its own arguments so that it shares its memory. */
import { describe, expect, it } from "vitest";
import { vhostUserCommand } from "../../../src/cli/qemu/vhost-user.ts";

const ONE = [{ id: "n0", path: "/run/s,1" }];
const CABLE = ["-chardev", "socket,id=n0-cable,path=/run/s,,1"];
const NO_MSIX = ["-global", "virtio-net-pci.vectors=0"];
const shared = (size: string): string[] => [
  ...["-m", size, "-object", `memory-backend-memfd,id=tslirp-memory,size=${size},share=on`],
  ...["-machine", "memory-backend=tslirp-memory"],
];

describe("--vhost-user", () => {
  it.each([
    [[], "128M"],
    [["-m", "512"], "512M"],
    [["-m", "2G"], "2G"],
    [["-m", "size=1024,slots=2,maxmem=4G"], "1024M"],
    [["--m", "1.5g", "-M", "q35"], "1.5g"],
  ])("adds memory that is shared, as much as was asked for: %j", (args, size) => {
    expect(vhostUserCommand(args, ONE)).toEqual([...CABLE, ...shared(size), ...NO_MSIX]);
  });

  it.each([
    [["-object", "memory-backend-memfd,id=m,size=1G", "-machine", "q35,memory-backend=m"]],
    [["-object", "memory-backend-file,id=m,size=1G,mem-path=/dev/shm,share=on", "-numa", "node,memdev=m"]],
  ])("leaves memory alone that is shared: %j", (args) => {
    expect(vhostUserCommand(args, ONE)).toEqual([...CABLE, ...NO_MSIX]);
  });

  it("says in a line what stands in the way", () => {
    const ram = ["-object", "memory-backend-ram,id=m,size=1G", "-machine", "memory-backend=m"];
    expect(() => vhostUserCommand(ram, ONE)).toThrow(
      '--vhost-user: got "memory-backend-ram,id=m,size=1G"; expected share=on: the back-end maps the guest\'s memory (m)',
    );
    expect(() => vhostUserCommand(["-m", "much"], ONE)).toThrow("expected a size like 512 or 2G behind -m");
  });

  it.each([[["-enable-kvm"]], [["-accel", "kvm"]], [["-machine", "q35,accel=kvm"]]])(
    "leaves the card's interrupts alone with KVM: %j",
    (args) => {
      expect(vhostUserCommand(args, ONE)).not.toContain("-global");
    },
  );
});
