/**
 * Ports that processes of this user hold for their owner, so that no guest of one process reaches another's ports: its
 * SOCKS server needs no password, and a cable that listens accepts everybody.
 *
 * Theory of operation. Each process that holds ports writes them to a file of its own, named by its process id, in the
 * user's runtime folder and in `/tmp/tslirp-UID` (two processes may have different runtime folders: a service has
 * XDG_RUNTIME_DIR, cron has none). It removes the file with its last port, and when it ends. A file whose process has ended
 * does not count, and is removed by the next process that reads it. When a process began is in its file, too, since another
 * one may have its number later. The others' files are read when a guest dials an address of this machine, at most once a
 * second, and so many at a time: before all are read, any port may be another's, and counts as one. Where the folder is
 * missing, or is not this user's alone, each process knows its own ports only. With `--user` nothing is written before root's
 * rights are gone, because root would follow links that the user has put in the folder.
 */
import fs from "node:fs";
import path from "node:path";
import { fileOwner } from "./ownership.ts";

/** How many milliseconds the others' ports are trusted. */
const FRESH_MILLIS = 1000;
/** The files contain a few numbers; a longer file is not ours. */
const MOST_BYTES = 65_536;
/** So many files are read at a time. */
const MOST_FILES = 1_024;
const STARTED = "started ";

export class PortRegistry {
  readonly #folders: readonly string[];
  readonly #pid: number;
  /** How often this process holds each port. */
  readonly #own: Map<number, number> = new Map();
  #others: ReadonlySet<number> = new Set();
  #readAt: number = Number.NEGATIVE_INFINITY;
  /** Others' files that are still to be read, and the ports in those that have been. */
  #unread: string[] = [];
  #found: Set<number> = new Set();

  /**
   * `folders` are made when a port is held, each inside a folder that belongs to this user alone, and is made the same
   * way.
   */
  constructor(folders: readonly string[], pid: number = process.pid) {
    this.#folders = folders;
    this.#pid = pid;
  }

  /** Tells other processes of the port. Returns a function that ends that, once. */
  add(port: number): () => void {
    this.#own.set(port, (this.#own.get(port) ?? 0) + 1);
    this.publish();
    let held = true;
    return () => {
      if (!held) return;
      held = false;
      const left = this.#own.get(port)! - 1;
      if (left === 0) this.#own.delete(port);
      else this.#own.set(port, left);
      this.publish();
    };
  }

