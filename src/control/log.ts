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

/** The parts of pino's logger that are used. */
export interface Logger extends Readonly<Record<Exclude<LogLevel, "silent">, LogMethod>> {
  isLevelEnabled(level: LogLevel): boolean;
  /** A logger whose lines all have these fields. */
  child(fields: object): Logger;
}

export interface LogOptions {
  readonly level: LogLevel;
  readonly json: boolean;
  /** Where lines go (standard error). */
  readonly destination?: DestinationStream;
}

/** How many lines of one kind are written in a second: from info up, and for debug and trace. */
const OF_A_KIND = 20;
const OF_A_KIND_CLOSELY = 200;
/** How many lines of all kinds are written in a second, and how many kinds have a count of their own. */
const IN_ALL = 500;
const KINDS = 100;
/** The message of the line that tells how many lines were left out, and that line in both forms. */
const LEFT_OUT = "lines left out";
const COUNT = new RegExp(`"count":(\\d+),"msg":"${LEFT_OUT}"|${LEFT_OUT} count=(\\d+)`, "g");

/** Milliseconds after the start until pino is loaded at the latest, so that loading it does not delay the start. */
const LOAD_MILLIS = 200;

/**
 * Makes a log. Writes never wait: a slow or stuck reader does not hold up the network. The last words of a process
 * that fails are written as it exits. Guests cause most lines, so each kind of line has a limit, and lines left out
 * are counted.
 *
 * pino is loaded at the first line, or soon after the start. Later, guests may have used up the descriptors that
 * loading it takes. A silent log never loads it.
 */
export function createLog(options: LogOptions): Logger {
  let made: Pino | null = null;
  const log = (): Pino => (made ??= createPino(options));
  if (options.level !== "silent") setTimeout(log, LOAD_MILLIS).unref();
  return lazily(log, LOG_LEVELS.indexOf(options.level));
}

/** `loudest` is the index in `LOG_LEVELS` of the last level that is written. */
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

/** Standard error, with a count of the lines that it does not take. */
function counted(limit: LineLimit): DestinationStream {
  standardError.onLeftOut = (text) => {
    const { length } = text.split("\n");
    // If a line with a count of lines left out is left out itself, its count is added.
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

  /** `tell` is called a second later with the number of lines left out. */
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
    // There is one such line for each forward, at the start.
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

/** Writes a JSON line of pino's as `12:34:56.789 info  lease bound ip=10.0.2.15 mac=52:54:…`. */
export function readable(line: string): string {
  const { level, time, msg, ...rest } = JSON.parse(line) as Record<string, unknown>;
  const clock = new Date(Number(time)).toISOString().slice(11, 23);
  const label = pino().levels.labels[Number(level)] ?? String(level);
  const fields = Object.entries(rest).map(([key, value]) => ` ${key}=${plain(value)}`);
  return `${clock} ${label.padEnd(5)} ${plain(msg, true)}${fields.join("")}\n`;
}

/** Guests choose some of these strings: nothing in them may end the line or control a terminal. */
function plain(value: unknown, words = false): string {
  if (typeof value !== "string") return JSON.stringify(value) ?? "";
  // Our own messages contain ellipses.
  const text = value.replaceAll("…", "...");
  return (words ? /^[ -~]*$/ : /^[!#-~]+$/).test(text) ? text : JSON.stringify(text).replace(/[^ -~]/g, "?");
}
