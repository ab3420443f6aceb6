/**
 * The receiving half of a connection: the window that is offered, bytes that came before their turn, and bytes that
 * wait for the user.
 */
import { seqAdd, seqDiff, seqGe, seqGt, seqLt, seqMax } from "../../wire/seq.ts";
import { FIN, SYN } from "../../wire/tcp.ts";
import { Reassembly } from "./tcp-reassembly.ts";
import type { Segment } from "./tcp-segment.ts";

export class TcpReceiver {
  /** The sequence number of the next byte in order. */
  nxt = 0;
  /** Whether both ends scale windows; until the handshake is over, whether we do. */
  scaling: boolean;
  /** Segments since the last acknowledgement, and whether the next one is due at once. */
  unacked = 0;
  ackNow = false;
  /** The right edge of the window: the furthest that was ever offered. */
  #adv = 0;
  /** The right edge that the buffer's room allows, before it is rounded to the window scale. */
  #edge = 0;
  readonly #buffer: number;
  readonly #reassembly: Reassembly = new Reassembly();
  #finSeq: number | null = null;
  #waiting: Uint8Array[] = [];
  #waitingBytes = 0;

  /** `buffer` bytes are kept for a user that does not read: the largest window. */
  constructor(buffer: number, scaling: boolean) {
    this.#buffer = buffer;
    this.scaling = scaling;
  }

  /** The peer's SYN had this sequence number. */
  begin(seq: number): void {
    this.nxt = seqAdd(seq, 1);
    this.#adv = this.nxt;
    this.#edge = this.nxt;
  }

  /** Whether the sequence number is acceptable (section 3.10.7.4, "first, check sequence number"). */
  acceptable(s: Segment): boolean {
    const length = s.payload.length + (s.flags & SYN ? 1 : 0) + (s.flags & FIN ? 1 : 0);
    const window = seqDiff(this.#adv, this.nxt);
    if (length === 0) return s.seq === this.nxt || (seqGe(s.seq, this.nxt) && seqLt(s.seq, this.#adv));
    if (window === 0) return false;
    return seqLt(s.seq, this.#adv) && seqGt(seqAdd(s.seq, length), this.nxt);
  }

  /** Takes an acceptable segment's bytes, as far as they are new and within the window, and notes its FIN. */
  take(s: Segment): void {
    let { seq, payload } = s;
    if (s.flags & FIN) {
      const finSeq = seqAdd(seq, payload.length);
      if (seqLt(finSeq, this.#adv)) this.#finSeq ??= finSeq;
      else if (payload.length === 0) this.ackNow = true;
    }
    if (seqLt(seq, this.nxt)) {
      const old = Math.min(seqDiff(this.nxt, seq), payload.length);
      payload = payload.subarray(old);
      seq = seqAdd(seq, old);
      if (old > 0) this.ackNow = true;
    }
    payload = payload.subarray(0, Math.max(0, seqDiff(this.#adv, seq)));
    if (payload.length === 0) return;
    const inOrder = seq === this.nxt && this.#reassembly.empty;
    if (!inOrder || ++this.unacked >= 2) this.ackNow = true;
    this.#reassembly.insert(seq, payload);
    for (const bytes of this.#reassembly.take(this.nxt)) {
      this.nxt = seqAdd(this.nxt, bytes.length);
      this.#waiting.push(bytes);
      this.#waitingBytes += bytes.length;
    }
  }

  /** The next bytes for the user; undefined if none wait. */
  next(): Uint8Array | undefined {
    const bytes = this.#waiting.shift();
    this.#waitingBytes -= bytes?.length ?? 0;
    return bytes;
  }

  /** Whether the peer's FIN is what follows in order. */
  get finIsNext(): boolean {
    return this.#finSeq === this.nxt;
  }

  takeFin(): void {
    this.nxt = seqAdd(this.nxt, 1);
    this.#adv = seqMax(this.#adv, this.nxt);
    this.ackNow = true;
  }

  /** Whether the peer's FIN has been taken. */
  get finished(): boolean {
    return this.#finSeq !== null && seqGt(this.nxt, this.#finSeq);
  }

  /** Up to `most` blocks for the SACK option. */
  blocks(most: number): ReturnType<Reassembly["blocks"]> {
    return this.#reassembly.blocks(most);
  }

  /**
   * Whether the buffer's room has grown by two segments or half the buffer since the window last grew (RFC 9293
   * section 3.8.6.2.2).
   */
  windowGrew(mss: number): boolean {
    const edge = seqAdd(this.nxt, this.#buffer - this.#waitingBytes);
    return seqDiff(edge, this.#edge) >= Math.min(2 * mss, this.#buffer >> 1);
  }

  /** How far the window field is shifted (RFC 7323 section 2). */
  get shift(): number {
    let shift = 0;
    while (this.#buffer >> shift > 0xffff) shift++;
    return shift;
  }

  /** The window field of our SYN, before anything of the peer's is known. */
  get firstWindow(): number {
    return Math.min(this.#buffer, 0xffff);
  }

  /**
   * Moves the window's edge and returns the window field. Rounds up, because an edge that was offered must not move
   * back.
   */
  window(mss: number, scaled: boolean): number {
    if (this.windowGrew(mss)) this.#edge = seqAdd(this.nxt, this.#buffer - this.#waitingBytes);
    const room = Math.max(0, seqDiff(this.#edge, this.nxt));
    const shift = scaled && this.scaling ? this.shift : 0;
    const field = Math.min(Math.ceil(room / 2 ** shift), 0xffff);
    this.#adv = seqMax(this.#adv, seqAdd(this.nxt, field * 2 ** shift));
    return field;
  }
}
