/** Logs, always to stderr: lines for people, or JSON for machines. */
import { createRequire } from "node:module";
import type { DestinationStream, Logger as Pino } from "pino";
import { asciiJson } from "./ascii-json.ts";
import { LOG_LEVELS, type LogLevel } from "./log-levels.ts";
import { standardError } from "./standard-error.ts";

type LogMethod = {
  (words: string): void;
  (fields: object, words: string): void;
};

/** The parts of pino's that are used. */
export interface Logger extends Readonly<Record<Exclude<LogLevel, "silent">, LogMethod>> {
  isLevelEnabled(level: LogLevel): boolean;
  /** The same log, whose lines all have these fields. */
  child(fields: object): Logger;
}

export interface LogOptions {
  readonly level: LogLevel;
  readonly json: boolean;
  /** Where lines go: standard error. */
  readonly destination?: DestinationStream;
}

/** Lines of a kind in a second; of those for whoever looks closely (debug, trace), which may be many. */
const OF_A_KIND = 20;
const OF_A_KIND_CLOSELY = 200;
/** Lines of all kinds in a second, and kinds that are told apart. */
const IN_ALL = 500;
const KINDS = 100;
/** The line that tells how many were left out, in both forms. */
const LEFT_OUT = "lines left out";
const COUNT = new RegExp(`"count":(\\d+),"msg":"${LEFT_OUT}"|${LEFT_OUT} count=(\\d+)`, "g");

/** What reads the time of a start has passed by then. */
const LOAD_MILLIS = 200;

/**
 * Writes never wait: a reader that is slow, or stuck, may not hold up the network. The last words of a process that fails
 * are written as it exits. Guests cause most lines, so each kind has its limit, and what is left out is counted.
 *
 * pino is loaded at the first line, or soon after the start: later, guests may have used up the descriptors that reading it
 * takes. A log that says nothing does without.
 */
export function createLog(options: LogOptions): Logger {
  let made: Pino | null = null;
  const log = (): Pino => (made ??= createPino(options));
  if (options.level !== "silent") setTimeout(log, LOAD_MILLIS).unref();
  return lazily(log, LOG_LEVELS.indexOf(options.level));
}

/** `loudest` is the last level, as an index of `LOG_LEVELS`, that is written. */
function lazily(log: () => Pino, loudest: number): Logger {
  const isLevelEnabled = (level: LogLevel): boolean => LOG_LEVELS.indexOf(level) <= loudest;
  const method =
    (level: Exclude<LogLevel, "silent">): LogMethod =>
    (first: object | string, words?: string) => {
      if (isLevelEnabled(level)) log()[level](first, words);
    };
  return {
    error: method("error"),
    warn: method("warn"),
    info: method("info"),
    debug: method("debug"),
    trace: method("trace"),
    isLevelEnabled,
    child(fields) {
      let made: Pino | null = null;
      return lazily(() => (made ??= log().child(fields)), loudest);
    },
  };
}

let loaded: typeof import("pino") | null = null;

function pino(): typeof import("pino") {
  return (loaded ??= createRequire(import.meta.url)("pino") as typeof import("pino"));
}

function createPino(options: LogOptions): Pino {
  const limit = new LineLimit((count) => log.warn({ count }, LEFT_OUT));
  const out = options.destination ?? counted(limit);
  const write = options.json
    ? (line: string) => out.write(asciiJson(line))
    : (line: string) => out.write(readable(line));
  const log: Pino = pino()(
    {
      level: options.level,
      base: null,
      hooks: {
        logMethod(args, method, level) {
          const words = args.find((each) => typeof each === "string");
          if (limit.passes(words ?? "", level)) method.apply(this, args);
        },
      },
    },
    { write },
  );
  return log;
}

/** Standard error; what it does not take is counted. */
function counted(limit: LineLimit): DestinationStream {
  standardError.onLeftOut = (text) => {
    const { length } = text.split("\n");
    // A count of lines left out that is left out itself stands for as many.
    const counts = [...text.matchAll(COUNT)].map((found) => Number(found[1] ?? found[2]));
    limit.leftOut(length - 1 - counts.length + counts.reduce((sum, count) => sum + count, 0));
  };
  return standardError;
}

/** Counts lines by their kind, which is their first word: "lease bound" and "lease released" are one. */
class LineLimit {
  readonly #tell: (count: number) => void;
  readonly #kinds: Map<string, number> = new Map();
  #second = 0;
  #all = 0;
  #leftOut = 0;
  #timer: NodeJS.Timeout | null = null;

  /** `tell` is told, a second later, how many lines were left out. */
  constructor(tell: (count: number) => void) {
    this.#tell = tell;
  }

  passes(words: string, level: number): boolean {
    const second = Math.floor(performance.now() / 1000);
    if (second !== this.#second) {
      this.#second = second;
      this.#all = 0;
      this.#kinds.clear();
    }
    const first = words.split(" ", 1)[0]!;
    // One for each forward, said once, at the start.
    if (first === "forward") return true;
    const kind = this.#kinds.has(first) || this.#kinds.size < KINDS ? first : "";
    const count = (this.#kinds.get(kind) ?? 0) + 1;
    this.#kinds.set(kind, count);
    const passes = count <= (level < 30 ? OF_A_KIND_CLOSELY : OF_A_KIND) && ++this.#all <= IN_ALL;
    if (!passes) this.leftOut();
    return passes;
  }

  leftOut(lines = 1): void {
    this.#leftOut += lines;
    this.#timer ??= setTimeout(() => {
      const count = this.#leftOut;
      this.#timer = null;
      this.#leftOut = 0;
      this.#tell(count);
    }, 1000).unref();
  }
}

/** One JSON line of pino's as `12:34:56.789 info  lease bound ip=10.0.2.15 mac=52:54:…`. */
export function readable(line: string): string {
  const { level, time, msg, ...rest } = JSON.parse(line) as Record<string, unknown>;
  const clock = new Date(Number(time)).toISOString().slice(11, 23);
  const label = pino().levels.labels[Number(level)] ?? String(level);
  const fields = Object.entries(rest).map(([key, value]) => ` ${key}=${plain(value)}`);
  return `${clock} ${label.padEnd(5)} ${plain(msg, true)}${fields.join("")}\n`;
}

/** A guest chooses some of these strings: nothing in them may end the line or speak to a terminal. */
function plain(value: unknown, words = false): string {
  if (typeof value !== "string") return JSON.stringify(value) ?? "";
  // Our own messages have an ellipsis in them.
  const text = value.replaceAll("…", "...");
  return (words ? /^[ -~]*$/ : /^[!#-~]+$/).test(text) ? text : JSON.stringify(text).replace(/[^ -~]/g, "?");
}
