/** The type of the rules by which users impair a line. */

/**
 * One rule: which frames it matches, and what happens to them. Only the first rule that matches a frame applies to
 * it.
 */
export interface ImpairmentOptions {
  /** Which frames, in the words of tcpdump: `host 10.0.2.15`, `ether host 52:54:00:12:34:56`, `udp port 53` (all). */
  readonly filter?: string | undefined;
  /** Frames from guests (`up`), to guests (`down`), or `both` (both). */
  readonly direction?: "up" | "down" | "both" | undefined;
  /** Milliseconds by which frames are delayed, in each direction that `direction` names: 0 to 600000 (0). */
  readonly delay?: number | undefined;
  /** Milliseconds by which the delay varies, up and down; at most `delay` (0). */
  readonly jitter?: number | undefined;
  /** The share of frames that are lost, 0 to 1 (0). */
  readonly loss?: number | undefined;
  /** The share of frames that are sent twice, 0 to 1 (0). */
  readonly duplicate?: number | undefined;
  /** The share of frames that overtake delayed ones, 0 to 1 (0). */
  readonly reorder?: number | undefined;
  /** Bits per second, 1000 to 1e12 (no limit). */
  readonly rate?: number | undefined;
}
