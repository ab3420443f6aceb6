/** The file that `learn` writes: a little after each change, in its place at once (a new file, renamed), for its owner alone. */
import { lstat, rename, rm, writeFile } from "node:fs/promises";
import { type AllowedFlow, LearnedRules } from "../control/learned-rules.ts";
import type { Limits } from "../core/limits.ts";

/** Another rule, and more of the same. */
const SOON_MS = 500;
const LATER_MS = 10_000;
const OWNER_ONLY = 0o600;

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

  /** Writes it for the first time. Rejects with an `Error` of one line when it cannot be. */
  async open(): Promise<void> {
    try {
      await this.#write();
    } catch (error) {
      throw new Error(`cannot write what is learned to ${this.#file}: ${(error as Error).message}`);
    }
  }

  allowed(flow: AllowedFlow): void {
    this.#soon(this.#rules.add(flow) ? SOON_MS : LATER_MS);
  }

  /** Writes it for the last time. */
  async close(): Promise<void> {
    if (this.#timer === null) return this.#writing;
    this.#stop();
    this.#save();
    await this.#writing;
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

  /** One write after the other; a disk that does not keep up gets the latest. */
  #save(): void {
    this.#writing = this.#writing.then(async () => {
      try {
        await this.#write();
      } catch (error) {
        if (!this.#told) this.#events.failed(`what is learned is not in ${this.#file}: ${(error as Error).message}`);
        this.#told = true;
      }
    });
  }

  async #write(): Promise<void> {
    const next = `${this.#file}.${process.pid}.new`;
    const there = await lstat(this.#file).catch(() => null);
    if (there !== null && !there.isFile()) throw new Error("expected a file, not a link, a device or a pipe");
    await rm(next, { force: true });
    try {
      // A new file, never through a link that somebody has put there.
      await writeFile(next, this.#rules.text(this.#given()), { mode: OWNER_ONLY, flag: "wx" });
      await rename(next, this.#file);
    } catch (error) {
      await rm(next, { force: true }).catch(() => {});
      throw error;
    }
  }
}
