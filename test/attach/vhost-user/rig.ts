/** A vhost-user back end whose frames a recorder keeps, and front ends that come to it. */
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { onTestFinished } from "vitest";
import type { Attachment } from "../../../src/attach/attachment.ts";
import { SlabPool } from "../../../src/attach/slab.ts";
import { listenVhostUser } from "../../../src/attach/vhost-user/server.ts";
import { DEFAULT_LIMITS } from "../../../src/core/limits.ts";
import { type FrameTap, NO_TAP } from "../../../src/core/tap.ts";
import { FrontEnd, type FrontEndOptions } from "../../support/vhost-user/front-end.ts";
import { Drops, Recorder } from "../recorder.ts";

export interface VhostRig {
  readonly recorder: Recorder;
  readonly drops: Drops;
  readonly notices: string[];
  readonly pool: SlabPool;
  readonly path: string;
  readonly attachment: Attachment;
  /** A front end that has connected, and said nothing yet. */
  connect(options?: FrontEndOptions): FrontEnd;
  /** One whose rings run. */
  start(options?: FrontEndOptions): Promise<FrontEnd>;
}

/** Listens; all ends with the test. */
export async function vhostRig(tap: FrameTap = NO_TAP, cables: number = DEFAULT_LIMITS.cables): Promise<VhostRig> {
  const folder = mkdtempSync(path.join(os.tmpdir(), "vhost-"));
  const recorder = new Recorder();
  const drops = new Drops();
  const notices: string[] = [];
  const pool = new SlabPool();
  const at = path.join(folder, "s");
  const trace = {
    drop: drops.drop.bind(drops),
    event: (event: { type: string; text?: string }) => void notices.push(event.text ?? ""),
  };
  const limits = { ...DEFAULT_LIMITS, cables };
  const clock = { now: () => performance.now() };
  const env = { receiver: recorder, pool, trace, clock, tap, limits, sent: { frames: 0, bytes: 0 } };
  const attachment = await listenVhostUser({ kind: "vhost-user", path: at }, env as never);
  const ends: FrontEnd[] = [];
  onTestFinished(async () => {
    await attachment.close();
    for (const end of ends) end.close();
    rmSync(folder, { recursive: true, force: true });
  });
  const connect = (options?: FrontEndOptions): FrontEnd => {
    const end = new FrontEnd(at, options);
    ends.push(end);
    return end;
  };
  return {
    ...{ recorder, drops, notices, pool, path: at, attachment, connect },
    start: async (options) => {
      const end = connect(options);
      await end.start();
      return end;
    },
  };
}

/** Mappings of guests' memory in this process: those of their own that front ends have are among them. */
export function guestMappings(): number {
  return readFileSync("/proc/self/maps", "utf8")
    .split("\n")
    .filter((line) => line.includes("memfd:guest")).length;
}
