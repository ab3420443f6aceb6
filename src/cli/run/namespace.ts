/**
 * New user, network, mount and process namespaces around a command, as a child of ours (util-linux' `unshare`).
 *
 * The command keeps its user: who it is outside, it is inside, so its files are its own. The script before it (`script`)
 * has the rights that the new namespaces need as ambient capabilities, until it starts the command without them. Root's
 * command stays root within, with what a container's root has.
 *
 * When we end, however that is, the kernel kills `unshare` (`setpriv --pdeathsig`), and then process 1 within
 * (`--kill-child`), and so all. Nothing within has to do that, where the command could stop it.
 */
import { type ChildProcess, spawn } from "node:child_process";
import fs from "node:fs";
import { constants } from "node:os";
import path from "node:path";
import type { Readable, Writable } from "node:stream";
import { reasonOf } from "../../host/reason.ts";
import { SCRIPT } from "./script.ts";

export const TAP_NAME = "tap0";
const TUN = 7;
const O_CLOEXEC = 0o2000000;
/** A signal waits so long for a command that is about to begin, and looks so often. */
const PATIENCE_MILLIS = 2_000;
const RETRY_MILLIS = 10;
const ENDING: ReadonlySet<NodeJS.Signals> = new Set(["SIGHUP", "SIGINT", "SIGQUIT", "SIGTERM"]);
/** What root's command may still be given: a container's usual set, none of which reaches beyond its namespaces. */
const ROOTS =
  "-all,+chown,+dac_override,+fowner,+fsetid,+kill,+setgid,+setuid,+setpcap,+net_bind_service,+net_raw,+sys_chroot,+mknod,+audit_write,+setfcap";
/** `ping` has this as a file's capability, and is not started where it cannot have it. */
const USERS = "-all,+net_raw";

export interface NamespaceSettings {
  /** Commands for `ip -batch`. */
  readonly ip: string;
  /** What stands in /etc/resolv.conf, and in /etc/hosts. */
  readonly resolver: string;
  readonly hosts: string;
  /** Folders that the command has anew, empty and for itself. */
  readonly emptied: readonly string[];
  readonly keep: boolean;
  readonly env: NodeJS.ProcessEnv;
}

export class CommandNamespace {
  readonly #child: ChildProcess;
  readonly #lines: AsyncGenerator<string, undefined>;
  /** Process 1 within, as we know it; 0 before it has said so. */
  pid = 0;
  /** Resolves with the exit status. */
  readonly ended: Promise<number>;
  #errors = "";
  #over = false;

