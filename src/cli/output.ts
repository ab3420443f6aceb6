/** Standard output, opened at the first output only: a child that shares a pipe with us must find it unchanged. */

let opened = false;
let taken: Promise<void> = Promise.resolve();

/** Writes text as it is. It is no error that the reader has gone (`tslirp … | head -1`). */
export function say(text: string): void {
  if (!opened) process.stdout.on("error", () => {});
  opened = true;
  taken = new Promise((resolve) => process.stdout.write(text, () => resolve()));
}

/** Resolves when the reader has everything, or has gone: a pipe takes 64 KiB at a time, and the reader's time. */
export function said(): Promise<void> {
  return taken;
}
