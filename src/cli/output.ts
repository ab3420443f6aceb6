/**
 * Standard output, opened only when something is written: a child that shares a pipe with us must find it unchanged.
 */

let opened = false;
let taken: Promise<void> = Promise.resolve();

/** Writes text as it is. It is no error if the reader is gone (`tslirp … | head -1`). */
export function say(text: string): void {
  if (!opened) process.stdout.on("error", () => {});
  opened = true;
  taken = new Promise((resolve) => process.stdout.write(text, () => resolve()));
}

/** Resolves when the reader has everything or is gone. A pipe holds 64 KiB, so a slow reader takes time. */
export function said(): Promise<void> {
  return taken;
}
