/** A guest's cable as a recording has it: frames to the guest are compared with the recorded ones. */
import { COMPLETE, type Link, MAX_FRAME, type Offload } from "../core/link.ts";
import { HEAD } from "./cables.ts";
import { headersLength } from "./frames.ts";
import { sumOf } from "./replay-host.ts";
import { Answers, Questions, type Script } from "./script.ts";

/** Told of each frame from and to a guest, with its time in seconds since the recording began. */
export type FrameWatcher = (cable: string, toGuest: boolean, frame: Uint8Array, seconds: number) => void;

export interface LinkTraits {
  readonly uplink: boolean;
  readonly endless: boolean;
  readonly direct: boolean;
}

export class ReplayLink implements Link {
  readonly name: string;
  readonly uplink: boolean;
  readonly endless: boolean;
  readonly direct: boolean;
  readonly tx: Uint8Array = new Uint8Array(MAX_FRAME);
  readonly #script: Script;
  readonly #id: number;
  readonly #offload: Answers<Offload | null>;
  readonly #onFrame: FrameWatcher | undefined;
  readonly #full: Questions;

  constructor(script: Script, id: number, name: string, traits: LinkTraits, onFrame: FrameWatcher | undefined) {
    this.#script = script;
    this.#id = id;
    this.name = name;
    this.uplink = traits.uplink ?? false;
    this.endless = traits.endless ?? false;
    this.direct = traits.direct ?? false;
    this.#offload = new Answers<Offload | null>(script, "offload", id, null);
    this.#full = new Questions(script, "full", id);
    this.#onFrame = onFrame;
  }

  get offload(): Offload | null {
    return this.#offload.answer();
  }

  reserve(): number {
    const full = this.#full.ask();
    return full !== null || this.#script.over ? -1 : 0;
  }

  commit(len: number, undone: number = COMPLETE): void {
    // The recorded entry shows how much of the frame to compare: all headers, or as many bytes as were kept.
    const recorded = (this.#script.next("sent")?.values[3] as Uint8Array | undefined)?.length ?? HEAD;
    const head = this.tx.subarray(
      0,
      Math.min(recorded === 0 ? Math.min(HEAD, headersLength(this.tx, 0, len)) : recorded, len),
    );
    this.#script.expect("sent", this.#id, len, undone, head, sumOf(this.tx, 0, len));
    this.#onFrame?.(this.name, true, this.tx.slice(0, len), this.#script.seconds);
  }

  flush(): void {}

  close(): void {
    this.#script.expect("unplugged", this.#id);
  }
}
