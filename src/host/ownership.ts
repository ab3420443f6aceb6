/**
 * The owner of files that this process makes for its own use: sockets, and Samba's state. It is the user that the
 * process runs as, or, if the process is about to give up root's rights, the user that it will become.
 */
import fs, { lchownSync } from "node:fs";
import { userInfo } from "node:os";
import path from "node:path";

export interface Owner {
  readonly uid: number;
  readonly gid: number;
  /** Null for a user id that has no name. */
  readonly name: string | null;
}

let owner: Owner | null = null;

/** Files are made for `next` from now on. */
export function makeFilesFor(next: Owner): void {
  owner = next;
}

/** The owner of files; null for the user that the process runs as. */
export function fileOwner(): Owner | null {
  return owner;
}

/** Gives a file that this process has just made to its owner. Does not follow links. Throws the system's error. */
export function handOver(path: string): void {
  if (owner !== null) lchownSync(path, owner.uid, owner.gid);
}

/** The owner's name, for programs that we start. */
export function ownerName(): string {
  return owner === null ? userInfo().username : (owner.name ?? String(owner.uid));
}

/**
 * Removes a folder of this process in a place where nobody may remove another's files (/tmp). When root has handed a
 * folder over, its new owner may have put links into it, or another folder in its place. So root first takes the folder
 * back, and removes its own files only, not what is deeper.
 */
export function removePrivate(folder: string): void {
  if (owner === null || process.getuid?.() !== 0) return fs.rmSync(folder, { recursive: true, force: true });
  try {
    lchownSync(folder, 0, 0);
    if (!fs.lstatSync(folder).isDirectory()) return;
    for (const name of fs.readdirSync(folder)) fs.unlinkSync(path.join(folder, name));
    fs.rmdirSync(folder);
  } catch {
    // The file is gone, or it is a folder.
  }
}
