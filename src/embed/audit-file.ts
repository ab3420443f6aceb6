/**
 * The audit: a line of JSON for each refusal and, if wanted, each allowed flow. Only ASCII is written, so that no text
 * of a guest's ends a line or controls a terminal.
 *
 * The network never waits for the disk. Lines wait in memory, as many as `auditBytes` has room for, and one write is
 * under way at a time. Lines without room are counted, and a later line tells how many they were. Lines
 * that a full disk does not take go on waiting, and are tried again; a line that it takes in part is taken back. A file that has
 * reached its size becomes FILE.1, that one FILE.2, and so on; the oldest is removed.
 */
import { constants } from "node:fs";
import { type FileHandle, open, rename, rm } from "node:fs/promises";
import { asciiJson } from "../control/ascii-json.ts";
import type { ResolvedAudit } from "../control/options/audit-options.ts";
import type { TraceEvent } from "../core/trace.ts";
import { reasonOf } from "../host/reason.ts";
import type { Refusal } from "./network-events.ts";

const OWNER_ONLY = 0o600;
/** Milliseconds after which a file that could not be written is tried again. */
const AGAIN_MILLIS = 1_000;

export interface AuditFileEvents {
  /** There was no room for a line. */
  readonly full: () => void;
  /** The file could not be written; a line for its user. */
  readonly failed: (line: string) => void;
}

type Audited = ({ type: "flow-refused" } & Refusal) | Extract<TraceEvent, { type: "flow-allowed" }>;

export class AuditFile {
  readonly #options: ResolvedAudit;
  readonly #most: number;
  readonly #events: AuditFileEvents;
  #waiting: string[] = [];
  #bytes = 0;
  #lost = 0;
  /** The size of the current file; -1 when not known. */
  #size = -1;
  #writing: Promise<void> | null = null;
  #told = false;
  /** Until the file is tried again. */
  #again: NodeJS.Timeout | null = null;

  /** At most `most` bytes wait for the disk. */
  constructor(options: ResolvedAudit, most: number, events: AuditFileEvents) {
    this.#options = options;
    this.#most = most;
    this.#events = events;
  }

  /** Makes the file, if there is none. Rejects with an `Error` of one line when it cannot be written. */
  async open(): Promise<void> {
    try {
      await this.#append("", true);
    } catch (error) {
      throw new Error(`cannot write the audit to ${this.#options.file}: ${reasonOf(error)}`);
    }
  }

  add(event: Audited): void {
    if (event.type === "flow-allowed" && !this.#options.allowed) return;
    const { type, ...rest } = event;
    const line = { time: new Date().toISOString(), verdict: type === "flow-refused" ? "refused" : "allowed", ...rest };
    const text = `${asciiJson(JSON.stringify(line))}\n`;
    if (this.#bytes + text.length > this.#most) {
      this.#lost++;
      this.#events.full();
      return;
    }
    this.#waiting.push(text);
    this.#bytes += text.length;
    if (this.#again === null) this.#writing ??= this.#write();
  }

  /** The next line opens the path anew: a program such as logrotate may have moved the file. */
  reopen(): void {
    this.#size = -1;
  }

  /** Resolves when all waiting lines are written, or cannot be. */
  async close(): Promise<void> {
    if (this.#again !== null) {
      clearTimeout(this.#again);
      this.#writing = this.#write();
    }
    while (this.#writing !== null) await this.#writing;
    if (this.#again === null) return;
    clearTimeout(this.#again);
    const left =
      this.#lost +
      this.#waiting
        .join("")
        .trim()
        .split("\n")
        .reduce((sum, line) => sum + refusalsIn(line), 0);
    this.#events.failed(`the last lines of the audit (${left}) are lost: ${this.#options.file} could not be written`);
  }

  async #write(): Promise<void> {
    this.#again = null;
    // Lines of one turn are written together.
    await new Promise((resolve) => setImmediate(resolve));
    while (this.#waiting.length > 0 && this.#again === null) {
      const lines = this.#waiting;
      const lost = this.#lost;
      this.#waiting = [];
      this.#lost = 0;
      if (lost > 0) lines.push(`${JSON.stringify({ time: new Date().toISOString(), verdict: "lost", count: lost })}\n`);
      const text = lines.join("");
      const taken = await this.#append(text).catch((error) => this.#failed(error));
      if (taken < text.length) this.#waiting.unshift(text.slice(taken));
      // Lines that are being written keep the room that they took while they waited.
      this.#bytes = this.#waiting.reduce((sum, each) => sum + each.length, 0);
    }
    this.#writing = null;
  }

  #failed(error: unknown): 0 {
    this.#size = -1;
    if (!this.#told) this.#events.failed(`the audit is not in ${this.#options.file}: ${reasonOf(error)}`);
    this.#told = true;
    this.#again = setTimeout(() => {
      this.#writing = this.#write();
    }, AGAIN_MILLIS).unref();
    return 0;
  }

  /**
   * Appends lines. Resolves with how many characters of them are in the file, which end with a line: a disk that becomes full
   * takes a part. `begins`: a line that somebody has not ended (a process that was killed) is ended first.
   */
  async #append(text: string, begins = false): Promise<number> {
    const { file, rotateBytes } = this.#options;
    if (this.#size > 0 && this.#size + text.length > rotateBytes) await this.#rotate();
    const { O_APPEND, O_CREAT, O_NONBLOCK = 0, O_RDWR, O_WRONLY } = constants;
    // Open without blocking: an open that waits for a pipe's reader could not be cancelled.
    const handle = await open(file, O_APPEND | O_CREAT | O_NONBLOCK | (begins ? O_RDWR : O_WRONLY), OWNER_ONLY);
    try {
      const stats = await handle.stat();
      if (!stats.isFile()) throw new Error("expected a file, not a device or a pipe");
      // Change the mode of the open file: the path may lead to another file by now.
      if (this.#size < 0) await handle.chmod(OWNER_ONLY);
      if (begins && !(await endsLine(handle, stats.size))) text = `\n${text}`;
      const { bytesWritten } = text === "" ? { bytesWritten: 0 } : await handle.write(text);
      if (bytesWritten === text.length) this.#told = false;
      const whole = bytesWritten === text.length ? bytesWritten : text.lastIndexOf("\n", bytesWritten - 1) + 1;
      if (whole < bytesWritten) await handle.truncate(stats.size + whole);
      if (whole === 0 && text !== "") throw Object.assign(new Error("no room"), { code: "ENOSPC", syscall: "write" });
      this.#size = stats.size + whole;
      return whole;
    } finally {
      await handle.close();
    }
  }

  async #rotate(): Promise<void> {
    const { file, keepFiles } = this.#options;
    for (let i = keepFiles; i > 1; i--) await rename(`${file}.${i - 1}`, `${file}.${i}`).catch(absent);
    if (keepFiles > 0) await rename(file, `${file}.1`);
    else await rm(file, { force: true });
    this.#size = 0;
  }
}

function absent(error: NodeJS.ErrnoException): void {
  if (error.code !== "ENOENT") throw error;
}

/** Whether the file is empty, or its last line has an end. */
async function endsLine(handle: FileHandle, size: number): Promise<boolean> {
  if (size === 0) return true;
  const last = new Uint8Array(1);
  await handle.read(last, 0, 1, size - 1);
  return last[0] === 0x0a;
}

/** For how many refusals or flows a line stands. */
function refusalsIn(line: string): number {
  if (line === "") return 0;
  const { verdict, count } = JSON.parse(line) as { verdict: string; count?: number };
  return verdict === "lost" ? count! : 1;
}
