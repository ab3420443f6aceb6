/** Sends frames with something undone to another cable than the network's own (see `core/link`). */
import { COMPLETE, LEAST_SEGMENT, type Link } from "../core/link.ts";
import type { Trace } from "../core/trace.ts";
import { newPieces, type Pieces, pieceLength, piecesReduced, planPieces, writePiece } from "../wire/segmentation.ts";

const pieces: Pieces = newPieces();

/**
 * Writes a frame of `len` bytes at `at`, from which `undone` is missing, to `link`: unchanged if its guest accepts
 * that, otherwise finished, in as many frames as it takes. Frames that find no room are dropped and counted.
 */
export function passUndone(link: Link, bytes: Uint8Array, at: number, len: number, undone: number, trace: Trace): void {
  const size = undone < LEAST_SEGMENT ? 0 : undone;
  if (!planPieces(bytes, at, len, size, pieces)) return trace.drop("offload-malformed");
  if (takes(link, undone, len, pieces) && (size === 0 || !piecesReduced(bytes, at, pieces))) {
    const o = link.reserve(len);
    if (o < 0) return trace.drop("cable-full");
    link.tx.set(bytes.subarray(at, at + len), o);
    return link.commit(len, undone);
  }
  for (let i = 0; i < pieces.count; i++) {
    const length = pieceLength(pieces, i);
    const o = link.reserve(length);
    if (o < 0) trace.drop("cable-full");
    else {
      writePiece(bytes, at, pieces, i, link.tx, o);
      link.commit(length);
    }
  }
}

function takes(link: Link, undone: number, len: number, p: Pieces): boolean {
  const offload = link.offload ?? null;
  if (offload === null || len > offload.largest) return false;
  return undone < LEAST_SEGMENT ? offload.sums : p.v6 ? offload.tcp6 : offload.tcp4;
}

/** The finished frames that an undone frame becomes, in memory of their own; null when it cannot be finished. */
export function finished(bytes: Uint8Array, at: number, len: number, undone: number): Uint8Array[] | null {
  if (undone === COMPLETE) return [bytes.slice(at, at + len)];
  if (!planPieces(bytes, at, len, undone < LEAST_SEGMENT ? 0 : undone, pieces)) return null;
  const frames: Uint8Array[] = [];
  for (let i = 0; i < pieces.count; i++) {
    const frame = new Uint8Array(pieceLength(pieces, i));
    writePiece(bytes, at, pieces, i, frame, 0);
    frames.push(frame);
  }
  return frames;
}
