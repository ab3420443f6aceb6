/** The shape of what users say of a bad line. */

/** One kind of traffic and how it suffers; what is left out does not. The first that means a frame is its fate. */
export interface ImpairmentOptions {
  /** Which frames: `host 10.0.2.15`, `ether host 52:54:00:12:34:56`, `udp port 53` (all). */
  readonly filter?: string | undefined;
  /** From guests (`up`), to guests (`down`), or `both` (both). */
  readonly direction?: "up" | "down" | "both" | undefined;
  /** Milliseconds, each way that `direction` names. */
  readonly delay?: number | undefined;
  /** Milliseconds more or less than `delay`; at most `delay`. */
  readonly jitter?: number | undefined;
  /** Share of frames lost, 0 to 1. */
  readonly loss?: number | undefined;
  /** Share of frames sent twice, 0 to 1. */
  readonly duplicate?: number | undefined;
  /** Share of frames that overtake those delayed, 0 to 1. */
  readonly reorder?: number | undefined;
  /** Bits per second, at least 1000. */
  readonly rate?: number | undefined;
}
