/** Out-of-order bytes of one connection (RFC 9293 section 3.10.7.4) and the SACK blocks that tell of them (RFC 2018). */
import { seqAdd, seqDiff, seqLe, seqLt } from "../../wire/seq.ts";

interface Piece {
  seq: number;
  bytes: Uint8Array;
}

export class Reassembly {
  /** Disjoint, ascending; touching pieces stay apart and count as one block. */
  #pieces: Piece[] = [];
  /** Where the last arrival stands: RFC 2018 section 4 wants its block first. */
  #latest = 0;

  get empty(): boolean {
    return this.#pieces.length === 0;
  }

  /** Keeps what is new of `bytes`. The caller has cut them to the receive window, which bounds this. */
  insert(seq: number, bytes: Uint8Array): void {
    this.#latest = seq;
    const out: Piece[] = [];
    let rest: Piece | null = { seq, bytes: bytes.slice() };
    for (const piece of this.#pieces) {
      const pieceEnd = seqAdd(piece.seq, piece.bytes.length);
      if (rest !== null && seqLt(rest.seq, piece.seq)) {
        const gap = seqDiff(piece.seq, rest.seq);
        out.push({ seq: rest.seq, bytes: rest.bytes.subarray(0, gap) });
        rest = rest.bytes.length > gap ? { seq: piece.seq, bytes: rest.bytes.subarray(gap) } : null;
      }
      if (rest !== null && seqLt(rest.seq, pieceEnd)) {
        const covered: number = seqDiff(pieceEnd, rest.seq);
        rest = rest.bytes.length > covered ? { seq: pieceEnd, bytes: rest.bytes.subarray(covered) } : null;
      }
      out.push(piece);
    }
    if (rest !== null) out.push(rest);
    this.#pieces = out;
  }

  /** Takes out what follows `next` without a hole. */
  take(next: number): Uint8Array[] {
    const taken: Uint8Array[] = [];
    while (this.#pieces.length > 0 && seqLe(this.#pieces[0]!.seq, next)) {
      const piece = this.#pieces.shift()!;
      const skip = seqDiff(next, piece.seq);
      if (skip >= piece.bytes.length) continue;
      taken.push(piece.bytes.subarray(skip));
      next = seqAdd(next, piece.bytes.length - skip);
    }
    return taken;
  }

  /** Up to `max` blocks as pairs of edges, the latest arrival's first. */
  blocks(max: number): number[] {
    const merged: [number, number][] = [];
    for (const { seq, bytes } of this.#pieces) {
      const last = merged[merged.length - 1];
      if (last && last[1] === seq) last[1] = seqAdd(seq, bytes.length);
      else merged.push([seq, seqAdd(seq, bytes.length)]);
    }
    const first = merged.findIndex(([left, right]) => seqLe(left, this.#latest) && seqLt(this.#latest, right));
    if (first > 0) merged.unshift(...merged.splice(first, 1));
    return merged.slice(0, max).flat();
  }
}
