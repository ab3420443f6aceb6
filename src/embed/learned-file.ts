/**
 * Writes the file of `learn` shortly after each change. Each time a new file replaces it at once, readable by its owner
 * only.
 *
 * The file belongs to one run at a time: with two, one's rules would be lost. The current file is open and locked
 * (flock) for as long as this run lasts. A new file is locked before it replaces the old one, and only then is the old
 * one closed. If a run gets the lock of a file that has been replaced meanwhile, it opens the next one.
 */
import { constants } from "node:fs";
import { type FileHandle, lstat, open, rename, rm } from "node:fs/promises";
import { type AllowedFlow, LEARNED_HEADER, LearnedRules } from "../control/learned-rules.ts";
import type { Limits } from "../core/limits.ts";
import { lockFile } from "../host/file-lock.ts";
import { reasonOf } from "../host/reason.ts";

/** Milliseconds to wait for further rules after a first one. */
const SOON_MS = 500;
const LATER_MS = 10_000;
const OWNER_ONLY = 0o600;
/** The file may be replaced between its opening and its lock, once for each time that another run writes. */
const MOST_TRIES = 10;
const ONE_WRITER = "expected a file that no other run writes";
const NO_FILE = "expected a file, not a link, a device or a pipe";
const NOT_LEARNED = "expected a new file, or one that --learn has made: it is written anew";

export interface LearnedFileEvents {
  /** There was no room for a rule. */
  readonly full: () => void;
  /** The file could not be written; a line for its user. */
  readonly failed: (line: string) => void;
}

export class LearnedFile {
  readonly #file: string;
  readonly #rules: LearnedRules;
  readonly #given: () => readonly string[];
  readonly #events: LearnedFileEvents;
  #timer: NodeJS.Timeout | null = null;
  #due = Number.POSITIVE_INFINITY;
  #writing: Promise<void> = Promise.resolve();
  #told = false;
  /** The current file, locked. */
  #held: FileHandle | null = null;

  /** `given` are the user's rules in force. */
  constructor(
    file: string,
    { learnedRules, learnedRulesPerGuest }: Limits,
    given: () => readonly string[],
    events: LearnedFileEvents,
  ) {
    this.#file = file;
    this.#given = given;
    this.#events = events;
    this.#rules = new LearnedRules(learnedRules, learnedRulesPerGuest, events.full);
  }

  /** Writes the file for the first time. Rejects with an `Error` of one line when it cannot be written. */
  async open(): Promise<void> {
    try {
      this.#held = await this.#take();
      await this.#write();
    } catch (error) {
      await this.#release();
      throw new Error(`cannot write the rules learned to ${this.#file}: ${reasonOf(error)}`);
    }
  }

  allowed(flow: AllowedFlow): void {
    this.#soon(this.#rules.add(flow) ? SOON_MS : LATER_MS);
  }

  /** Writes it for the last time. */
  async close(): Promise<void> {
    if (this.#timer !== null) await this.save();
    await this.#writing;
    await this.#release();
  }

  /** Writes it now. */
  save(): Promise<void> {
    this.#stop();
    this.#save();
    return this.#writing;
  }

  #soon(wait: number): void {
    const due = performance.now() + wait;
    if (due >= this.#due) return;
    this.#stop();
    this.#due = due;
    this.#timer = setTimeout(() => {
      this.#stop();
      this.#save();
    }, wait).unref();
  }

  #stop(): void {
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
    this.#due = Number.POSITIVE_INFINITY;
  }

  /** Writes are done one after the other; a slow disk gets the latest content only. */
  #save(): void {
    this.#writing = this.#writing.then(async () => {
      try {
        await this.#write();
      } catch (error) {
        if (!this.#told) this.#events.failed(`the rules learned are not in ${this.#file}: ${reasonOf(error)}`);
        this.#told = true;
      }
    });
  }

  /** The existing file, or a new one, locked. */
  async #take(): Promise<FileHandle> {
    const { O_CREAT, O_NOFOLLOW = 0, O_NONBLOCK = 0, O_RDWR } = constants;
    for (let tries = 0; tries < MOST_TRIES; tries++) {
      await this.#checkKind();
      const handle = await open(this.#file, O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK, OWNER_ONLY);
      try {
        if (!lockFile(handle.fd)) throw new Error(ONE_WRITER);
        const [mine, there] = [await handle.stat(), await lstat(this.#file).catch(() => null)];
        if (mine.isFile() && there?.ino === mine.ino && there.dev === mine.dev) {
          const head = new Uint8Array(LEARNED_HEADER.length);
          const { bytesRead } = await handle.read(head, 0, head.length, 0);
          const text = new TextDecoder("latin1").decode(head.subarray(0, bytesRead));
          if (mine.size > 0 && text !== LEARNED_HEADER) throw new Error(NOT_LEARNED);
          return handle;
        }
      } catch (error) {
        await handle.close();
        throw error;
      }
      await handle.close();
    }
    throw new Error(ONE_WRITER);
  }

  async #checkKind(): Promise<void> {
    const there = await lstat(this.#file).catch(() => null);
    if (there !== null && !there.isFile()) throw new Error(NO_FILE);
  }

  async #release(): Promise<void> {
    const held = this.#held;
    this.#held = null;
    await held?.close().catch(() => {});
  }

  async #write(): Promise<void> {
    const next = `${this.#file}.${process.pid}.new`;
    await this.#checkKind();
    await rm(next, { force: true });
    // Makes a new file, and never follows a link that somebody has put there.
    const handle = await open(next, "wx", OWNER_ONLY);
    try {
      lockFile(handle.fd);
      await handle.writeFile(this.#rules.text(this.#given()));
      await rename(next, this.#file);
    } catch (error) {
      await handle.close().catch(() => {});
      await rm(next, { force: true }).catch(() => {});
      throw error;
    }
    await this.#release();
    this.#held = handle;
  }
}
