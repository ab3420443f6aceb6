/** Monotonic time in milliseconds. Protocol code is told the time; only `host/clock` reads a real clock. */
export interface Clock {
  now(): number;
}
