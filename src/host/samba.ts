/**
 * Shares a folder with guests over SMB by Samba's server, as QEMU does: an `smbd` for each connection, whose
 * configuration, state and logs are in a folder of this network alone. No port of the host is opened.
 */
import { accessSync, constants, writeFileSync } from "node:fs";
import path from "node:path";
import { handOver, ownerName } from "./ownership.ts";

/** Folders to look in besides the user's PATH, which need not include them. */
const SBIN: readonly string[] = ["/usr/sbin", "/usr/local/sbin", "/usr/local/samba/sbin", "/opt/samba/sbin"];
/** The share's name, the same as QEMU's: `\\10.0.2.4\qemu`. */
const SHARE = "qemu";

/** `smbd`'s path, or null when Samba is not installed. */
export function findSmbd(
  folders: readonly string[] = [...(process.env.PATH ?? "").split(path.delimiter), ...SBIN],
): string | null {
  for (const folder of folders) {
    const program = path.join(folder, "smbd");
    try {
      accessSync(program, constants.X_OK);
      return program;
    } catch {
      // smbd is not in this folder.
    }
  }
  return null;
}

/**
 * Prepares `state`, an empty folder that nobody else may enter, for serving `shared`, an absolute path. Returns the
 * command that serves one connection on its standard input. Throws the system's error.
 */
export function sambaCommand(smbd: string, state: string, shared: string): string[] {
  const file = path.join(state, "smb.conf");
  writeFileSync(file, configuration(state, shared), { mode: 0o600 });
  handOver(file);
  handOver(state);
  return [smbd, "-l", state, "-s", file];
}

/** Guests need no password, and have the rights of the user that runs us. */
function configuration(state: string, shared: string): string {
  const global = {
    "private dir": state,
    "pid directory": state,
    "lock directory": state,
    "state directory": state,
    "cache directory": state,
    "ncalrpc dir": path.join(state, "ncalrpc"),
    "log file": path.join(state, "log.smbd"),
    "smb passwd file": path.join(state, "smbpasswd"),
    // smbd opens no address of the host: it serves only the connection that it is given.
    interfaces: "127.0.0.1",
    "bind interfaces only": "yes",
    "server role": "standalone server",
    "map to guest": "Bad User",
    "disable netbios": "yes",
    "load printers": "no",
    printing: "bsd",
    "printcap name": "/dev/null",
    "disable spoolss": "yes",
    "usershare max shares": "0",
    // Symbolic links do not lead out of the folder.
    "wide links": "no",
  };
  const share = { path: shared, "read only": "no", "guest ok": "yes", "force user": ownerName() };
  const lines = (entries: object): string =>
    Object.entries(entries)
      .map(([k, v]) => `\t${k} = ${v}\n`)
      .join("");
  return `[global]\n${lines(global)}[${SHARE}]\n${lines(share)}`;
}
