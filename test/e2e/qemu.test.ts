/** `tslirp qemu` before a real QEMU: a command that worked with `-nic user` works as it is. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { describeE2e, IPXE_ROM, LIBSLIRP } from "../support/e2e/requirements.ts";
import { GATEWAY, HostRig, url } from "../support/e2e/rig.ts";
import { PROGRAM } from "../support/program.ts";

const SIZE = 3_000_000;
const SCRIPT = `#!ipxe
echo E2E: the script runs on \${net0/ip}
imgfetch --name big ${url(GATEWAY, `/bytes?n=${SIZE}&seed=7`)} || echo E2E: big failed
imgstat
echo E2E: done
sleep 1
reboot
`;

describeE2e("a QEMU command behind the words tslirp qemu --", [IPXE_ROM], () => {
  let rig: HostRig;
  let folder: string;
  beforeAll(async () => {
    rig = await HostRig.startHost();
    folder = mkdtempSync(join(tmpdir(), "tslirp-e2e-qemu-"));
    writeFileSync(join(folder, "boot.ipxe"), SCRIPT);
  });
  afterAll(async () => {
    await rig?.close();
    rmSync(folder, { recursive: true, force: true });
  });

  const QEMU = [
    ...["qemu-system-x86_64", "-machine", "pc,accel=tcg,graphics=off", "-m", "128", "-nodefaults", "-display", "none"],
    ...["-monitor", "none", "-serial", "stdio", "-no-reboot", "-boot", "n"],
  ];

  it.skipIf(LIBSLIRP)(
    "boots iPXE by DHCP and TFTP, fetches 3 MB by HTTP, and ends with QEMU (libslirp: is what it replaces)",
    async () => {
      const nic = `user,model=virtio,hostfwd=tcp::2222-:22,tftp=${folder},bootfile=boot.ipxe`;
      const args = [...PROGRAM, "qemu", "--", ...QEMU, "-nic", nic];
      const result = await rig.host.run(process.execPath, args, 100_000);
      // biome-ignore lint/suspicious/noControlCharactersInRegex: terminal control sequences are what is removed.
      const screen = result.stdout.replaceAll(/\x1b\[[0-9;?=]*[A-Za-z]|\r/g, "");
      expect(screen).toMatch(/E2E: the script runs on 10\.0\.2\.15/);
      expect(screen).toMatch(new RegExp(`big : ${SIZE} bytes`));
      expect(screen).toContain("E2E: done");
      expect(result).toMatchObject({ code: 0, stderr: "" });
    },
    120_000,
  );
});
