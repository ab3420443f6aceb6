/**
 * Ports that processes of this user hold for their owner, so that no guest of one process reaches another's ports: its
 * SOCKS server needs no password, and a cable that listens accepts everybody.
 *
 * Theory of operation. Each process that holds ports writes them to a file of its own, named by its process id, in the
 * user's runtime folder and in `/tmp/tslirp-UID` (two processes may have different runtime folders: a service has
 * XDG_RUNTIME_DIR, cron has none). It removes the file with its last port. A file whose process has ended does not
 * count, and is removed by the next process that reads it. The others' files are read when a guest dials an address of
 * this machine, at most once a second. Where the folder is missing, or is not this user's alone, each process knows its
 * own ports only. With `--user` nothing is written before root's rights are gone, because root would follow links that
 * the user has put in the folder.
 */
import fs from "node:fs";
import path from "node:path";
import { fileOwner } from "./ownership.ts";

/** How many milliseconds the others' ports are trusted. */
const FRESH_MILLIS = 1000;
/** The files contain a few numbers; a longer file is not ours. */
const MOST_BYTES = 65_536;
const MOST_FILES = 1_024;

export class PortRegistry {
  readonly #folders: readonly string[];
  readonly #pid: number;
  /** How often this process holds each port. */
  readonly #own: Map<number, number> = new Map();
  #others: ReadonlySet<number> = new Set();
  #readAt: number = Number.NEGATIVE_INFINITY;

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

  /** Whether any network of this process, or another process of this user, holds the port. */
  has(port: number): boolean {
    if (this.#own.has(port)) return true;
    const now = performance.now();
    if (now - this.#readAt > FRESH_MILLIS) {
      this.#readAt = now;
      const found = new Set<number>();
      for (const folder of this.#folders) this.#read(folder, found);
      this.#others = found;
    }
    return this.#others.has(port);
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
      // Nothing is made in another user's folder.
      for (const each of [path.dirname(folder), folder]) {
        fs.mkdirSync(each, { mode: 0o700, recursive: true });
        if (!isOurs(each)) return;
      }
      fs.writeFileSync(`${file}.new`, [...this.#own.keys()].join("\n"), { mode: 0o600 });
      fs.renameSync(`${file}.new`, file);
    } catch {
      // The process may not write to the folder (Node's permission model, --user): the others do not learn the ports.
    }
  }

  #read(folder: string, found: Set<number>): void {
    try {
      if (![path.dirname(folder), folder].every(isOurs)) return;
      for (const name of fs.readdirSync(folder).slice(0, MOST_FILES)) {
        const pid = Number(/^([1-9]\d{0,9})\.ports$/.exec(name)?.[1] ?? this.#pid);
        if (pid === this.#pid) continue;
        const file = path.join(folder, name);
        if (!lives(pid)) fs.rmSync(file, { force: true });
        else if (fs.lstatSync(file).isFile() && fs.statSync(file).size <= MOST_BYTES)
          for (const line of fs.readFileSync(file, "utf8").split("\n")) found.add(Number(line));
      }
    } catch {
      // Without a folder there are no others, and a file that has gone meanwhile counts as none.
    }
  }
}

let shared: PortRegistry | null = null;

/** The registry of this process: the folders `ports` in the user's runtime folder and in /tmp. */
export function sharedRegistry(): PortRegistry {
  shared ??= new PortRegistry(defaultFolders());
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
