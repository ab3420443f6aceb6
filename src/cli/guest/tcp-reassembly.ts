/** Out-of-order bytes of a connection (RFC 9293 section 3.10.7.4), and the SACK blocks that report them (RFC 2018). */
import { seqAdd, seqDiff, seqLe, seqLt } from "../../wire/seq.ts";

interface Piece {
  seq: number;
  bytes: Uint8Array;
}

export class Reassembly {
  /** Disjoint and ascending. Adjoining pieces stay apart, and make one block. */
  #pieces: Piece[] = [];
  /** The sequence number of the last arrival, whose block comes first (RFC 2018 section 4). */
  #latest = 0;

  get empty(): boolean {
    return this.#pieces.length === 0;
  }

  /** Keeps the bytes that are new. The caller has cut `bytes` to the receive window, which bounds the memory. */
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

  /** Takes out the bytes that follow `next` without a hole. */
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

  /** Up to `max` blocks, as pairs of edges. The block of the last arrival comes first. */
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
