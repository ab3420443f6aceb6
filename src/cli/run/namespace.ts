/**
 * New user, network, mount and process namespaces around a command, in a child process (util-linux' `unshare`).
 *
 * The command keeps its user's and group's ids, so its files are its own. Before the command, a script (`script`)
 * runs that has the rights which the new namespaces need, as ambient capabilities; it starts the command without
 * them. Root's command stays root inside, with the rights that root has in a container.
 *
 * When this process ends, in whatever way, the kernel kills `unshare` (`setpriv --pdeathsig`), then process 1 inside
 * (`--kill-child`), and so everything. No process inside takes part in that, because the command could stop such a
 * process.
 */
import { type ChildProcess, spawn } from "node:child_process";
import fs from "node:fs";
import { constants, hostname } from "node:os";
import path from "node:path";
import type { Readable, Writable } from "node:stream";
import { reasonOf } from "../../host/reason.ts";
import { bytesOf, pathsTo } from "./paths-to.ts";
import { SCRIPT } from "./script.ts";

export const TAP_NAME = "tap0";
const TUN = 7;
const O_CLOEXEC = 0o2000000;
/** Milliseconds that a signal waits for a command that is about to begin, and the pause between two looks. */
const PATIENCE_MILLIS = 2_000;
const RETRY_MILLIS = 10;
const ENDING: ReadonlySet<NodeJS.Signals> = new Set(["SIGHUP", "SIGINT", "SIGQUIT", "SIGTERM"]);
/** The capabilities that root's command keeps: a container's usual set. None of them reaches beyond the namespaces. */
const ROOTS =
  "-all,+chown,+dac_override,+fowner,+fsetid,+kill,+setgid,+setuid,+setpcap,+net_bind_service,+net_raw,+sys_chroot,+mknod,+audit_write,+setfcap";
/** `ping` has this one as a file capability, and the kernel does not start `ping` where it is not available. */
const USERS = "-all,+net_raw";

/** A shell passes no variables on that have other names, and gives these values of its own. The script's begin with `tslirp_`. */
const SHELLS_NAME = /^(?!tslirp_)[A-Za-z_][A-Za-z0-9_]*$/;
const SHELLS_OWN: ReadonlySet<string> = new Set(["IFS", "LINENO", "OPTIND", "PPID", "SHLVL"]);

/** What depends on options. */
export interface NamespaceSettings {
  /** The commands for `ip -batch`, none of them empty. */
  readonly ip: readonly string[];
  /** The lines of /etc/resolv.conf, none of them empty. */
  readonly resolver: readonly string[];
  readonly keep: boolean;
}

export class CommandNamespace {
  readonly #child: ChildProcess;
  readonly #lines: AsyncGenerator<string, undefined>;
  /** The id of process 1 inside, as seen from outside; 0 until the script has told it. */
  pid = 0;
  /** Resolves with the command's exit status. */
  readonly ended: Promise<number>;
  #first: Promise<IteratorResult<string, undefined>> | null = null;
  #errors = "";
  #over = false;
  #mapped = false;

