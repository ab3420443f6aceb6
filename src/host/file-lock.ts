/** Advisory locks (flock), so that no two processes write one file. */
import { createRequire } from "node:module";

const LOCK_EX_NB = 2 | 4;
/** EWOULDBLOCK's number on Linux and on macOS. */
const HELD: readonly number[] = [11, 35];

interface Flock {
  lock(fd: number, operation: number): number;
  errno(): number;
}

let loaded: Flock | null | undefined;

/**
 * Locks an open file for as long as it is open. False when another process, or another opening of the file, has it
 * locked. True where locks cannot be had (no koffi, Windows, a file system without locks): then nobody is kept out.
 */
export function lockFile(fd: number): boolean {
  loaded ??= load();
  if (loaded === null) return true;
  return loaded.lock(fd, LOCK_EX_NB) === 0 || !HELD.includes(loaded.errno());
}

function load(): Flock | null {
  if (process.platform === "win32") return null;
  try {
    const koffi = createRequire(import.meta.url)("koffi");
    return { lock: koffi.load(null).func("int flock(int, int)"), errno: koffi.errno };
  } catch {
    // koffi is not installed, or not for this system.
    return null;
  }
}