  /**
   * Whether any network of this process, or another process of this user, holds the port. True also as long as there are more
   * files of others than are read at a time.
   */
  has(port: number): boolean {
    if (this.#own.has(port)) return true;
    const now = performance.now();
    if (this.#unread.length > 0 || now - this.#readAt > FRESH_MILLIS) {
      if (this.#unread.length === 0) {
        this.#found = new Set();
        this.#unread = this.#folders.flatMap((folder) => this.#files(folder));
      }
      for (const file of this.#unread.splice(-MOST_FILES)) this.#read(file, this.#found);
      if (this.#unread.length > 0) return true;
      this.#others = this.#found;
      this.#readAt = now;
    }
    return this.#others.has(port);
  }

  /** The folders, made where that is possible. Whoever may write to them can make others' ports unknown. */
  folders(): string[] {
    return this.#folders.filter((folder) => {
      try {
        return make(folder);
      } catch {
        // Another user's, or read-only: nobody of this user writes there.
        return false;
      }
    });
  }

  /** A process that may have held ports has ended: its file goes, if it could not remove that itself. */
  ended(pid: number): void {
    for (const folder of this.#folders)
      for (const file of this.#files(folder, [`${pid}.ports`, `${pid}.ports.new`])) this.#read(file, new Set());
  }

  /** Lets go of all ports. */
  close(): void {
    if (this.#own.size === 0) return;
    this.#own.clear();
    this.publish();
  }

  /** Writes the file: after each change, and once when the process has become another user. */
  publish(): void {
    if (process.getuid?.() !== ownUid()) return;
    for (const folder of this.#folders) this.#publish(folder);
  }

  #publish(folder: string): void {
    const file = path.join(folder, `${this.#pid}.ports`);
    try {
      if (this.#own.size === 0) return fs.rmSync(file, { force: true });
      if (!make(folder)) return;
      const text = [`${STARTED}${startOf(this.#pid) ?? ""}`, ...this.#own.keys()].join("\n");
      fs.writeFileSync(`${file}.new`, text, { mode: 0o600 });
      fs.renameSync(`${file}.new`, file);
    } catch {
      // The process may not write to the folder (Node's permission model, --user): the others do not learn the ports.
    }
  }

  /** The paths of others' files in the folder, or of those `names` among them. */
  #files(folder: string, names?: readonly string[]): string[] {
    try {
      if (![path.dirname(folder), folder].every(isOurs)) return [];
      return (names ?? fs.readdirSync(folder))
        .filter((name) => (pidOf(name) ?? this.#pid) !== this.#pid)
        .map((name) => path.join(folder, name));
    } catch {
      // Without a folder there are no others.
      return [];
    }
  }

  /** Adds the ports in a file, or removes it when its process has ended. */
  #read(file: string, found: Set<number>): void {
    try {
      const pid = pidOf(path.basename(file))!;
      if (!lives(pid)) return fs.rmSync(file, { force: true });
      const stat = fs.lstatSync(file);
      if (!stat.isFile() || stat.size > MOST_BYTES) return;
      const lines = fs.readFileSync(file, "utf8").split("\n");
      const started = lines[0]!.startsWith(STARTED) ? lines.shift()!.slice(STARTED.length) : "";
      const start = startOf(pid);
      if (started !== "" && start !== null && started !== start) return fs.rmSync(file, { force: true });
      if (file.endsWith(".ports")) for (const line of lines) found.add(Number(line));
    } catch {
      // A file that has gone meanwhile counts as none.
    }
  }
}

let shared: PortRegistry | null = null;

/** The registry of this process: the folders `ports` in the user's runtime folder and in /tmp. */
export function sharedRegistry(): PortRegistry {
  if (shared === null) {
    const registry = new PortRegistry(defaultFolders());
    process.once("exit", () => registry.close());
    shared = registry;
  }
  return shared;
}

/** The user id that this process has, or will have. */
function ownUid(): number | undefined {
  return fileOwner()?.uid ?? process.getuid?.();
}

function defaultFolders(): string[] {
  const uid = ownUid();
  // Windows has no user ids: there each process knows its own ports only.
  if (uid === undefined) return [];
  const base = fileOwner() === null ? process.env.XDG_RUNTIME_DIR : `/run/user/${uid}`;
  const own = base !== undefined && path.isAbsolute(base) && exists(base);
  const folders = [`/tmp/tslirp-${uid}`];
  if (own) folders.unshift(path.join(base, "tslirp"));
  return folders.map((folder) => path.join(folder, "ports"));
}

/** Whether a file exists. Where Node's permission model refuses the question, it counts as missing. */
function exists(file: string): boolean {
  try {
    return fs.existsSync(file);
  } catch {
    return false;
  }
}

/** Makes the folder, and the one that it is in. False when another user's is in its place: nothing is made inside of that. */
function make(folder: string): boolean {
  for (const each of [path.dirname(folder), folder]) {
    // Not `recursive`: below /proc, where nothing can be made, Node's loop never ends.
    try {
      fs.mkdirSync(each, { mode: 0o700 });
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
    }
    if (!isOurs(each)) return false;
  }
  return true;
}

/** Whether a folder belongs to this user alone: in /tmp anybody may have made it. */
function isOurs(folder: string): boolean {
  const stat = fs.lstatSync(folder);
  return stat.isDirectory() && stat.uid === ownUid() && (stat.mode & 0o077) === 0;
}

function lives(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EPERM";
  }
}

/** The process that a file is of; null for a file of another kind. */
function pidOf(name: string): number | null {
  const digits = /^([1-9]\d{0,9})\.ports(\.new)?$/.exec(name)?.[1];
  return digits === undefined ? null : Number(digits);
}

/** When the process began, as its kernel counts; null where that cannot be told (no Linux, or a process that is gone). */
function startOf(pid: number): string | null {
  try {
    const stat = fs.readFileSync(`/proc/${pid}/stat`, "latin1");
    // proc(5): the 22nd field. The second, the program's name, may have any character in it.
    return stat.slice(stat.lastIndexOf(")") + 2).split(" ")[19] ?? null;
  } catch {
    return null;
  }
}
