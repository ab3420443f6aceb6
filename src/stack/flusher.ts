/**
 * When committed frames go out. A write costs as much as all other work for a small packet, and wakes the guest. So
 * frames that belong together go out together: the answers to one read from a guest, the frames that all hosts have
 * caused in one turn of the event loop, and, after a small read, both.
 *
 * Frames that hosts have caused go out at this turn's end. Answers to a small read wait for the end of the next turn,
 * and so do acknowledgements, which are not even built before (`owed`): by then a host on this machine has mostly
 * answered.
 */
import type { Link } from "../core/link.ts";

/** How many host callbacks of one turn share a write to the guest: with more it waits instead of working beside us. */
const MOST_IN_TURN = 16;

export class Flusher {
  /** Cables with frames that are committed and not flushed. */
  readonly #dirty: Link[] = [];
  readonly #endOfTurn: ((run: () => void) => void) | null;
  readonly #owed: () => boolean;
  readonly #turnEnded: () => void;
  #inBatch = false;
  /** `turnEnded` is about to be called. */
  #awaited = false;
  /** Frames on dirty cables go out at this turn's end in any case. */
  #firm = false;
  /** Host callbacks with frames since the last flush. */
  #asked = 0;
  /** A cable has been touched since this was last set to false. */
  #touched = false;

  /**
   * `endOfTurn` calls `run` once, after the host's pending callbacks; if it is null, frames do not wait. `owed` is
   * called at the end of a turn: it commits the acknowledgements that have been owed for a whole turn, and returns
   * whether any are owed still.
   */
  constructor(endOfTurn: ((run: () => void) => void) | null, owed: () => boolean) {
    this.#endOfTurn = endOfTurn;
    this.#owed = owed;
    this.#turnEnded = () => {
      this.#awaited = false;
      this.#touched = false;
      const more = this.#owed();
      if (this.#firm || this.#touched) this.now();
      this.#firm = this.#dirty.length > 0;
      if (more || this.#firm) this.#await();
    };
  }

  get inBatch(): boolean {
    return this.#inBatch;
  }

  /** Whether frames and acknowledgements may wait for a turn's end. */
  get waits(): boolean {
    return this.#endOfTurn !== null;
  }

  /** A cable has committed frames. */
  touch(link: Link): void {
    this.#touched = true;
    // There is hardly ever more than one cable, so a scan is cheaper than a set.
    if (!this.#dirty.includes(link)) this.#dirty.push(link);
  }

  /** A cable is gone. */
  forget(link: Link): void {
    const i = this.#dirty.indexOf(link);
    if (i >= 0) this.#dirty.splice(i, 1);
  }

  /** The frames of one read are about to come in: nothing goes out before `endBatch`. */
  beginBatch(): void {
    this.#inBatch = true;
  }

  /** `late`: answers to the read may wait for the host's. `owing`: some acknowledgements are owed. */
  endBatch(late: boolean, owing: boolean): void {
    this.#inBatch = false;
    if (!late || !this.waits) this.now();
    else if (owing || this.#dirty.length > 0) this.#await();
  }

  /** Hands all committed frames to their wires; within a batch, when it ends. */
  now(): void {
    if (this.#inBatch) return;
    const dirty = this.#dirty;
    for (let i = 0; i < dirty.length; i++) dirty[i]!.flush();
    dirty.length = 0;
    this.#asked = 0;
    this.#firm = false;
  }

  /** Called after a host's callback: committed frames go out with all of this turn's. */
  soon(): void {
    if (this.#inBatch || this.#dirty.length === 0) return;
    if (!this.waits || ++this.#asked >= MOST_IN_TURN) return this.now();
    this.#firm = true;
    this.#await();
  }

  #await(): void {
    if (this.#awaited) return;
    this.#awaited = true;
    this.#endOfTurn!(this.#turnEnded);
  }
}
