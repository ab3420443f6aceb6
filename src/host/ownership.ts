/**
 * Whose the files are that this process makes for its own use: sockets, and what Samba keeps. The user's that it runs
 * as, unless it is about to give up its rights: then they belong to who it will be.
 */
import fs, { lchownSync } from "node:fs";
import { userInfo } from "node:os";
import path from "node:path";

export interface Owner {
  readonly uid: number;
  readonly gid: number;
  /** Null for a number that has no name. */
  readonly name: string | null;
}

let owner: Owner | null = null;

/** From now on files are made for `next`. */
export function makeFilesFor(next: Owner): void {
  owner = next;
}

/** Whom files are made for; null for the user that the process runs as. */
export function fileOwner(): Owner | null {
  return owner;
}

/** Gives a file that this process has just made to its owner. Links are not followed. Throws what the system says. */
export function handOver(path: string): void {
  if (owner !== null) lchownSync(path, owner.uid, owner.gid);
}

/** The owner's name, as programs that we start know it. */
export function ownerName(): string {
  return owner === null ? userInfo().username : (owner.name ?? String(owner.uid));
}

/**
 * Removes a folder of this process's own in a place where nobody may take another's files away (/tmp). While root holds
 * a folder that it has handed over, that user may have put links there, or one in the folder's place: the folder is
 * taken back first, and what is deeper than its own files is left.
 */
export function removePrivate(folder: string): void {
  if (owner === null || process.getuid?.() !== 0) return fs.rmSync(folder, { recursive: true, force: true });
  try {
    lchownSync(folder, 0, 0);
    if (!fs.lstatSync(folder).isDirectory()) return;
    for (const name of fs.readdirSync(folder)) fs.unlinkSync(path.join(folder, name));
    fs.rmdirSync(folder);
  } catch {
    // It is gone, or there is a folder in it.
  }
}
