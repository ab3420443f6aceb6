/** UEFI's own network boot (EDK2), by PXE and by HTTP: each starts iPXE, so each has it whole. Some 20 s each without KVM. */
import { readFileSync } from "node:fs";
import { afterEach, expect, it } from "vitest";
import { bootUefi, IPXE_EFI, OVMF } from "../support/e2e/ipxe.ts";
import { expectReplays, recorded } from "../support/e2e/recorded.ts";
import { describeE2e, LIBSLIRP } from "../support/e2e/requirements.ts";
import { GATEWAY, HostRig, url } from "../support/e2e/rig.ts";

const STARTED = "iPXE initialising devices...ok";

describeE2e("a network boot with UEFI", [OVMF, IPXE_EFI], () => {
  let rig: HostRig | undefined;
  afterEach(() => rig?.close());

  it("by PXE, recorded: asks for the size, gives that up by ERROR 8, and reads in windows of 4", async () => {
    const program = readFileSync(IPXE_EFI);
    rig = await HostRig.startHost((folder) => ({
      bootfile: "boot/ipxe.efi",
      tftp: { "boot/ipxe.efi": program },
      args: LIBSLIRP ? [] : recorded(folder),
    }));
    const console = await bootUefi(rig.host, rig.folder, rig.backend.socketPath, "PXE", STARTED, 110_000);
    expect(console).toContain(`NBP filesize is ${program.length} Bytes`);
    expect(console).toContain("NBP file downloaded successfully");
    if (LIBSLIRP) return;
    expect(rig.backend.log).toMatch(new RegExp(`tftp sent .*bytes=${program.length}`));
    expect(await rig.backend.stop()).toBe(0);
    await expectReplays(rig.folder, "uefi-pxe-boot");
  }, 120_000);

  it.skipIf(LIBSLIRP)(
    "by HTTP, recorded: takes the URI that DHCP gives the class HTTPClient (libslirp: it does not)",
    async () => {
      const program = readFileSync(IPXE_EFI);
      const uri = url(GATEWAY, "/ipxe.efi");
      rig = await HostRig.startHost((folder) => ({
        bootfile: uri,
        files: { "/ipxe.efi": { file: IPXE_EFI } },
        args: recorded(folder),
      }));
      const console = await bootUefi(rig.host, rig.folder, rig.backend.socketPath, "HTTP", STARTED, 110_000);
      expect(console).toContain(`URI: ${uri}`);
      expect(console).toContain(`File Size: ${program.length} Bytes`);
      expect(await rig.backend.stop()).toBe(0);
      await expectReplays(rig.folder, "uefi-http-boot");
    },
    120_000,
  );
});
