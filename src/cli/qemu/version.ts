/** Finds out the version of a QEMU, and how that version attaches to us. */
import { spawn } from "node:child_process";
import type { StreamAddress } from "../../attach/address.ts";
import { netdevArgument } from "../../control/qemu-args.ts";
import { reasonOf } from "../../host/reason.ts";

/** Major times 100 plus minor: 702 is QEMU 7.2. */
export type QemuVersion = number;

const STREAM: QemuVersion = 702;
const RECONNECT: QemuVersion = 800;
const RECONNECT_MS: QemuVersion = 902;
/** Milliseconds. A wrapper that does not know `--version` may start another program, which does not end. */
const TIMEOUT_MILLIS = 10_000;

/**
 * Runs `program --version`. Resolves with null if the output names no version that we know, as with some wrappers.
 * Rejects with an `Error` of one line when the program cannot be started.
 */
export function qemuVersion(program: string, signal: AbortSignal): Promise<QemuVersion | null> {
  return new Promise((resolve, reject) => {
    const child = spawn(program, ["--version"], { stdio: ["ignore", "pipe", "ignore"], timeout: TIMEOUT_MILLIS });
    let said = "";
    const abort = () => child.kill("SIGKILL");
    signal.addEventListener("abort", abort, { once: true });
    child.stdout.setEncoding("utf8").on("data", (text: string) => {
      if (said.length < 4_096) said += text;
    });
    child.once("error", (error) => reject(startError(program, error)));
    child.once("close", () => {
      signal.removeEventListener("abort", abort);
      resolve(parseVersion(said));
    });
  });
}

export function parseVersion(text: string): QemuVersion | null {
  const match = /^QEMU emulator version (\d{1,4})\.(\d{1,2})/m.exec(text);
  return match === null ? null : Number(match[1]) * 100 + Number(match[2]);
}

export function hasStream(version: QemuVersion | null): boolean {
  return version === null || version >= STREAM;
}

/**
 * The value of `-netdev`. `reconnect` (seconds) came with QEMU 8.0, and `reconnect-ms` replaced it in 9.2. With
 * either, QEMU dials again after the cable has broken.
 */
export function cableArgument(version: QemuVersion | null, id: string, address: StreamAddress): string {
  if (!hasStream(version)) {
    if (address.kind !== "tcp") throw new Error("-netdev socket knows TCP only");
    return `socket,id=${id},connect=${address.host}:${address.port}`;
  }
  const netdev = netdevArgument(id, address);
  if (version === null || version < RECONNECT) return netdev;
  return `${netdev},${version < RECONNECT_MS ? "reconnect=1" : "reconnect-ms=500"}`;
}

/** The error for a program that cannot be started, in one line. */
export function startError(program: string, error: NodeJS.ErrnoException): Error {
  const reasons: Readonly<Record<string, string>> = {
    ENOENT: "there is no such program",
    EACCES: "it is not executable",
  };
  return new Error(`cannot start ${JSON.stringify(program)}: ${reasons[error.code ?? ""] ?? reasonOf(error)}`);
}
