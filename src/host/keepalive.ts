/**
 * Has the kernel watch long connections (RFC 9293 section 3.8.4), so that a far end that vanished is noticed; we answer
 * the guest's own probes ourselves. Asking for it takes three or four system calls, a tenth of the processor time of a
 * connection that carries one request and its answer. So only connections that are a minute old are watched. The
 * kernel's two hours of silence begin with the last byte all the same. One timer serves all connections, and runs only
 * while there are young ones.
 */

/** How many milliseconds a far end may be silent before it is probed (RFC 9293 section 3.8.4: two hours). */
export const KEEPALIVE_MS: number = 2 * 3_600_000;
/** A connection is watched from this age on, or up to twice this age. Milliseconds. */
const YOUNG_MS = 60_000;

export interface Lasting {
  /** Asks the kernel to watch the connection. */
  keepAlive(): void;
}

/** Connections that began in this interval, and in the one before. */
let young: Set<Lasting> = new Set();
let older: Set<Lasting> = new Set();
let swept = false;

/** A connection is established. */
export function begun(connection: Lasting): void {
  young.add(connection);
  if (!swept) sweepLater();
}

/** A connection has ended. */
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
