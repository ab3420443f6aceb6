/**
 * TAPs in other network namespaces: a shell there (by util-linux' `nsenter`) opens `/dev/net/tun`, we take the descriptor
 * and make the device (see `tap-device`), and the shell ends.
 */
import { type ChildProcess, spawn } from "node:child_process";
import fs from "node:fs";
import { needTaps, type TapDevice } from "./tap-device.ts";

/** Says its process id as the host knows it, then waits for the end of its input. Opened as `<>`, a missing file would be made. */
const OPENER = `[ -c /dev/net/tun ] || { echo "there is no /dev/net/tun" >&2; exit 1; }
read -r pid rest </proc/self/stat && exec 3<>/dev/net/tun && echo "$pid" && read -r _`;
const THEIRS = 3;

/** A network namespace: a process', or one by its path, with the user namespace that owns it where that is not ours. */
export type Where = { readonly pid: number } | { readonly path: string; readonly user?: string };

/** Makes a TAP of this name here, or in the network namespace of a process or at a path. Rejects with an `Error` of one line. */
export async function openTap(name: string, where: Where | null): Promise<TapDevice> {
  const taps = needTaps();
  if (where === null) return taps.make(name);
  const child = spawn("nsenter", [...entrance(where), "--", "/bin/sh", "-c", OPENER], {
    stdio: ["pipe", "pipe", "pipe"],
  });
  child.stdin.on("error", () => {});
  const gone = new Promise<void>((resolve) => {
    child.once("exit", () => resolve());
    child.once("error", () => resolve());
  });
  try {
    return taps.take(await said(child), THEIRS, name);
  } finally {
    // It has the same device open, which would outlast ours.
    child.stdin.end();
    await gone;
  }
}

/** What `nsenter` is told. Of a process in a user namespace of its own that one comes first, or there are no rights in the other. */
export function entrance(where: Where): string[] {
  if ("path" in where) {
    if (!fs.existsSync(where.path)) throw new Error(`there is no network namespace at ${where.path}`);
    return [
      `--net=${where.path}`,
      ...(where.user === undefined ? [] : [`--user=${where.user}`, "--preserve-credentials"]),
    ];
  }
  const { pid } = where;
  let theirs: string;
  try {
    theirs = fs.readlinkSync(`/proc/${pid}/ns/user`);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    throw new Error(code === "ENOENT" ? `there is no process ${pid}` : `process ${pid} is another user's (${code})`);
  }
  const own = theirs === fs.readlinkSync("/proc/self/ns/user");
  return ["--target", String(pid), "--net", ...(own ? [] : ["--user", "--preserve-credentials"])];
}

/** The line that the shell says. */
function said(child: ChildProcess): Promise<number> {
  return new Promise((resolve, reject) => {
    let out = "";
    let err = "";
    child.stdout!.setEncoding("utf8").on("data", (text: string) => {
      out += text;
      if (out.endsWith("\n")) resolve(Number(out));
    });
    child.stderr!.setEncoding("utf8").on("data", (text: string) => {
      err += text;
    });
    child.on("error", () =>
      reject(new Error("a TAP in another namespace needs nsenter (util-linux), which is not here")),
    );
    child.on("close", () => {
      const why = err.trim().split("\n")[0] || "nsenter ended";
      reject(new Error(`cannot make a TAP there: ${why}`));
    });
  });
}
