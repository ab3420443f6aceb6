/**
 * `--user`: gives up root's rights once everything is open that only root may open.
 *
 * The order: the user is looked up first. Then forwards, the API, the SOCKS server and the cables' sockets are opened
 * as root, with files made for the user. Then the rights are given up for good. Only then come captures, tokens,
 * dialled cables, and everything that a guest can cause: TFTP's files, programs, connections.
 */
import os from "node:os";
import { ConfigError } from "../control/errors.ts";
import { libc } from "../host/libc.ts";
import type { Owner } from "../host/ownership.ts";
import { sharedRegistry } from "../host/port-registry.ts";
import { reasonOf } from "../host/reason.ts";

/** A function that Node's types leave out. */
type InitGroups = NodeJS.Process & { initgroups(user: string, extra: number): void };

/** Looks up `USER[:GROUP]`, names or numbers. Throws `ConfigError`, also when this process does not run as root. */
export function findUser(text: string): Owner {
  if (process.getuid?.() !== 0 || process.seteuid === undefined)
    throw new ConfigError("--user", text, "expected to be started by root, which alone can become another user");
  const [user = "", group, ...more] = text.split(":");
  if (user === "" || group === "" || more.length > 0)
    throw new ConfigError("--user", text, "expected USER or USER:GROUP, names or numbers");
  // Node can look a group up only by becoming it, which root can undo.
  const gid = group === undefined ? null : looked(text, "group", () => process.setegid!(idOf(group)), process.getegid!);
  process.setegid!(0);
  const uid = looked(text, "user", () => process.seteuid!(idOf(user)), process.geteuid!);
  const known = knownUser();
  process.seteuid(0);
  if (uid === 0) throw new ConfigError("--user", text, "expected another user than root");
  if (gid === null && known === null)
    throw new ConfigError("--user", text, "expected USER:GROUP, as this number is no user of this machine");
  return { uid, gid: gid ?? known!.gid, name: known?.username ?? null };
}

/** Becomes `user`, with its groups. Throws an `Error` of one line; the process must end then. */
export function becomeUser(user: Owner): void {
  // Loaded now, since the new user may not be allowed to read the file.
  libc();
  const { uid, gid, name } = user;
  try {
    if (name === null) process.setgroups!([gid]);
    else (process as InitGroups).initgroups(name, gid);
    process.setgid!(gid);
    process.setuid!(uid);
  } catch (error) {
    throw new Error(`cannot become ${name ?? uid}: ${reasonOf(error)}`);
  }
  if (process.getuid!() !== uid || process.geteuid!() !== uid || process.getegid!() !== gid || canBeRoot())
    throw new Error(`cannot become ${name ?? uid}: the system kept root's rights`);
  const known = knownUser();
  process.env.HOME = known?.homedir ?? "/";
  if (name !== null) process.env.USER = process.env.LOGNAME = name;
  sharedRegistry().publish();
}

function looked(text: string, what: string, become: () => void, id: () => number): number {
  try {
    become();
  } catch {
    throw new ConfigError("--user", text, `expected a ${what} of this machine`);
  }
  return id();
}

function idOf(text: string): string | number {
  return /^\d+$/.test(text) ? Number(text) : text;
}

/** The process's effective user; null when the system has no entry for it. */
function knownUser(): os.UserInfo<string> | null {
  try {
    return os.userInfo();
  } catch {
    return null;
  }
}

function canBeRoot(): boolean {
  try {
    process.setuid!(0);
    return true;
  } catch {
    return false;
  }
}
