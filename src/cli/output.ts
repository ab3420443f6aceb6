/** Standard output, opened when there is something to say: a child that shares a pipe with us must find it as it was. */

let opened = false;

/** Writes text as it is. A reader that has gone (`tslirp … | head -1`) is no reason to fail. */
export function say(text: string): void {
  if (!opened) process.stdout.on("error", () => {});
  opened = true;
  process.stdout.write(text);
}
