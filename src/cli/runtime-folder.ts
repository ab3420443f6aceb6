/** The folder of the default socket and of tokens, which only this user can enter. */
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { fileOwner, handOver } from "../host/ownership.ts";
import { reasonOf } from "../host/reason.ts";

/**
 * The folder `$XDG_RUNTIME_DIR/tslirp`, or `/tmp/tslirp-UID` if there is no such variable; with `--user`, that
 * user's. Makes the folder if it is missing. Throws an `Error` of one line when the folder is another user's or open
 * to others: anybody may have made it in /tmp.
 */
export function runtimeFolder(
  env: NodeJS.ProcessEnv = process.env,
  platform: NodeJS.Platform = process.platform,
): string {
  if (platform === "win32") return windowsFolder(env);
  const owner = fileOwner();
  const uid = owner?.uid ?? process.getuid?.() ?? 0;
  const base = owner === null ? env.XDG_RUNTIME_DIR : `/run/user/${uid}`;
  const folder =
    base !== undefined && path.isAbsolute(base) && fs.existsSync(base)
      ? path.join(base, "tslirp")
      : path.join("/tmp", `tslirp-${uid}`);
  try {
    fs.mkdirSync(folder, { mode: 0o700 });
    handOver(folder);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EEXIST") {
      throw new Error(`cannot make ${folder} for the socket: ${reasonOf(error)}; choose one with --listen`);
    }
  }
  const stat = fs.lstatSync(folder);
  if (!stat.isDirectory() || stat.uid !== uid || (stat.mode & 0o077) !== 0) {
    throw new Error(
      `${folder} is not a folder of this user alone (mode 0700); remove it or choose a socket with --listen`,
    );
  }
  return folder;
}

/** On Windows, access lists close a user's own folder to others, and there are no modes to check. */
function windowsFolder(env: NodeJS.ProcessEnv): string {
  const folder = path.join(env.LOCALAPPDATA ?? os.tmpdir(), "tslirp");
  try {
    fs.mkdirSync(folder, { recursive: true });
    return folder;
  } catch (error) {
    throw new Error(`cannot make ${folder}: ${reasonOf(error)}; set LOCALAPPDATA to a folder of yours`);
  }
}

/** Where `serve` listens by default: at a UNIX socket; on Windows, whose QEMU has none, at a port of the loopback. */
export function usualDoor(id: string, platform: NodeJS.Platform = process.platform): string {
  return platform === "win32" ? "tcp:127.0.0.1:0" : `unix:${path.join(runtimeFolder(), `${id}.sock`)}`;
}

/** The file in which `serve` leaves the token of an API on this TCP port, for `ctl`. */
export function tokenFile(port: number): string {
  return path.join(runtimeFolder(), `api-${port}.token`);
}

/** The token and the address that `serve` leaves for `ctl`. */
export interface LeftToken {
  readonly token: string;
  /** `tcp:127.0.0.1:PORT`. */
  readonly address: string;
}

/** Writes one line each: the token, the API's address, and the id of the process that serves it. */
export function leaveToken(file: string, token: string, address: string): void {
  // Another process of this user may have left something else there: a link, or a pipe, which waits for its reader.
  fs.rmSync(file, { force: true });
  fs.writeFileSync(file, `${token}\n${address}\n${process.pid}\n`, { mode: 0o600, flag: "wx" });
}

/** The token for the API on this port; undefined when none was left. */
export function leftToken(port: number): LeftToken | undefined {
  return readToken(tokenFile(port));
}

/** All tokens whose process is alive. */
export function leftTokens(): LeftToken[] {
  const folder = runtimeFolder();
  const names = fs.readdirSync(folder).filter((name) => /^api-\d+\.token$/.test(name));
  return names.flatMap((name) => readToken(path.join(folder, name)) ?? []).filter(({ pid }) => lives(pid));
}

function readToken(file: string): (LeftToken & { readonly pid: number }) | undefined {
  try {
    if (!fs.lstatSync(file).isFile()) return undefined;
    const [token = "", address = "", pid = ""] = fs.readFileSync(file, "utf8").split("\n");
    return { token, address, pid: Number(pid) };
  } catch {
    return undefined;
  }
}

function lives(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EPERM";
  }
}
