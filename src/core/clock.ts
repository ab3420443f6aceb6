/** Monotonic time in milliseconds. Engines are told the time; only `host/clock` reads a real one. */
export interface Clock {
  now(): number;
}
