/**
 * Segments that arrived before their turn, in sequence order and without overlap. On a lossless cable there are none.
 * Limited in count (SegmentSmack, CVE-2018-5390) and, over all connections together, in bytes of memory, including what
 * a piece costs beside its payload. Segments that do not fit are dropped, and the guest sends them again.
 */
import { unshared } from "../../core/byte-budget.ts";
import { BUFFER_COST } from "../../core/cost.ts";
import { seqAdd, seqDiff, seqGe, seqGt, seqLe, seqLt } from "../../wire/seq.ts";

const MAX_SEGMENTS = 256;

interface Piece {
  seq: number;
  bytes: Uint8Array;
}

/** Bytes of memory that assemblers may hold together, all of a network's or a guest's; each is limited by its window. */
export class HeldBytes {
  used = 0;
  readonly #limit: number;
  readonly #whole: Pick<HeldBytes, "fits" | "note">;

  /** `whole`: what these bytes are a part of, and count in, too. */
  constructor(limit: number, whole: Pick<HeldBytes, "fits" | "note"> = unshared()) {
    this.#limit = limit;
    this.#whole = whole;
  }

  fits(more: number): boolean {
    return this.used + more <= this.#limit && this.#whole.fits(more);
  }

  note(more: number): void {
    this.used += more;
    this.#whole.note(more);
  }
}

export class Assembler {
  #pieces: Piece[] = [];
  readonly #held: HeldBytes;
  /** The piece that changed last: its block goes first into the SACK option (RFC 2018 section 4). */
  #latest = 0;

  constructor(held: HeldBytes) {
    this.#held = held;
  }

  get empty(): boolean {
    return this.#pieces.length === 0;
  }

  /** Keeps a copy of the new bytes in [seq, seq + len). */
  insert(seq: number, buf: Uint8Array, at: number, len: number): void {
    const end = seqAdd(seq, len);
    let i = 0;
    while (i < this.#pieces.length && seqLe(endOf(this.#pieces[i]!), seq)) i++;
    let from = seq;
    this.#latest = seq;
    while (seqLt(from, end)) {
      const next = this.#pieces[i];
      if (next !== undefined && seqLe(next.seq, from)) {
        if (seqGt(endOf(next), from)) from = endOf(next);
        i++;
        continue;
      }
      const to = next !== undefined && seqLt(next.seq, end) ? next.seq : end;
      const n = seqDiff(to, from);
      if (this.#pieces.length >= MAX_SEGMENTS || !this.#held.fits(costOf(n))) return;
      const offset = at + seqDiff(from, seq);
      this.#pieces.splice(i, 0, { seq: from, bytes: buf.slice(offset, offset + n) });
      this.#held.note(costOf(n));
      from = to;
      i++;
    }
  }

  /** Takes the bytes from `next` on, if they begin at or before it; null when there is still a hole. */
  take(next: number): Uint8Array | null {
    for (;;) {
      const first = this.#pieces[0];
      if (first === undefined || seqGt(first.seq, next)) return null;
      this.#pieces.shift();
      this.#held.note(-costOf(first.bytes.length));
      const skip = seqDiff(next, first.seq);
      if (skip < first.bytes.length) return skip === 0 ? first.bytes : first.bytes.subarray(skip);
    }
  }

  /** Edges of up to `max` contiguous blocks, the latest changed first. Returns the count. */
  blocks(out: Int32Array, max: number): number {
    let count = 0;
    let latest = -1;
    for (let i = 0; i < this.#pieces.length; ) {
      const left = this.#pieces[i]!.seq;
      let right = left;
      while (i < this.#pieces.length && this.#pieces[i]!.seq === right) right = endOf(this.#pieces[i++]!);
      const isLatest = seqLe(left, this.#latest) && seqGe(right, this.#latest);
      if (count >= max && !isLatest) continue;
      const slot = count < max ? count++ : max - 1;
      out[slot * 2] = left;
      out[slot * 2 + 1] = right;
      if (isLatest) latest = slot;
    }
    if (latest > 0) {
      const l = out[latest * 2]!;
      const r = out[latest * 2 + 1]!;
      out.copyWithin(2, 0, latest * 2);
      out[0] = l;
      out[1] = r;
    }
    return count;
  }

  clear(): void {
    for (const piece of this.#pieces) this.#held.note(-costOf(piece.bytes.length));
    this.#pieces.length = 0;
  }
}

function costOf(len: number): number {
  return len + BUFFER_COST;
}

function endOf(piece: Piece): number {
  return seqAdd(piece.seq, piece.bytes.length);
}
