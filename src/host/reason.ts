/**
 * Why the system refused something, in a user's words. Node's own messages name calls and codes ("listen EADDRINUSE:
 * address already in use 127.0.0.1:80"), which say little to those who have not programmed with sockets.
 */
import { getSystemErrorMap } from "node:util";

const WORDS: Readonly<Record<string, string>> = {
  EADDRINUSE: "another program has this port",
  EADDRNOTAVAIL: "this machine has no such address",
  ECONNREFUSED: "nobody listens there",
  EISDIR: "it is a folder",
  ENOENT: "there is no such file or folder",
  ENOTDIR: "a part of its path is no folder",
  ENOTFOUND: "there is no host of this name",
};

/** The reason behind "cannot …: ". Errors that are not the system's have their own words already. */
export function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const { code, syscall, path } = error as NodeJS.ErrnoException;
  if (typeof code !== "string" || syscall === undefined) return error.message;
  if (syscall.startsWith("spawn") && code === "ENOENT") return `there is no program ${path}`;
  if (syscall.startsWith("spawn") && code === "EACCES") return `${path} is not executable`;
  if (syscall === "connect" && code === "ENOENT") return "there is no such socket";
  return `${wordsOf(code)}${portHint(error)}`;
}

/** A system's error code in words: "ENOSPC" is "no space left on device". */
export function wordsOf(code: string): string {
  return WORDS[code] ?? [...getSystemErrorMap().values()].find(([name]) => name === code)?.[1] ?? code;
}

/** Advice when the system keeps a port for its administrator; "" for other errors. */
export function portHint(error: unknown, platform: NodeJS.Platform = process.platform): string {
  const { code, port } = error as { readonly code?: string; readonly port?: number };
  if (code !== "EACCES" || port === undefined || port <= 0) return "";
  if (platform === "win32") return "; Windows has reserved this port, or another program has it for itself";
  const lower = platform === "linux" ? ", or lower the sysctl net.ipv4.ip_unprivileged_port_start" : "";
  return port < 1024 ? `; a port below 1024 is for root: start serve as root with --user NAME${lower}` : "";
}
