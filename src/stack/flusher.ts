/**
 * When frames that have been committed to cables go out: a write costs as much as the rest of what a small packet does,
 * and wakes the guest. So what belongs together goes together: the answers to one read of a guest's, what all hosts have
 * said in one turn of the event loop, and, after a small read, both.
 *
 * What hosts have said goes out at this turn's end. What answers a small read waits for the end of the next turn, and so
 * do acknowledgements, which are not even built before (`owed`): by then a host on this machine has mostly answered.
 */
import type { Link } from "../core/link.ts";

/** So many host callbacks of one turn share a write to the guest; more would fill its cable. */
const MOST_IN_TURN = 64;

export class Flusher {
  /** Cables with frames that are committed and not flushed. */
  readonly #dirty: Link[] = [];
  readonly #endOfTurn: ((run: () => void) => void) | null;
  readonly #owed: () => boolean;
  readonly #turnEnded: () => void;
  #inBatch = false;
  /** `turnEnded` is going to be called. */
  #awaited = false;
  /** What is dirty goes out at this turn's end, whatever comes. */
  #firm = false;
  /** Host callbacks with frames since the last flush. */
  #asked = 0;
  /** A cable has been touched since this was last set to false. */
  #touched = false;

  /**
   * `endOfTurn` calls `run` once, when what the host has to tell now has been told; null: nothing waits. `owed` is called
   * at the end of a turn, commits what has been owed for a whole one, and says whether anything is owed still.
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

  /** Frames and acknowledgements may wait for a turn's end. */
  get waits(): boolean {
    return this.#endOfTurn !== null;
  }

  /** A cable has committed frames. */
  touch(link: Link): void {
    this.#touched = true;
    // Hardly ever more than one cable: a scan is cheaper than a set.
    if (!this.#dirty.includes(link)) this.#dirty.push(link);
  }

  /** A cable is gone. */
  forget(link: Link): void {
    const i = this.#dirty.indexOf(link);
    if (i >= 0) this.#dirty.splice(i, 1);
  }

  /** Frames of one read come in: nothing goes out before its end. */
  beginBatch(): void {
    this.#inBatch = true;
  }

  /** `late`: what answers the read may wait for what the host says to it. `owing`: some of it is owed. */
  endBatch(late: boolean, owing: boolean): void {
    this.#inBatch = false;
    if (!late || !this.waits) this.now();
    else if (owing || this.#dirty.length > 0) this.#await();
  }

  /** Hands all committed frames to their wires; within a batch, at its end. */
  now(): void {
    if (this.#inBatch) return;
    const dirty = this.#dirty;
    for (let i = 0; i < dirty.length; i++) dirty[i]!.flush();
    dirty.length = 0;
    this.#asked = 0;
    this.#firm = false;
  }

  /** After a host's callback: with all of this turn's. */
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
