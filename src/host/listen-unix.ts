/**
 * Listening on a UNIX path. The socket becomes visible last and complete: it is bound in a private folder beside its
 * path, made 0600, and only then renamed to it. So it can be connected to as soon as it is seen, nobody else ever could,
 * and a stale one is replaced without a gap. One that somebody serves is left alone: an error.
 */
import { lstatSync, unlinkSync } from "node:fs";
import fs from "node:fs/promises";
import net from "node:net";
import path from "node:path";
import { handOver } from "./ownership.ts";

/** A path has to fit `sockaddr_un` with its NUL (108 bytes on Linux, 104 elsewhere); a longer one would be cut. */
export const UNIX_PATH_MAX: number = process.platform === "linux" ? 107 : 103;

/** The file of a listening socket. */
export interface UnixFile {
  /** Takes the file away, if it is still ours: another process may have taken the path since. It is gone when this returns. */
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
    // Not `path.join`, which drops the dot and so makes it beside the folder: somebody else's, or another disk.
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
    // Not what is in it, but for the socket that did not come to its place: root would follow what others put there.
    if (folder !== null) await removeEmpty(folder);
  }
}

/**
 * Binds with mode 0600 from the first moment. By a mask, since a `chmod` by path would change what the folder's owner
 * has put there meanwhile. The mask is the whole process's, but `listen` binds before it returns. Threads other than
 * the main one may not set it.
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

/** Nothing at the path, or a socket that nobody serves: fine. */
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
    // It is gone already.
  }
}

function refusal(code: string, why: string): Error {
  const error: NodeJS.ErrnoException = new Error(why);
  error.code = code;
  return error;
}
