/**
 * Standard output, opened only when something is written: a child that shares a pipe with us must find it unchanged.
 */
import { reasonOf } from "../host/reason.ts";

let opened = false;
let taken: Promise<void> = Promise.resolve();
let failure: NodeJS.ErrnoException | null = null;

/** Writes text as it is. It is no error if the reader is gone (`tslirp … | head -1`). */
export function say(text: string): void {
  if (!opened) process.stdout.on("error", failed);
  opened = true;
  taken = new Promise((resolve) => {
    process.stdout.write(text, (error) => {
      failed(error);
      resolve();
    });
  });
}

/**
 * Resolves when the reader has everything or is gone. A pipe holds 64 KiB, so a slow reader takes time. Rejects with an `Error`
 * of one line when the text could not be written: a disk may be full.
 */
export async function said(): Promise<void> {
  await taken;
  if (failure !== null) throw new Error(`cannot write to standard output: ${reasonOf(failure)}`);
}

function failed(error: NodeJS.ErrnoException | null | undefined): void {
  if (error && error.code !== "EPIPE") failure = error;
}
