/** TFTP with clients that others have written. */
import { createHash } from "node:crypto";
import { symlinkSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { describeE2e, LIBSLIRP } from "../support/e2e/requirements.ts";
import { GATEWAY, GATEWAY6, Rig } from "../support/e2e/rig.ts";
import { pattern, patternSha256 } from "../support/services.ts";

const SIZE = 3_000_001;
const SEED = 9;

describeE2e("TFTP", ["curl"], () => {
  let rig: Rig;
  beforeAll(async () => {
    const big = Buffer.concat([...pattern(SEED, SIZE)]);
    rig = await Rig.online({ tftp: { big, "sub/small": "hello\n", empty: "" } });
    symlinkSync("/etc/passwd", join(rig.hostRig.tftpFolder, "passwd"));
  });
  afterAll(() => rig?.close());

  const sha256 = async (command: string): Promise<string> =>
    (await rig.guest.sh(`${command} | sha256sum`, 60_000)).stdout.split(" ")[0]!;

  it.each([8, 512, 1024, 1468, 65_464])(
    "curl fetches a file whole with blocks of %i",
    async (blksize) => {
      const [path, length] = blksize === 8 ? ["sub/small", 6] : ["big", SIZE];
      const command = `curl -sS --max-time 50 --tftp-blksize ${blksize} tftp://${GATEWAY}/${path}`;
      const wanted =
        path === "big" ? patternSha256(SEED, length) : createHash("sha256").update("hello\n").digest("hex");
      expect(await sha256(command)).toBe(wanted);
    },
    60_000,
  );

  it.each(["", "-b 1400"])(
    "busybox fetches a file whole (%s)",
    async (options) => {
      expect(await sha256(`busybox tftp ${options} -g -r big -l - ${GATEWAY}`)).toBe(patternSha256(SEED, SIZE));
    },
    60_000,
  );

  it("over IPv6 as over IPv4, in blocks that need no fragments there either", async () => {
    await rig.guest.hasAddress(6);
    const options = "-sS --max-time 50 --tftp-blksize 9000";
    expect(await sha256(`curl ${options} 'tftp://[${GATEWAY6}]/big'`)).toBe(patternSha256(SEED, SIZE));
  }, 60_000);

  it("files below and empty ones", async () => {
    expect((await rig.guest.sh(`curl -sS --max-time 10 tftp://${GATEWAY}/sub/small`)).stdout).toBe("hello\n");
    // curl takes a tsize of 0 for malformed.
    const empty = await rig.guest.sh(`busybox tftp -g -r empty -l - ${GATEWAY}`);
    expect(empty).toMatchObject({ code: 0, stdout: "" });
  });

  it
    .skipIf(LIBSLIRP)
    .each([
      "passwd",
      "/passwd",
      "../passwd",
      "sub/../../x",
      "..%5cpasswd",
      "/etc/passwd",
      "%2e%2e/%2e%2e/etc/passwd",
      "sub",
      ".",
    ])("%j gives nothing (libslirp: follows links out)", async (path) => {
    const { code, stdout } = await rig.guest.sh(`curl -sS --path-as-is --max-time 10 'tftp://${GATEWAY}/${path}'`);
    expect(stdout).toBe("");
    // 68: no such file, 69: permission.
    expect([68, 69]).toContain(code);
  });

  it("uploads are refused", async () => {
    const { code } = await rig.guest.sh(`echo x | curl -sS --max-time 10 -T - tftp://${GATEWAY}/new`);
    expect(code).not.toBe(0);
  });
});
