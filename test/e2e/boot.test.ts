/** A real network boot: iPXE under QEMU gets a lease with a boot file, and the file's script fetches over HTTP. */
import { afterAll, beforeAll, expect, it } from "vitest";
import { bootIpxe } from "../support/e2e/ipxe.ts";
import { describeE2e, IPXE_ROM } from "../support/e2e/requirements.ts";
import { GATEWAY, HostRig, OUTSIDE_NAME, url } from "../support/e2e/rig.ts";

const SIZE = 3_000_000;
const SCRIPT = `#!ipxe
echo E2E: the script runs on \${net0/ip} by \${net0/gateway}
imgfetch --name big ${url(GATEWAY, `/bytes?n=${SIZE}&seed=7`)} || echo E2E: big failed
imgfetch --name small ${url(OUTSIDE_NAME, "/hello")} || echo E2E: small failed
imgstat
echo E2E: done
shell
`;

describeE2e("a network boot with iPXE", [IPXE_ROM], () => {
  let rig: HostRig;
  beforeAll(async () => {
    rig = await HostRig.startHost({
      bootfile: url(GATEWAY, "/script.ipxe"),
      files: { "/script.ipxe": SCRIPT, "/hello": "hello over HTTP\n" },
    });
  });
  afterAll(() => rig?.close());

  it("gets its lease, runs the script and fetches 3 MB by address and a file by name", async () => {
    const console = await bootIpxe(rig.host, rig.backend.socketPath, "E2E: done\n", 90_000);
    expect(console).toMatch(/E2E: the script runs on 10\.0\.2\.1\d by 10\.0\.2\.2/);
    expect(console).not.toContain("failed");
    expect(console).toMatch(new RegExp(`big : ${SIZE} bytes`));
    expect(console).toMatch(/small : 16 bytes/);
    const sent = await rig.services.event("3 MB sent", (e) => e.event === "answered");
    expect(sent.bytes).toBe(SIZE);
  }, 120_000);
});
