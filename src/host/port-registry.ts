/**
 * Ports that processes of this user hold for their owner, so that no guest of one reaches another's: its SOCKS server
 * needs no password, and a cable that listens takes whoever comes.
 *
 * Theory of operation. Each process that holds ports leaves them in a file of its own, named by its number, in the user's
 * runtime folder and in `/tmp/tslirp-UID`, since one process may have been told another runtime folder than the next
 * (a service has XDG_RUNTIME_DIR, cron has none), and takes that away with its last port. A file whose process is gone counts no more, and is removed by
 * whoever comes upon it. What the others hold is read when a guest dials an address of this machine, once a second at
 * the most. Where there is no such folder, or it is not this user's alone, everybody knows their own ports only. With
 * `--user` nothing is written before root's rights are gone: root would follow what that user has put in the folder.
 */
import fs from "node:fs";
import path from "node:path";
import { fileOwner } from "./ownership.ts";

/** How long what others hold is trusted. */
const FRESH_MILLIS = 1000;
/** A file is a few numbers; what is longer is none of ours. */
const MOST_BYTES = 65_536;
const MOST_FILES = 1_024;

export class PortRegistry {
  readonly #folders: readonly string[];
  readonly #pid: number;
  /** How often each port is held here. */
  readonly #own: Map<number, number> = new Map();
  #others: ReadonlySet<number> = new Set();
  #readAt: number = Number.NEGATIVE_INFINITY;

  /** `folders` are made when a port is held, each within a folder that is this user's alone, made likewise. */
  constructor(folders: readonly string[], pid: number = process.pid) {
    this.#folders = folders;
    this.#pid = pid;
  }

  /** From now on others know the port. Returns what ends that, once. */
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

  /** Whether the port is held here, by any network of this process, or by another process of this user. */
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

  /** Writes what is held; done with each change, and due once when the process has become another user. */
  publish(): void {
    if (process.getuid?.() !== ownUid()) return;
    for (const folder of this.#folders) this.#publish(folder);
  }

  #publish(folder: string): void {
    const file = path.join(folder, `${this.#pid}.ports`);
    try {
      if (this.#own.size === 0) return fs.rmSync(file, { force: true });
      // In somebody else's folder nothing is made.
      for (const each of [path.dirname(folder), folder]) {
        fs.mkdirSync(each, { mode: 0o700, recursive: true });
        if (!isOurs(each)) return;
      }
      fs.writeFileSync(`${file}.new`, [...this.#own.keys()].join("\n"), { mode: 0o600 });
      fs.renameSync(`${file}.new`, file);
    } catch {
      // The folder may not be writable to this process (Node's permission model, --user): then nobody else knows.
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
      // No folder: no others. A file that has gone meanwhile: as good as none.
    }
  }
}

let shared: PortRegistry | null = null;

/** The one of this process: the folders `ports` within the user's runtime folder and in /tmp. */
export function sharedRegistry(): PortRegistry {
  shared ??= new PortRegistry(defaultFolders());
  return shared;
}

/** Who this process is, or becomes. */
function ownUid(): number | undefined {
  return fileOwner()?.uid ?? process.getuid?.();
}

function defaultFolders(): string[] {
  const uid = ownUid();
  // Windows has no such numbers: there everybody knows their own ports only.
  if (uid === undefined) return [];
  const base = fileOwner() === null ? process.env.XDG_RUNTIME_DIR : `/run/user/${uid}`;
  const own = base !== undefined && path.isAbsolute(base) && exists(base);
  const folders = [`/tmp/tslirp-${uid}`];
  if (own) folders.unshift(path.join(base, "tslirp"));
  return folders.map((folder) => path.join(folder, "ports"));
}

/** Under Node's permission model even asking may be refused: what cannot be seen is not there. */
function exists(file: string): boolean {
  try {
    return fs.existsSync(file);
  } catch {
    return false;
  }
}

/** Whether a folder is this user's alone: in /tmp anybody may have made it. */
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