  constructor(settings: NamespaceSettings, command: readonly string[]) {
    closeInherited();
    const root = process.getuid!() === 0;
    const group = process.getgid!();
    this.#child = spawn(
      "setpriv",
      [
        ...["--pdeathsig", "KILL", "--", "unshare"],
        ...["--user", "--keep-caps", "--net", "--mount", "--pid", "--fork", "--kill-child", "--"],
        ...["/bin/sh", "-c", SCRIPT, "tslirp"],
        ...[
          root ? "0 2147483647" : `${group} ${group}`,
          root ? ROOTS : USERS,
          settings.keep ? "keep" : "end",
          root ? "root" : "user",
          settings.ip,
          settings.resolver,
          settings.hosts,
          settings.emptied.join("\n"),
        ],
        ...command,
      ],
      { stdio: ["inherit", "inherit", "pipe", "pipe", "pipe", 2], env: settings.env },
    );
    this.#child.stderr!.setEncoding("utf8").on("data", (text: string) => {
      this.#errors += text;
    });
    (this.#child.stdio[3] as Writable).on("error", () => {});
    this.#lines = linesOf(this.#child.stdio[4] as Readable);
    this.ended = new Promise((resolve, reject) => {
      this.#child.once("error", () => {
        this.#over = true;
        reject(new Error("run needs setpriv (util-linux), which is not here"));
      });
      this.#child.once("exit", (code, signal) => {
        this.#over = true;
        resolve(code ?? 128 + constants.signals[signal!]);
      });
    });
    this.ended.catch(() => {});
  }

  /**
   * The namespaces begin, and `makeTap` makes their TAP, of the `/dev/net/tun` that process `pid` has open as `tun`. What it
   * gives comes back; meanwhile all is set up. Rejects with an `Error` of one line.
   */
  async begin<T>(makeTap: (pid: number, tun: number) => T): Promise<T> {
    const first = await this.#said();
    const [word, pid] = first.split(" ");
    if (word !== "up") throw await this.#failure(first);
    this.pid = Number(pid);
    this.#map();
    const made = makeTap(this.pid, TUN);
    this.#say("made");
    return made;
  }

  /** The command starts, to which the sockets at `covered` are not there. Rejects with an `Error` of one line. */
  async start(covered: readonly string[]): Promise<void> {
    const ready = await this.#said();
    if (ready !== "ready") throw await this.#failure(ready);
    for (const place of covered) {
      if (place.includes("\n"))
        throw new Error(`${JSON.stringify(place)} cannot be hidden from a command: expected a path of one line`);
      this.#say("cover");
      this.#say(place);
    }
    this.#say("go");
    const on = await this.#said();
    if (on !== "on") throw await this.#failure(on);
  }

  #say(word: string): void {
    (this.#child.stdio[3] as Writable).write(`${word}\n`);
  }

  /** The next line that the script says; empty when it says no more. */
  async #said(): Promise<string> {
    return (await this.#lines.next()).value ?? "";
  }

  /**
   * Passes a signal on to the command, and waits for it to be there; what is to end it and finds none ends all. Neither `unshare`
   * nor the script would hand it on.
   */
  signal(signal: NodeJS.Signals, until: number = performance.now() + PATIENCE_MILLIS): void {
    if (this.#over) return;
    if (signal === "SIGKILL") return void this.#child.kill(signal);
    const pid = this.#command();
    if (pid === null) {
      if (performance.now() < until) setTimeout(() => this.signal(signal, until), RETRY_MILLIS);
      else if (ENDING.has(signal)) this.#child.kill("SIGKILL");
      return;
    }
    try {
      process.kill(pid, signal);
    } catch {
      // It has just ended.
    }
  }

  /** Nothing is left within. Resolves when that is so. */
  async kill(): Promise<void> {
    this.#child.kill("SIGKILL");
    await this.ended.catch(() => {});
  }

  /**
   * The first child of process 1: those that set up have ended, and whoever lost its parent came later. Until it executes a
   * program of its own it is the shell, which traps signals.
   */
  #command(): number | null {
    const programOf = (pid: number): string => fs.readFileSync(`/proc/${pid}/cmdline`, "latin1");
    try {
      const children = fs.readFileSync(`/proc/${this.pid}/task/${this.pid}/children`, "utf8").trim().split(" ");
      const first = Number(children[0]);
      return first === 0 || programOf(first) === programOf(this.pid) ? null : first;
    } catch {
      return null;
    }
  }

  /** Everybody is within who they are outside; who is not root, nobody else. */
  #map(): void {
    const uid = process.getuid!();
    const gid = process.getgid!();
    const write = (file: string, text: string): void => fs.writeFileSync(`/proc/${this.#child.pid}/${file}`, text);
    try {
      if (uid !== 0) write("setgroups", "deny");
      write("uid_map", uid === 0 ? sameAs("/proc/self/uid_map") : `${uid} ${uid} 1`);
      write("gid_map", uid === 0 ? sameAs("/proc/self/gid_map") : `${gid} ${gid} 1`);
    } catch (error) {
      throw new Error(`this user may not have namespaces of its own: ${reasonOf(error)}`);
    }
  }

  async #failure(said: string): Promise<Error> {
    await this.ended;
    const own = this.#errors.trim().split("\n")[0] ?? "";
    const denied = /Operation not permitted|No space left|Permission denied/.test(`${said}${own}`);
    const why = said.startsWith("failed ") ? said.slice(7) : own || "its namespaces ended";
    return new Error(`cannot run a command in namespaces of its own: ${why}${denied ? userNamespaces() : ""}`);
  }
}

/**
 * Closes what whoever started us has left open, before a child of ours inherits it: a connection, or a folder in which our
 * sockets are not covered. Node keeps from children what is open up to the first gap behind 15, and no more.
 */
function closeInherited(): void {
  for (const fd of fs.readdirSync("/proc/self/fd").map(Number)) {
    try {
      const flags = /^flags:\s*([0-7]+)$/m.exec(fs.readFileSync(`/proc/self/fdinfo/${fd}`, "utf8"))?.[1] ?? "";
      // All that Node has opened closes when a child executes its program.
      if (fd > 2 && (Number.parseInt(flags, 8) & O_CLOEXEC) === 0) fs.closeSync(fd);
    } catch {
      // It was the folder's own, while that was read.
    }
  }
}

async function* linesOf(stream: Readable): AsyncGenerator<string, undefined> {
  let text = "";
  for await (const part of stream.setEncoding("utf8")) {
    text += part as string;
    for (let end = text.indexOf("\n"); end >= 0; end = text.indexOf("\n")) {
      yield text.slice(0, end);
      text = text.slice(end + 1);
    }
  }
  return undefined;
}

/** A map from each of our own ids to itself. */
function sameAs(file: string): string {
  return fs
    .readFileSync(file, "utf8")
    .trim()
    .split("\n")
    .map((line) => {
      const [inside, , count] = line.trim().split(/\s+/);
      return `${inside} ${inside} ${count}\n`;
    })
    .join("");
}

/** Which setting of the kernel's is in the way, if one that we know of is. */
function userNamespaces(): string {
  for (const [key, bad] of [
    ["kernel/unprivileged_userns_clone", "0"],
    ["kernel/apparmor_restrict_unprivileged_userns", "1"],
    ["user/max_user_namespaces", "0"],
  ] as const) {
    try {
      if (fs.readFileSync(path.join("/proc/sys", key), "utf8").trim() === bad)
        return ` (sysctl ${key.replace("/", ".")} is ${bad})`;
    } catch {
      // Not on this kernel.
    }
  }
  return "";
}
