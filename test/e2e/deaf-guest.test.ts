/** A guest that reads nothing: what waits for it is bounded, others are served, and it loses nothing once it reads again. */
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { afterAll, beforeAll, expect, it } from "vitest";
import { Guest } from "../support/e2e/guest.ts";
import { describeE2e, LIBSLIRP } from "../support/e2e/requirements.ts";
import { GATEWAY, HTTP_PORT, Rig, url } from "../support/e2e/rig.ts";

const STREAMS = 8;
const BYTES = 12_000_000;
/** Slower than the line, so that all of them are under way when the guest stops. */
const PACE = "3M";
const SEND_BYTES = 16_000_000;
/** Beside send buffers: the cable's queue, and what the collector has not come to. */
const SLACK = 64_000_000;

describeE2e("a guest that reads nothing", LIBSLIRP ? ["no such thing"] : ["curl", "ss"], () => {
  let rig: Rig;
  let other: Guest;
  beforeAll(async () => {
    rig = await Rig.online({ files: { "/hello": "hello\n" }, args: ["--max", `sendBytes=${SEND_BYTES}`] });
    other = new Guest(join(rig.hostRig.folder, "lease-2"), "52:54:00:e2:e0:04");
    await other.plug(rig.backend.socketPath);
    expect((await other.dhcp()).code).toBe(0);
  });
  afterAll(async () => {
    await other?.close();
    await rig?.close();
  });

  const download = (guest: Guest, bytes: number, ...args: string[]): ReturnType<Guest["run"]> => {
    const out = ["-o", "/dev/null", "-w", "%{size_download}", "--max-time", "50", ...args];
    return guest.run("curl", ["-sS", ...out, url(GATEWAY, `/bytes?n=${bytes}&seed=1`)], 55_000);
  };

  it("is held a bounded number of bytes for, while another is served; then it has all that it was sent", async () => {
    const slow = Array.from({ length: STREAMS }, () => download(rig.guest, BYTES, "--limit-rate", PACE));
    const established = ["-Htn", "state", "established", `( dport = :${HTTP_PORT} )`];
    const open = async (): Promise<number> =>
      (await rig.guest.run("ss", established)).stdout.split("\n").filter((line) => line !== "").length;
    await expect.poll(open, { timeout: 10_000 }).toBe(STREAMS);
    const before = rig.backend.residentBytes;
    rig.guest.stopReading();
    let most = before;
    for (let i = 0; i < 10; i++) {
      await delay(200);
      const hello = await other.run("curl", ["-sS", "--max-time", "5", url(GATEWAY, "/hello")]);
      expect(hello.stdout).toBe("hello\n");
      most = Math.max(most, rig.backend.residentBytes);
    }
    expect((await download(other, BYTES)).stdout).toBe(String(BYTES));
    most = Math.max(most, rig.backend.residentBytes);
    expect(most - before).toBeLessThan(SEND_BYTES + SLACK);
    rig.guest.readAgain();
    for (const { code, stdout } of await Promise.all(slow)) expect([code, stdout]).toEqual([0, String(BYTES)]);
  });
});
