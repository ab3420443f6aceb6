/**
 * Recordings of real runs, which every later build replays: what differs has changed on purpose, or by mistake. Who has
 * changed it on purpose records them anew, `npm run recordings` (as root, with QEMU).
 */
import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { expect, it } from "vitest";
import { replayFile } from "../../src/record/run.ts";
import { recordGuest, serveGuest } from "./guest-run.ts";
import { recordV86 } from "./v86-run.ts";

const CORPUS = "fixtures/recordings";

if (process.env.RECORDINGS_WRITE === "1") {
  it("the little guest's run is recorded anew", async () => {
    const folder = mkdtempSync(path.join(tmpdir(), "tslirp-record-"));
    const server = await serveGuest(folder);
    const file = path.join(CORPUS, "little-guest.tslirp");
    rmSync(file, { force: true });
    try {
      await recordGuest(file, false, folder, server);
    } finally {
      server.close();
      rmSync(folder, { recursive: true });
    }
  });
  it("the boot of a PC that v86 emulates is recorded anew", async () => {
    const file = path.join(CORPUS, "v86-ipxe.tslirp");
    rmSync(file, { force: true });
    await recordV86(file);
  }, 150_000);
}

it.each(readdirSync(CORPUS).filter((name) => name.endsWith(".tslirp")))(
  "%s replays without a difference",
  async (name) => {
    const { difference, crash, broken, entries } = await replayFile(path.join(CORPUS, name));
    expect([difference?.message, crash, broken]).toEqual([undefined, null, null]);
    expect(entries).toBeGreaterThan(100);
  },
);
