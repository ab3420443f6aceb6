/**
 * Connections that last are watched by the kernel (RFC 9293 section 3.8.4), so that a far end that is gone without a word is
 * missed: we answer the guest's own probes. To ask for that takes three or four system calls, a tenth of the processor time of a
 * connection that carries a request and its answer. So only those that are a minute old are watched; the kernel's two hours of
 * silence begin with the last byte all the same. One timer serves all, and only while there are younger ones.
 */

/** Silence before a far end is asked whether it is there (RFC 9293 section 3.8.4: two hours), in milliseconds. */
export const KEEPALIVE_MS: number = 2 * 3_600_000;
/** A connection is watched when it is so old, or up to twice so old. */
const YOUNG_MS = 60_000;

export interface Lasting {
  /** Asks the kernel to watch it. */
  keepAlive(): void;
}

/** Those of this interval, and of the one before. */
let young: Set<Lasting> = new Set();
let older: Set<Lasting> = new Set();
let swept = false;

/** A connection stands. */
export function begun(connection: Lasting): void {
  young.add(connection);
  if (!swept) sweepLater();
}

/** It is over. */
export function over(connection: Lasting): void {
  if (!young.delete(connection)) older.delete(connection);
}

function sweepLater(): void {
  swept = true;
  setTimeout(sweep, YOUNG_MS).unref();
}

function sweep(): void {
  for (const connection of older) connection.keepAlive();
  older.clear();
  [young, older] = [older, young];
  swept = false;
  if (older.size > 0) sweepLater();
}
