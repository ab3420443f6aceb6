/**
 * When frames that have been committed to cables go out: a write costs as much as the rest of what a small packet does,
 * and wakes the guest. So what belongs together goes together: the answers to one read of a guest's, what all hosts have
 * said in one turn of the event loop, and, after a small read, both.
 */
import type { Link } from "../core/link.ts";

/** So many host callbacks of one turn share a write to the guest; more would fill its cable. */
const MOST_IN_TURN = 64;

export class Flusher {
  /** Cables with frames that are committed and not flushed. */
  readonly #dirty: Link[] = [];
  readonly #endOfTurn: ((run: () => void) => void) | null;
  readonly #turnEnded: () => void;
  #inBatch = false;
  /** Since the last flush: whether the turn's end will bring one, and how many have been asked for. */
  #awaited = false;
  #asked = 0;
  /** The flush of the turn's end may wait for the end of the next one. */
  #lingers = false;

  /** `endOfTurn` calls `run` once, when what the host has to tell now has been told; null: frames do not wait for that. */
  constructor(endOfTurn: ((run: () => void) => void) | null) {
    this.#endOfTurn = endOfTurn;
    this.#turnEnded = () => {
      if (this.#lingers) {
        this.#lingers = false;
        this.#endOfTurn!(this.#turnEnded);
        return;
      }
      this.#awaited = false;
      this.now();
    };
  }

  get inBatch(): boolean {
    return this.#inBatch;
  }

  /** A cable has committed frames. */
  touch(link: Link): void {
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

  /** `late`: what answers the read may wait for what the host says to it. */
  endBatch(late: boolean): void {
    this.#inBatch = false;
    if (late) this.#late();
    else this.now();
  }

  /** Hands all committed frames to their wires; within a batch, at its end. */
  now(): void {
    if (this.#inBatch) return;
    const dirty = this.#dirty;
    for (let i = 0; i < dirty.length; i++) dirty[i]!.flush();
    dirty.length = 0;
    this.#asked = 0;
  }

  /** After a host's callback: with all of this turn's. */
  soon(): void {
    if (this.#inBatch) return;
    if (this.#endOfTurn === null || ++this.#asked >= MOST_IN_TURN) return this.now();
    this.#lingers = false;
    if (this.#awaited) return;
    this.#awaited = true;
    this.#endOfTurn(this.#turnEnded);
  }

  /**
   * A host on this machine has connected by the next turn: its SYN-ACK and the acknowledgement of what the guest said
   * before it, mostly the last connection's FIN, go together.
   */
  #late(): void {
    if (this.#dirty.length === 0) return;
    if (this.#endOfTurn === null) return this.now();
    if (this.#awaited) return;
    this.#awaited = true;
    this.#lingers = true;
    this.#endOfTurn(this.#turnEnded);
  }
}
