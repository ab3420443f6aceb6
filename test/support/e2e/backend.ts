/** The network under test: tslirp as a user starts it, or QEMU's own libslirp on the same kind of socket. */
import type { ChildProcess } from "node:child_process";
import { existsSync, readdirSync, readFileSync, watch } from "node:fs";
import { basename, dirname, join } from "node:path";
import { PROGRAM } from "../program.ts";
import type { Namespace } from "./namespace.ts";
import { BACKEND } from "./requirements.ts";

export interface BackendOptions {
  /** Which one: what the environment says unless said here. */
  readonly kind?: typeof BACKEND;
  /** QEMU's rules, for both. */
  readonly hostfwd?: readonly string[];
  readonly bootfile?: string;
  readonly guestfwd?: readonly string[];
  /** Folders. */
  readonly tftp?: string;
  readonly smb?: string;
  readonly restrict?: boolean;
  /** More options of QEMU's, `key=value`, for both. */
  readonly netdev?: readonly string[];
  /** tslirp only. */
  readonly args?: readonly string[];
}

export class Backend {
  /** Of the QEMU that joins: arguments of `-netdev stream`, `id` excepted. */
  readonly socketPath: string;
  private readonly child: ChildProcess;
  private readonly output: string[];
  private stopped = false;

  private constructor(socketPath: string, child: ChildProcess, output: string[]) {
    this.socketPath = socketPath;
    this.child = child;
    this.output = output;
  }

  /** Resolves when guests can join: the socket is the last thing to appear. */
  static async start(host: Namespace, folder: string, options: BackendOptions): Promise<Backend> {
    const socketPath = join(folder, "net.sock");
    const [command, args] =
      (options.kind ?? BACKEND) === "libslirp"
        ? libslirpCommand(socketPath, options)
        : tslirpCommand(socketPath, options);
    const child = host.spawn(command, args, { stdio: ["ignore", "pipe", "pipe"] });
    const output: string[] = [];
    for (const stream of [child.stdout, child.stderr]) stream?.on("data", (piece) => output.push(String(piece)));
    await appears(socketPath, child, output);
    return new Backend(socketPath, child, output);
  }

  get pid(): number {
    return this.child.pid!;
  }

  /** Resident memory, bytes. */
  get residentBytes(): number {
    const line = /^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${this.child.pid}/status`, "utf8"));
    return Number(line?.[1]) * 1024;
  }

  /** Descriptors that it has open. */
  get handles(): number {
    return readdirSync(`/proc/${this.child.pid}/fd`).length;
  }

  /** It has ended without having been asked to. */
  get died(): boolean {
    return !this.stopped && (this.child.exitCode !== null || this.child.signalCode !== null);
  }

  get log(): string {
    return this.output.join("");
  }

  /** Asks it to end, as a service manager would; its exit status (null where a signal ended it). */
  stop(signal: "SIGINT" | "SIGTERM" | "SIGKILL" = "SIGTERM"): Promise<number | null> {
    this.stopped = true;
    return new Promise((resolve) => {
      this.child.once("exit", (code) => resolve(code));
      this.child.kill(signal);
    });
  }
}

function tslirpCommand(socketPath: string, options: BackendOptions): [string, string[]] {
  const args = [...PROGRAM, "serve", "--listen", `unix:${socketPath}`];
  for (const rule of options.hostfwd ?? []) args.push("--hostfwd", rule);
  for (const rule of options.guestfwd ?? []) args.push("--guestfwd", rule);
  if (options.smb) args.push("--smb", options.smb);
  if (options.bootfile) args.push("--bootfile", options.bootfile);
  if (options.tftp) args.push("--tftp", options.tftp);
  if (options.restrict) args.push("--restrict");
  if (options.netdev) args.push("--netdev", ["user", ...options.netdev].join(","));
  return [process.execPath, [...args, ...(options.args ?? [])]];
}

function libslirpCommand(socketPath: string, options: BackendOptions): [string, string[]] {
  const user = ["user,id=u0", ...(options.netdev ?? []), ...(options.hostfwd ?? []).map((rule) => `hostfwd=${rule}`)];
  user.push(...(options.guestfwd ?? []).map((rule) => `guestfwd=${rule.replaceAll(",", ",,")}`));
  if (options.smb) user.push(`smb=${options.smb}`);
  if (options.bootfile) user.push(`bootfile=${options.bootfile}`);
  if (options.tftp) user.push(`tftp=${options.tftp}`);
  if (options.restrict) user.push("restrict=on");
  return ["qemu-system-x86_64", hub(user.join(","), "u0", `server=on,addr.type=unix,addr.path=${socketPath}`)];
}

/** Arguments of a QEMU without a machine, whose hub joins `netdev` (with this id) to a stream socket. */
export function hub(netdev: string, id: string, stream: string): string[] {
  return [
    ...["-machine", "none", "-nodefaults", "-display", "none", "-monitor", "none", "-serial", "none"],
    ...["-netdev", netdev, "-netdev", `hubport,id=h0,hubid=0,netdev=${id}`],
    ...["-netdev", `stream,id=s0,${stream}`, "-netdev", "hubport,id=h1,hubid=0,netdev=s0"],
  ];
}

/** Waits for a file; fails at once, with what was said, when the program that is to make it ends. */
export function appears(path: string, child: ChildProcess, output: readonly string[], timeout = 40_000): Promise<void> {
  return new Promise((resolve, reject) => {
    const watcher = watch(dirname(path), (_event, name) => {
      if (name === basename(path)) check();
    });
    const settle = (error?: Error): void => {
      watcher.close();
      clearTimeout(timer);
      child.removeListener("exit", onExit);
      if (error) reject(error);
      else resolve();
    };
    const onExit = (code: number | null): void =>
      settle(new Error(`the back-end ended with ${code} before its socket was there:\n${output.join("")}`));
    const timer = setTimeout(() => settle(new Error(`no ${path} after ${timeout} ms:\n${output.join("")}`)), timeout);
    const check = (): void => {
      if (existsSync(path)) settle();
    };
    child.once("exit", onExit);
    check();
  });
}