  /** The command sees the folders `emptied` empty, and has them for itself. */
  constructor(command: readonly string[], emptied: readonly string[], env: NodeJS.ProcessEnv) {
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
          root ? "root" : "user",
          hosts(),
          emptied.flatMap((folder) => pathsTo(bytesOf(folder)).map(empty)).join(""),
        ],
        ...withEnvironment(command, env),
      ],
      { stdio: ["inherit", "inherit", "pipe", "pipe", "pipe", 2], env },
    );
    // Node makes no pipes when there is no descriptor for them, and tells the error later, too.
    if ((this.#child.stderr as Readable | null | undefined) == null) {
      this.#child.on("error", () => {});
      throw new Error("run cannot start a process: too many files are open (ulimit -n)");
    }
    this.#child.stderr!.setEncoding("utf8").on("data", (text: string) => {
      this.#errors += text;
    });
    (this.#child.stdio[3] as Writable).on("error", () => {});
    this.#lines = linesOf(this.#child.stdio[4] as Readable);
    // Reading begins now: Node drops what nobody reads when the child ends.
    this.#first = this.#lines.next();
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

  /** Lets the script go on with what needs no settings, if the namespaces are there by now. Does not wait. */
  advance(): void {
    try {
      const own = fs.readlinkSync("/proc/self/ns/user");
      if (this.#child.pid !== undefined && fs.readlinkSync(`/proc/${this.#child.pid}/ns/user`) !== own) this.#map();
    } catch {
      // `begin` does it, or says why that cannot be done.
    }
  }

  /**
   * Waits for the namespaces, and lets `makeTap` make their TAP from `/dev/net/tun`, which process `pid` has open as
   * descriptor `tun`. Resolves with its result; the script sets up everything else meanwhile. Rejects with an `Error`
   * of one line.
   */
  async begin<T>({ ip, resolver, keep }: NamespaceSettings, makeTap: (pid: number, tun: number) => T): Promise<T> {
    const first = await this.#said();
    const [word, pid] = first.split(" ");
    if (word !== "up") throw await this.#failure(first);
    this.pid = Number(pid);
    this.#map();
    const made = await this.#unlessFailed(() => makeTap(this.pid, TUN));
    for (const line of ["made", keep ? "keep" : "end", ...ip, "", ...resolver, ""]) this.#say(line);
    return made;
  }

  /** Starts the command, which cannot reach the sockets at `covered`, paths as bytes. Rejects with an `Error` of one line. */
  async start(covered: readonly string[]): Promise<void> {
    const ready = await this.#said();
    if (ready !== "ready") throw await this.#failure(ready);
    for (const place of covered) {
      this.#say("cover");
      this.#say(octal(place, "\\0"));
    }
    this.#say("go");
    const on = await this.#said();
    if (on !== "on") throw await this.#failure(on);
  }

  /** The result of `act`. If it throws because the script has failed meanwhile, rejects with the script's error. */
  async #unlessFailed<T>(act: () => T): Promise<T> {
    try {
      return act();
    } catch (error) {
      if (fs.existsSync(`/proc/${this.pid}`)) throw error;
      throw await this.#failure(await this.#said());
    }
  }

  #say(word: string): void {
    (this.#child.stdio[3] as Writable).write(`${word}\n`);
  }

  /** The next line from the script; empty when the script has ended. */
  async #said(): Promise<string> {
    const next = this.#first ?? this.#lines.next();
    this.#first = null;
    return (await next).value ?? "";
  }

  /**
   * Sends a signal to the command, and waits for the command if it is about to begin. If it does not, a signal that
   * would end it ends everything. Neither `unshare` nor the script would pass the signal on.
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
      // The command has just ended.
    }
  }

  /** Ends all processes inside. Resolves when that is done. */
  async kill(): Promise<void> {
    this.#child.kill("SIGKILL");
    await this.ended.catch(() => {});
  }

  /**
   * The id of the command: the first child of process 1. Processes that set things up have ended, and orphans come
   * later in the list. Null until the command has replaced the shell, which traps signals.
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

  /** Every id inside is the same as outside. A user that is not root has only its own. */
  #map(): void {
    if (this.#mapped) return;
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
    this.#mapped = true;
    this.#say("mapped");
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
 * The command, behind `env` with those variables that the shell before it would change or lose. Everybody can read them while
 * the command begins, so it is only those. `env` takes a program with `=` in its name for a variable.
 */
function withEnvironment(command: readonly string[], env: NodeJS.ProcessEnv): readonly string[] {
  const lost = Object.entries(env).filter(
    ([name]) => !SHELLS_NAME.test(name) || SHELLS_OWN.has(name) || isOdd(name, env),
  );
  if (lost.length === 0 || command[0]!.includes("=")) return command;
  return ["env", "--", ...lost.map(([name, value]) => `${name}=${value}`), ...command];
}

/** A shell corrects PWD if it does not lead here. */
function isOdd(name: string, { PWD: place }: NodeJS.ProcessEnv): boolean {
  if (name !== "PWD") return false;
  try {
    const [there, here] = [fs.statSync(place!), fs.statSync(".")];
    return !path.isAbsolute(place!) || there.dev !== here.dev || there.ino !== here.ino;
  } catch {
    return true;
  }
}

/**
 * Closes descriptors that our parent left open, before a child inherits them: a connection, or a folder in which our
 * sockets are not covered. Node itself closes for children only the descriptors up to the first gap above 15.
 */
function closeInherited(): void {
  for (const fd of fs.readdirSync("/proc/self/fd").map(Number)) {
    try {
      const flags = /^flags:\s*([0-7]+)$/m.exec(fs.readFileSync(`/proc/self/fdinfo/${fd}`, "utf8"))?.[1] ?? "";
      // All descriptors that Node itself has opened are closed when a child executes its program.
      if (fd > 2 && (Number.parseInt(flags, 8) & O_CLOEXEC) === 0) fs.closeSync(fd);
    } catch {
      // This was the descriptor of the folder that was just read.
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

/**
 * The lines of fstab(5) that mount an empty folder at a place. Where there is a mount nothing can be renamed: the folder
 * around it is one, too.
 */
function empty(place: string): string {
  const [folder, around] = [place, path.dirname(place)].map((each) => octal(each, "\\"));
  return `${around} ${around} none rbind\ntslirp ${folder} tmpfs mode=700,nosuid,nodev,noexec,size=1m\n`;
}

/** A path, given as bytes, with `mark` and three octal digits in place of all that could have a meaning. */
function octal(place: string, mark: string): string {
  return place.replace(/[^A-Za-z0-9/._-]/g, (c) => `${mark}${c.charCodeAt(0).toString(8).padStart(3, "0")}`);
}

/** Has only entries that every host has. The host's own could lead to its loopback, or past the rules about names. */
function hosts(): string {
  return `127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n127.0.1.1 ${hostname()}\n`;
}

/** A map of each of our own ids to itself. */
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

/** Names the kernel's setting that forbids namespaces, if it is one that we know. */
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
      // This kernel has no such setting.
    }
  }
  return "";
}
