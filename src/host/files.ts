/** One folder's files for guests to read: Node's `FileSource`. */
import { constants } from "node:fs";
import { type FileHandle, open, readlink, realpath, stat } from "node:fs/promises";
import path from "node:path";
import type { FileRefusal, FileSource, OpenFile } from "../core/files.ts";

/** The open returns at once even if the file is a FIFO, and a terminal does not become the process's own. */
const FLAGS: number = constants.O_RDONLY | (constants.O_NONBLOCK ?? 0) | (constants.O_NOCTTY ?? 0);
const MISSING: ReadonlySet<string> = new Set(["ENOENT", "ENOTDIR", "ENAMETOOLONG", "ELOOP", "EINVAL"]);

/**
 * The file that a name leads to decides whether it may be read, not how the name is written: symbolic links may lead
 * anywhere within the folder, and nowhere else. The path is checked before it is opened, because opening a device can
 * already have effects. The open file is checked again, because a link may have changed in between.
 */
export class NodeFiles implements FileSource {
  readonly #root: string;

  /** `root` is looked up anew each time, so the folder may be replaced while the network runs. */
  constructor(root: string) {
    this.#root = root;
  }

  open(name: string, onOpen: (result: OpenFile | FileRefusal) => void): void {
    void openWithin(this.#root, name).then(onOpen);
  }
}

async function openWithin(rootPath: string, name: string): Promise<OpenFile | FileRefusal> {
  let file: FileHandle | null = null;
  try {
    const root = await realpath(rootPath);
    const wanted = await realpath(path.join(root, name));
    if (!isWithin(root, wanted) || !(await stat(wanted)).isFile()) return "refused";
    file = await open(wanted, FLAGS);
    const stats = await file.stat();
    if (stats.isFile() && isWithin(root, await openedPath(file, wanted))) {
      const opened = new NodeFile(file, stats.size);
      file = null;
      return opened;
    }
    return "refused";
  } catch (error) {
    return MISSING.has((error as NodeJS.ErrnoException).code ?? "") ? "missing" : "refused";
  } finally {
    await file?.close();
  }
}

function isWithin(root: string, file: string): boolean {
  const relative = path.relative(root, file);
  return relative !== "" && relative.split(path.sep)[0] !== ".." && !path.isAbsolute(relative);
}

/**
 * The path of an open file. Linux tells it; elsewhere it is where the file's name leads now, provided that it leads to
 * the same file. Rejects when that cannot be told.
 */
async function openedPath(file: FileHandle, name: string): Promise<string> {
  if (process.platform === "linux") return readlink(`/proc/self/fd/${file.fd}`);
  const now = await realpath(name);
  const [opened, there] = await Promise.all([file.stat({ bigint: true }), stat(now, { bigint: true })]);
  if (opened.ino !== there.ino || opened.dev !== there.dev) throw new Error("the file was moved");
  return now;
}

class NodeFile implements OpenFile {
  readonly size: number;
  readonly #file: FileHandle;

  constructor(file: FileHandle, size: number) {
    this.#file = file;
    this.size = size;
  }

  read(at: number, into: Uint8Array, onRead: (bytes: number) => void): void {
    void readAll(this.#file, at, into).then(onRead, () => onRead(-1));
  }

  /** Node closes the file when the reads under way have ended. */
  close(): void {
    void this.#file.close().catch(() => {});
  }
}

async function readAll(file: FileHandle, at: number, into: Uint8Array): Promise<number> {
  let done = 0;
  while (done < into.length) {
    const { bytesRead } = await file.read(into, done, into.length - done, at + done);
    if (bytesRead === 0) break;
    done += bytesRead;
  }
  return done;
}
