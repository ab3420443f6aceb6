/**
 * The bytes beyond SND.UNA that the guest has reported by SACK (RFC 2018, RFC 6675): sorted, disjoint ranges. Only sane
 * reports count (CVE-2019-11477): those between SND.UNA and SND.MAX, in at most `MAX_RANGES` ranges.
 */
import { seqDiff, seqGe, seqGt, seqLe, seqLt, seqMax } from "../../wire/seq.ts";

const MAX_RANGES = 128;

export class Scoreboard {
  #ranges: number[] = [];
  /** How many bytes have been reported. */
  sacked = 0;

  get empty(): boolean {
    return this.#ranges.length === 0;
  }

  /** Takes one SACK block. True if it reports new bytes. */
  add(left: number, right: number, una: number, max: number): boolean {
    if (!seqLt(left, right) || seqLt(left, una) || seqGt(right, max)) return false;
    const r = this.#ranges;
    let i = 0;
    while (i < r.length && seqLt(r[i + 1]!, left)) i += 2;
    if (i < r.length && seqLe(r[i]!, left) && seqGe(r[i + 1]!, right)) return false;
    let j = i;
    let from = left;
    let to = right;
    let covered = 0;
    while (j < r.length && seqLe(r[j]!, right)) {
      if (seqLt(r[j]!, from)) from = r[j]!;
      to = seqMax(to, r[j + 1]!);
      covered += seqDiff(r[j + 1]!, r[j]!);
      j += 2;
    }
    if (j === i && r.length >= MAX_RANGES * 2) return false;
    r.splice(i, j - i, from, to);
    this.sacked += seqDiff(to, from) - covered;
    return true;
  }

  /** Forgets reports of bytes before `una`. */
  advance(una: number): void {
    const r = this.#ranges;
    while (r.length > 0 && seqLe(r[1]!, una)) {
      this.sacked -= seqDiff(r[1]!, r[0]!);
      r.splice(0, 2);
    }
    if (r.length > 0 && seqLt(r[0]!, una)) {
      this.sacked -= seqDiff(una, r[0]!);
      r[0] = una;
    }
  }

  /** The first byte at or after `from` that has not been reported. */
  nextHole(from: number): number {
    const r = this.#ranges;
    for (let i = 0; i < r.length; i += 2) {
      if (seqLt(from, r[i]!)) return from;
      if (seqLt(from, r[i + 1]!)) from = r[i + 1]!;
    }
    return from;
  }

  /** The end of the hole at `from`; `limit` when nothing behind it has been reported. */
  holeEnd(from: number, limit: number): number {
    const r = this.#ranges;
    for (let i = 0; i < r.length; i += 2) if (seqGt(r[i]!, from)) return r[i]!;
    return limit;
  }

  /** How many bytes have not been reported between `from` and the highest report. */
  missing(from: number): number {
    const r = this.#ranges;
    let missing = 0;
    for (let i = 0; i < r.length; i += 2) {
      if (seqGt(r[i]!, from)) missing += seqDiff(r[i]!, from);
      from = seqMax(from, r[i + 1]!);
    }
    return missing;
  }

  /** The end of the highest report; `una` when there is none. */
  highest(una: number): number {
    return this.#ranges.length === 0 ? una : this.#ranges[this.#ranges.length - 1]!;
  }

  clear(): void {
    this.#ranges = [];
    this.sacked = 0;
  }
}
