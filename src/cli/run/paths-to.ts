/**
 * All paths that lead to a file. The same folder may be mounted at several places (`mount --bind`, containers, chroots),
 * and a mount that covers a file covers it at one of them only.
 *
 * A path is bytes, and need not be UTF-8. Here it is a text with one character for each byte ("latin1").
 */
import fs from "node:fs";
import path from "node:path";

interface Mount {
  readonly device: string;
  /** The folder of the file system that is mounted. */
  readonly root: string;
  readonly point: string;
}

/**
 * The paths of the file or folder at `place`, an absolute path without links, beginning with `place`; all as bytes. `mounts` is the text of
 * `/proc/self/mountinfo`, as proc(5) describes it.
 */
export function pathsTo(place: string, mounts: string = readMounts()): string[] {
  const all = mounts.split("\n").flatMap(mountOf);
  // Of several mounts at one place, the last covers the others.
  const own = all.reduce<Mount | null>(
    (best, mount) =>
      behind(mount.point, place) !== null && mount.point.length >= (best?.point.length ?? 0) ? mount : best,
    null,
  );
  const paths = [place];
  if (own === null) return paths;
  const inside = path.join(own.root, behind(own.point, place)!);
  for (const { device, root, point } of all) {
    const rest = device === own.device ? behind(root, inside) : null;
    if (rest === null) continue;
    const other = path.join(point, rest);
    if (!paths.includes(other) && isSame(other, place)) paths.push(other);
  }
  return paths;
}

function readMounts(): string {
  try {
    return fs.readFileSync("/proc/self/mountinfo", "latin1");
  } catch {
    return "";
  }
}

function mountOf(line: string): Mount[] {
  const [, , device, root, point] = line.split(" ");
  if (device === undefined || root === undefined || point === undefined) return [];
  return [{ device, root: unescaped(root), point: unescaped(point) }];
}

/** Blanks and backslashes are written as octal numbers. */
function unescaped(text: string): string {
  return text.replace(/\\([0-7]{3})/g, (_, digits: string) => String.fromCharCode(Number.parseInt(digits, 8)));
}

/** What follows `folder` in `place`, perhaps nothing; null if `place` is not inside. */
function behind(folder: string, place: string): string | null {
  if (folder === "/") return place.slice(1);
  if (place === folder) return "";
  return place.startsWith(`${folder}/`) ? place.slice(folder.length + 1) : null;
}

/** A path as bytes. */
export function bytesOf(place: string): string {
  return Buffer.from(place).toString("latin1");
}

/** Whether both paths lead to one file: another mount may cover the first. */
function isSame(a: string, b: string): boolean {
  try {
    const [one, two] = [a, b].map((each) => fs.statSync(Buffer.from(each, "latin1")));
    if (one === undefined || two === undefined) return false;
    return one.dev === two.dev && one.ino === two.ino;
  } catch {
    return false;
  }
}
