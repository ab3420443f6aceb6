/**
 * `tslirp replay`: runs a recording again and compares the network's output with the recorded one. Exit status: 0
 * when it is the same, 1 when it differs, 2 for a file that is no recording that can be replayed.
 */
import { closeSync, openSync, statSync, writeSync } from "node:fs";
import { CommanderError } from "commander";
import { ConfigError, printable, printableLines } from "../control/errors.ts";
import { version } from "../control/version.ts";
import { reasonOf } from "../host/reason.ts";
import { RecordingError, RecordingReader } from "../record/file.ts";
import type { Header } from "../record/format.ts";
import type { ReplayOptions } from "../record/replay.ts";
import type { FileReplay } from "../record/run.ts";
import { replayRecording } from "../record/run.ts";
import {
  INBOUND,
  interfaceLength,
  OUTBOUND,
  packetLength,
  sectionLength,
  writeInterface,
  writePacket,
  writeSection,
} from "../wire/pcapng.ts";
import { printFrame } from "../wire/print.ts";
import { anonymiseCommand } from "./anonymise.ts";
import { table } from "./ctl/table.ts";
import { minimiseCommand } from "./minimise.ts";
import { say } from "./output.ts";

export interface ReplayArguments {
  readonly until?: string;
  readonly pcap?: string;
  readonly print?: boolean;
  readonly inspect?: boolean;
  readonly minimise?: boolean;
  readonly anonymise?: boolean;
  readonly output?: string;
}

/**
 * Resolves with the exit status: 0 when the network has done the same, 1 when not. Rejects with an error of one line,
 * which has an exit status, too.
 */
export async function replayCommand(file: string, given: ReplayArguments): Promise<number> {
  try {
    return await run(file, given);
  } catch (error) {
    // A script must be able to tell a file that cannot be replayed from a network that behaves differently.
    if (error instanceof RecordingError) throw new CommanderError(2, "tslirp.recording", error.message);
    throw error;
  }
}

async function run(file: string, given: ReplayArguments): Promise<number> {
  const until = readUntil(given.until);
  const { minimise, anonymise } = given;
  if (given.output !== undefined && minimise !== true && anonymise !== true)
    throw new ConfigError("--output", given.output, "expected --minimise or --anonymise beside it, which writes there");
  if (minimise === true && anonymise === true)
    throw new ConfigError("--anonymise", "true", "expected it without --minimise: one after the other");
  if (minimise === true) return minimiseCommand(file, given);
  if (anonymise === true) return anonymiseCommand(file, given);
  if (given.pcap !== undefined && isSameFile(given.pcap, file))
    throw new ConfigError("--pcap", given.pcap, "expected another file than the recording, which would be lost");
  const reader = new RecordingReader(file);
  const frames = given.pcap === undefined ? null : new FrameFile(given.pcap, reader.header);
  const onFrame: ReplayOptions["onFrame"] = (...seen) => {
    frames?.frame(...seen);
    if (given.print === true) say(`${frameText(...seen)}\n`);
  };
  try {
    const result = await replayRecording(reader, { ...until, onFrame });
    say(report(reader.header, result, given.until === undefined ? "No difference." : "No difference up to there."));
    if (given.inspect === true) say(state(result));
    return result.difference === null && result.crash === null ? 0 : 1;
  } finally {
    frames?.close();
  }
}

function isSameFile(a: string, b: string): boolean {
  const [x, y] = [a, b].map((each) => statSync(each, { throwIfNoEntry: false }));
  return x !== undefined && y !== undefined && x.dev === y.dev && x.ino === y.ino;
}

/** Reads `1200`, an entry's number, or `2.5s`, a time. */
function readUntil(text: string | undefined): { untilEntry?: number; untilSeconds?: number } {
  if (text === undefined) return {};
  const [, amount, unit] = /^(\d+(?:\.\d+)?)(s?)$/.exec(text) ?? [];
  const number = Number(amount);
  if (amount === undefined || (unit === "" && !Number.isInteger(number)))
    throw new ConfigError("--until", text, "expected the number of an entry, like 1200, or a time, like 2.5s");
  return unit === "s" ? { untilSeconds: number } : { untilEntry: number };
}

