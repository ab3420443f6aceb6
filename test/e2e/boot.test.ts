/** Real network boots: iPXE under QEMU gets a lease with a boot file, whose script fetches over TFTP and HTTP. */
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, expect, it } from "vitest";
import { bootIpxe } from "../support/e2e/ipxe.ts";
import { describeE2e, IPXE_ROM, LIBSLIRP } from "../support/e2e/requirements.ts";
import { GATEWAY, HostRig, IPV4_NAME, url } from "../support/e2e/rig.ts";
import { pattern } from "../support/services.ts";

const SIZE = 3_000_000;
const HTTP_SEED = 7;
const TFTP_SEED = 8;
const SCRIPT = `#!ipxe
echo E2E: the script runs on \${net0/ip} by \${net0/gateway}
imgfetch --name http ${url(GATEWAY, `/bytes?n=${SIZE}&seed=${HTTP_SEED}`)} || echo E2E: http failed
imgfetch --name tftp tftp://${GATEWAY}/big || echo E2E: tftp failed
imgfetch --name none tftp://${GATEWAY}/none && echo E2E: none failed || echo E2E: none refused
imgfetch --name small ${url(IPV4_NAME, "/hello")} || echo E2E: small failed
imgstat
echo E2E: done
shell
`;
const FILES = { "/script.ipxe": SCRIPT, "/hello": "hello over HTTP\n" };
const HASH = /^[0-9a-f]{64}$/;

/** The SHA-256 of the file of this seed, found in the machine's memory; null when it is not there from end to end. */
function foundInMemory(memory: Buffer, seed: number): string | null {
  const file = Buffer.concat([...pattern(seed, SIZE)]);
  const at = memory.indexOf(file.subarray(0, 64));
  const found = createHash("sha256")
    .update(memory.subarray(at, at + SIZE))
    .digest("hex");
  return found === createHash("sha256").update(file).digest("hex") ? found : null;
}

describeE2e("a network boot with iPXE", [IPXE_ROM], () => {
  let rig: HostRig | undefined;
  afterEach(() => rig?.close());

  it.each([
    ["TFTP", "script.ipxe"],
    ["HTTP", url(GATEWAY, "/script.ipxe")],
  ])(
    "by %s: it runs the script, and fetches 3 MB by TFTP and by HTTP and a file by name",
    async (_, bootfile) => {
      const big = Buffer.concat([...pattern(TFTP_SEED, SIZE)]);
      rig = await HostRig.startHost({ bootfile, files: FILES, tftp: { "script.ipxe": SCRIPT, big } });
      const ram = join(rig.folder, "ram");
      const memory = `memory-backend-file,id=ram,size=128M,share=on,mem-path=${ram}`;
      const console = await bootIpxe(rig.host, rig.backend.socketPath, "E2E: done\n", 90_000, [
        ...["-object", memory, "-machine", "memory-backend=ram"],
      ]);
      expect(console).toMatch(/E2E: the script runs on 10\.0\.2\.1\d by 10\.0\.2\.2/);
      expect(console).toContain("none refused");
      expect(console).not.toContain("failed");
      expect(console).toMatch(new RegExp(`http : ${SIZE} bytes`));
      expect(console).toMatch(new RegExp(`tftp : ${SIZE} bytes`));
      expect(console).toMatch(/small : 16 bytes/);
      const found = readFileSync(ram);
      expect(foundInMemory(found, HTTP_SEED)).toMatch(HASH);
      expect(foundInMemory(found, TFTP_SEED)).toMatch(HASH);
      if (!LIBSLIRP) expect(rig.backend.log).toMatch(/tftp sent .*file=\/?big bytes=3000000/);
    },
    120_000,
  );
});
