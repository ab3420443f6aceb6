/**
 * TCP sequence arithmetic, modulo 2^32 (RFC 9293 section 3.4).
 *
 * A sequence number is held as a signed 32-bit integer: V8 stores such a number without a box, and two's complement
 * wraps as the RFC demands. Print it with `>>> 0`. Every function also takes unsigned values.
 */

/** a + n, wrapped. */
export function seqAdd(a: number, n: number): number {
  return (a + n) | 0;
}

/** a - b, modulo 2^32: negative when a comes before b. Meaningful while they are less than 2^31 apart. */
export function seqDiff(a: number, b: number): number {
  return (a - b) | 0;
}

export function seqLt(a: number, b: number): boolean {
  return ((a - b) | 0) < 0;
}

export function seqLe(a: number, b: number): boolean {
  return ((a - b) | 0) <= 0;
}

export function seqGt(a: number, b: number): boolean {
  return ((a - b) | 0) > 0;
}

export function seqGe(a: number, b: number): boolean {
  return ((a - b) | 0) >= 0;
}

export function seqMax(a: number, b: number): number {
  return ((a - b) | 0) >= 0 ? a : b;
}
