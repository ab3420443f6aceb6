/** Logs, always to stderr: lines for people, or JSON for machines. */
import pino, { type DestinationStream, type Logger } from "pino";
import type { LogLevel } from "./log-levels.ts";

export type { Logger };

export interface LogOptions {
  readonly level: LogLevel;
  readonly json: boolean;
  /** Where lines go: standard error. */
  readonly destination?: DestinationStream;
}

/** Writes are synchronous, so that the last words of a failing process are not lost. */
export function createLog(options: LogOptions): Logger {
  const out = options.destination ?? pino.destination({ dest: 2, sync: true });
  const settings = { level: options.level, base: null };
  return options.json ? pino(settings, out) : pino(settings, { write: (line) => out.write(readable(line)) });
}

/** One JSON line of pino's as `12:34:56.789 info  lease bound ip=10.0.2.15 mac=52:54:…`. */
export function readable(line: string): string {
  const { level, time, msg, ...rest } = JSON.parse(line) as Record<string, unknown>;
  const clock = new Date(Number(time)).toISOString().slice(11, 23);
  const label = pino.levels.labels[Number(level)] ?? String(level);
  const fields = Object.entries(rest).map(([key, value]) => ` ${key}=${plain(value)}`);
  return `${clock} ${label.padEnd(5)} ${plain(msg, true)}${fields.join("")}\n`;
}

/** A guest chooses some of these strings: nothing in them may end the line or speak to a terminal. */
function plain(value: unknown, words = false): string {
  if (typeof value !== "string") return JSON.stringify(value) ?? "";
  return (words ? /^[ -~]*$/ : /^[!#-~]+$/).test(value) ? value : JSON.stringify(value).replace(/[^ -~]/g, "?");
}
