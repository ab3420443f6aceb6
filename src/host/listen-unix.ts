/**
 * Listening on a UNIX path. The socket appears at its path last and complete: it is bound in a private folder beside
 * the path, made 0600, and only then renamed. So clients can connect as soon as they see it, nobody else ever could,
 * and a stale socket is replaced without a gap. A socket that somebody serves is left alone, and reported as an error.
 */
import { lstatSync, unlinkSync } from "node:fs";
import fs from "node:fs/promises";
import net from "node:net";
import path from "node:path";
import { handOver } from "./ownership.ts";
import { UNIX_PATH_MAX } from "./unix-path.ts";

/** The file of a listening socket. */
export interface UnixFile {
  /** Removes the file before it returns, if the file is still ours: another process may have taken the path since. */
  unlink(): void;
}

/** Resolves when clients can connect. Rejects with an `Error` that has a `code`; `server` is closed then. */
export async function listenUnix(
  server: net.Server,
  at: string,
  platform: NodeJS.Platform = process.platform,
): Promise<UnixFile> {
  if (platform === "win32") {
    server.close();
    throw refusal("ENOTSUP", "Node has no UNIX sockets on Windows; tcp:127.0.0.1:PORT works there");
  }
  await refuseUnlessStale(at);
  let folder: string | null = null;
  try {
    // Not `path.join`, which would drop the dot, and so put the folder beside the path's folder: another owner's, or
    // another disk.
    folder = await fs.mkdtemp(`${path.dirname(at)}${path.sep}.`);
    const temporary = path.join(folder, "s");
    if (Buffer.byteLength(temporary) > UNIX_PATH_MAX || Buffer.byteLength(at) > UNIX_PATH_MAX) {
      throw refusal("ENAMETOOLONG", `its folder's path is too long (${UNIX_PATH_MAX - 10} bytes at most)`);
    }
    await bindPrivately(server, temporary);
    handOver(temporary);
    const own = await fs.lstat(temporary, { bigint: true });
    await fs.rename(temporary, at);
    return { unlink: () => unlinkOwn(at, own) };
  } catch (error) {
    server.close();
    const { code, syscall } = error as NodeJS.ErrnoException;
    if (syscall === "mkdtemp" && code === "ENOENT") throw refusal(code, "its folder is not there");
    throw error;
  } finally {
    // Only our own socket is removed from the folder: root would otherwise follow links that others have put there.
    if (folder !== null) await removeEmpty(folder);
  }
}

/**
 * Binds a socket that has mode 0600 from the first moment. By a mask, because a `chmod` by path would change whatever
 * the folder's owner has put there meanwhile. The mask holds for the whole process, but `listen` binds before it
 * returns. Only the main thread may set the mask.
 */
async function bindPrivately(server: net.Server, at: string): Promise<void> {
  const { isMainThread } = await import("node:worker_threads");
  if (!isMainThread) {
    await listening(server, { path: at, exclusive: true });
    return fs.chmod(at, 0o600);
  }
  const mask = process.umask(0o177);
  let bound: Promise<void>;
  try {
    bound = listening(server, { path: at, exclusive: true });
  } finally {
    process.umask(mask);
  }
  return bound;
}

async function removeEmpty(folder: string): Promise<void> {
  await fs.unlink(path.join(folder, "s")).catch(() => {});
  await fs.rmdir(folder).catch(() => {});
}

/** `server.listen` as a promise. */
export function listening(server: net.Server, options: net.ListenOptions): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once("error", reject);
    server.listen(options, () => {
      server.off("error", reject);
      resolve();
    });
  });
}

/** Resolves if there is nothing at the path, or a socket that nobody serves. */
async function refuseUnlessStale(at: string): Promise<void> {
  const stat = await fs.lstat(at).catch(() => null);
  if (stat === null) return;
  if (!stat.isSocket()) throw refusal("EEXIST", "there is a file that is not a socket");
  const code = await new Promise<string | null>((resolve) => {
    const probe = net.connect({ path: at });
    probe.once("connect", () => {
      probe.destroy();
      resolve(null);
    });
    probe.once("error", (error: NodeJS.ErrnoException) => resolve(error.code ?? "EIO"));
  });
  if (code === "ECONNREFUSED" || code === "ENOENT") return;
  if (code === "EACCES") throw refusal(code, "it is somebody else's socket");
  throw refusal("EADDRINUSE", "another process serves it");
}

function unlinkOwn(at: string, own: { dev: bigint; ino: bigint }): void {
  try {
    const { dev, ino } = lstatSync(at, { bigint: true });
    if (dev === own.dev && ino === own.ino) unlinkSync(at);
  } catch {
    // The file is gone already.
  }
}

function refusal(code: string, why: string): Error {
  const error: NodeJS.ErrnoException = new Error(why);
  error.code = code;
  return error;
}