/** A frame in words: `0.125000 memory#1 > IP 10.0.2.15.49152 …`. `>` is a frame from a guest, `<` one to a guest. */
function frameText(cable: string, toGuest: boolean, frame: Uint8Array, seconds: number): string {
  return `${seconds.toFixed(6)} ${printable(cable)} ${toGuest ? "<" : ">"} ${printFrame(frame, 0, frame.length).summary}`;
}

function report(
  header: Header,
  { entries, seconds, difference, crash, flow, broken }: FileReplay,
  same: string,
): string {
  const lines = [
    `Recorded ${header.date} by tslirp ${header.package} on Node ${header.node}${header.payload ? "" : ", without payload"}${header.anonymous ? ", anonymous" : ""}.`,
    `Replayed by tslirp ${version()} on Node ${process.versions.node}: ${entries} entries, ${seconds.toFixed(3)} s.`,
  ];
  if (broken !== null) lines.push(`The file is broken behind that: ${broken}.`);
  if (!header.payload)
    lines.push("Payload was left out: what looks inside it (names in TLS and HTTP) may differ for that alone.");
  if (crash !== null) lines.push(`The network threw: ${crash.stack ?? crash.message}`);
  else if (difference !== null) lines.push(`The first difference: ${difference.message}`);
  else lines.push(same);
  if (flow !== null) lines.push(`The flow there: ${flow.join("\n  ")}`);
  // The file may be a stranger's, and its texts may speak to the terminal.
  return `${lines
    .flatMap((each) => each.split("\n"))
    .map(printable)
    .join("\n")}\n`;
}

/** Flows and leases where the replay stopped. */
function state({ lan }: FileReplay): string {
  const flows = lan.stack.flows().map((flow) => ({ ...flow }) as Readonly<Record<string, string | number>>);
  const leases = lan.stack.leases().map(({ ip, mac, hostname }) => ({ ip, mac, hostname: hostname ?? "" }));
  const gauges = Object.entries(lan.stack.gauges()).map(([name, value]) => ({ name, value }));
  const part = (title: string, rows: readonly Readonly<Record<string, unknown>>[]): string =>
    rows.length === 0
      ? `\n${title}: none\n`
      : `\n${title}\n${table(
          Object.keys(rows[0]!),
          rows.map((row) => Object.values(row).map((value) => textOf(value))),
        )}\n`;
  return printableLines(part("Flows", flows) + part("Leases", leases) + part("Held", gauges));
}

function textOf(value: unknown): string {
  return typeof value === "object" && value !== null ? JSON.stringify(value) : String(value ?? "");
}

/** Writes all frames as pcapng, with an interface for each cable, and with the recorded times. */
class FrameFile {
  readonly #fd: number;
  readonly #file: string;
  readonly #begin: number;
  readonly #interfaces: Map<string, number> = new Map();

  /** Throws an `Error` of one line when the file cannot be written. */
  constructor(file: string, header: Header) {
    this.#file = file;
    this.#fd = this.#able(() => openSync(file, "w"));
    this.#begin = Date.parse(header.date) * 1000;
    const application = Buffer.from(`tslirp ${version()} replay`);
    this.#write(sectionLength(application), (buf) => writeSection(buf, 0, application));
  }

  readonly frame = (cable: string, toGuest: boolean, frame: Uint8Array, seconds: number): void => {
    let number = this.#interfaces.get(cable);
    if (number === undefined) {
      number = this.#interfaces.size;
      this.#interfaces.set(cable, number);
      const name = Buffer.from(cable);
      this.#write(interfaceLength(name), (buf) => writeInterface(buf, 0, name, 0));
    }
    const micros = this.#begin + Math.round(seconds * 1e6);
    const { length } = frame;
    const direction = toGuest ? OUTBOUND : INBOUND;
    this.#write(packetLength(length), (buf) =>
      writePacket(buf, 0, number, micros, frame, 0, length, length, direction),
    );
  };

  close(): void {
    closeSync(this.#fd);
  }

  #write(length: number, fill: (buf: Uint8Array) => void): void {
    const block = new Uint8Array(length);
    fill(block);
    for (let at = 0; at < length; ) at += this.#able(() => writeSync(this.#fd, block, at));
  }

  /** Runs `act`. Throws an `Error` of one line if the system refuses it. */
  #able<T>(act: () => T): T {
    try {
      return act();
    } catch (error) {
      throw new Error(`cannot write ${this.#file}: ${reasonOf(error)}`);
    }
  }
}
