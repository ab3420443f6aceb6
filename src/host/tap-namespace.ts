/**
 * TAPs in other network namespaces: a shell there (started by util-linux's `nsenter`) opens `/dev/net/tun`, we take its
 * descriptor and make the device (see `tap-device`), and the shell ends.
 */
import { type ChildProcess, spawn } from "node:child_process";
import fs from "node:fs";
import { wordsOf } from "./reason.ts";
import { needTaps, type TapDevice } from "./tap-device.ts";

/**
 * Prints its process id as the host knows it, then waits for the end of its input. `<>` would create a missing file.
 */
const OPENER = `[ -c /dev/net/tun ] || { echo "there is no /dev/net/tun" >&2; exit 1; }
read -r pid rest </proc/self/stat && exec 3<>/dev/net/tun && echo "$pid" && read -r _`;
const THEIRS = 3;

/** A network namespace: a process's, or one by its path, with the user namespace that owns it if that is not ours. */
export type Where = { readonly pid: number } | { readonly path: string; readonly user?: string };

/** Makes a TAP of this name here (null), or in a namespace. Rejects with an `Error` of one line. */
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
    // The shell has the same device open, and would keep it alive after us.
    child.stdin.end();
    await gone;
  }
}

/**
 * The arguments of `nsenter`. A process's own user namespace is entered first, since the other namespaces need its
 * rights.
 */
export function entrance(where: Where): string[] {
  if ("path" in where) {
    try {
      fs.statSync(where.path);
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      throw new Error(
        code === "ENOENT" || code === "ENOTDIR"
          ? `there is no network namespace at ${where.path}`
          : `the network namespace at ${where.path} is another user's (${wordsOf(code ?? "EACCES")})`,
      );
    }
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
    throw new Error(
      code === "ENOENT"
        ? `there is no process ${pid}`
        : `process ${pid} is another user's (${wordsOf(code ?? "EACCES")})`,
    );
  }
  const own = theirs === fs.readlinkSync("/proc/self/ns/user");
  return ["--target", String(pid), "--net", ...(own ? [] : ["--user", "--preserve-credentials"])];
}

/** The process id that the shell prints. */
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
