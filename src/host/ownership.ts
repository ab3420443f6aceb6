/**
 * Whose the files are that this process makes for its own use: sockets, and what Samba keeps. The user's that it runs
 * as, unless it is about to give up its rights: then they belong to who it will be.
 */
import { lchownSync } from "node:fs";
import { userInfo } from "node:os";

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
