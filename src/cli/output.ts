/** Standard output, opened when there is something to say: a child that shares a pipe with us must find it as it was. */

let opened = false;
let taken: Promise<void> = Promise.resolve();

/** Writes text as it is. A reader that has gone (`tslirp … | head -1`) is no reason to fail. */
export function say(text: string): void {
  if (!opened) process.stdout.on("error", () => {});
  opened = true;
  taken = new Promise((resolve) => process.stdout.write(text, () => resolve()));
}

/** Resolves when the reader has all that was said, or has gone: a pipe takes 64 KiB at a time, and its reader's time. */
export function said(): Promise<void> {
  return taken;
}
