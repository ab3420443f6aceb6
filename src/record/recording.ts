/**
 * A network's recording: the recorder, its file, and the wrappers that put the recorder between a network and its
 * surroundings.
 */
import { statSync, unlinkSync } from "node:fs";
import path from "node:path";
import type { ResolvedRecord } from "../control/options/record-options.ts";
import type { ResolvedOptions } from "../control/options.ts";
import { version } from "../control/version.ts";
import type { ForwardRule } from "../core/config.ts";
import type { Link, LinkReceiver } from "../core/link.ts";
import type { FrameTap } from "../core/tap.ts";
import type { Delivery, Seams } from "../embed/current-lan.ts";
import type { SavedLan } from "../embed/lan.ts";
import type { Polled } from "../embed/poll-timer.ts";
import type { Local } from "../stack/local-services.ts";
import type { StackParts } from "../stack/parts.ts";
import { RecordedLink, RecordedReceiver } from "./cables.ts";
import { RecordingFile } from "./file.ts";
import { type Header, VERSION } from "./format.ts";
import { RecordedNet, recordedDns, recordedFiles } from "./host.ts";
import { RecordedLocal, recordedGate } from "./local.ts";
import { Recorder } from "./recorder.ts";

/** A recording as its user sees it. */
export interface RecordingState {
  /** The path of the file. */
  readonly file: string;
  /** Whether payload is recorded. */
  readonly payload: boolean;
  /** When the recording began. */
  readonly began: Date;
  /** Bytes handed to the disk so far. */
  readonly bytes: number;
}

export class Recording implements Seams {
  readonly file: string;
  readonly recorder: Recorder;
  /** Called when the recording has ended by itself, with the reason. */
  onEnd: ((why: string) => void) | null = null;
  readonly #out: RecordingFile;
  readonly #began: Date;

  /**
   * Begins the file. If `file` is a folder, the file in it is named after the date. Rejects with an `Error` of one line
   * when the file cannot be made.
   */
  static async begin({ file: target, payload }: ResolvedRecord, options: ResolvedOptions): Promise<Recording> {
    const began = new Date();
    const date = began.toISOString();
    const isFolder = statSync(target, { throwIfNoEntry: false })?.isDirectory() ?? false;
    const file = isFolder ? path.join(target, `${date.replaceAll(":", "-")}-${process.pid}.tslirp`) : target;
    const header: Header = {
      version: VERSION,
      package: version(),
      node: process.versions.node,
      date,
      payload,
      seed: (Math.random() * 2 ** 32) | 0,
      config: options.stack,
      rules: options.ruleLines,
      files: options.tftp !== null,
      gate: options.onFlow !== null,
    };
    let recording: Recording | null = null;
    const out = await RecordingFile.create(file, header, (why) => {
      recording?.recorder.stop();
      if (why !== null) recording?.onEnd?.(why);
    });
    recording = new Recording(file, out, payload, began);
    return recording;
  }

  private constructor(file: string, out: RecordingFile, payload: boolean, began: Date) {
    this.#began = began;
    this.file = file;
    this.#out = out;
    this.recorder = new Recorder(out, payload);
  }

  get state(): RecordingState {
    return { file: this.file, payload: this.recorder.payload, began: this.#began, bytes: this.#out.bytes };
  }

  /** Ends the recording and removes its file. */
  async discard(): Promise<void> {
    await this.close();
    unlinkSync(this.file);
  }

  /** Ends the recording. Resolves when the file is complete. */
  close(): Promise<void> {
    this.recorder.stop();
    return this.#out.close();
  }

  parts(parts: StackParts): StackParts {
    return recordedParts(this.recorder, parts);
  }

  receiver(inner: LinkReceiver, tap: FrameTap): Delivery {
    return new RecordedReceiver(this.recorder, inner, tap);
  }

  local(inner: Local): Local {
    return new RecordedLocal(this.recorder, inner);
  }

  plain(link: Link): Link {
    return link instanceof RecordedLink ? link.plain : link;
  }

  restored(saved: SavedLan): void {
    this.recorder.told("guests", saved);
  }

  forwarded(rule: ForwardRule): void {
    this.recorder.told("addForward", rule);
  }

  polled(inner: Polled): Polled {
    return {
      set onPollAt(told: (() => void) | null) {
        inner.onPollAt = told;
      },
      get onPollAt() {
        return inner.onPollAt;
      },
      pollAt: () => inner.pollAt(),
      poll: (now) => inner.poll(this.recorder.polled(now)),
    };
  }
}

/** A stack's surroundings, with the recorder in front of each. */
export function recordedParts(recorder: Recorder, parts: StackParts): StackParts {
  return {
    ...parts,
    host: new RecordedNet(recorder, parts.host),
    dns: recordedDns(recorder, parts.dns),
    files: parts.files ? recordedFiles(recorder, parts.files) : null,
    gate: parts.gate ? recordedGate(recorder, parts.gate) : null,
    clock: recorder.clock(parts.clock),
    random: recorder.random(parts.random),
    trace: recorder.trace(parts.trace),
    ...(parts.endOfTurn === undefined ? {} : { endOfTurn: recorder.endOfTurn(parts.endOfTurn) }),
  };
}
