/** Guests whose network is recorded while a test has them do what they do. */
import { copyFileSync } from "node:fs";
import { join } from "node:path";
import { expect } from "vitest";
import { replayFile } from "../../../src/record/run.ts";
import { REPOSITORY } from "./namespace.ts";

const PAYLOAD_OFF = ["--record-payload", "off"];

/** Where the recording of a test with this folder is. */
export function recordingIn(folder: string): string {
  return join(folder, "run.tslirp");
}

/** Arguments with which a network is recorded there, without payload. */
export function recorded(folder: string): string[] {
  return ["--record", recordingIn(folder), ...PAYLOAD_OFF];
}

/**
 * Replayed, the network that has been stopped does all of it again. With RECORDINGS_WRITE=1 the recording is kept by that name
 * among those that every later build is held to.
 */
export async function expectReplays(folder: string, name: string | null): Promise<void> {
  const file = recordingIn(folder);
  const result = await replayFile(file);
  expect([result.difference?.message, result.crash, result.broken]).toEqual([undefined, null, null]);
  expect(result.entries).toBeGreaterThan(100);
  if (name !== null && process.env.RECORDINGS_WRITE === "1")
    copyFileSync(file, join(REPOSITORY, "fixtures/recordings", `${name}.tslirp`));
}
