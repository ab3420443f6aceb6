import type { Clock } from "../core/clock.ts";
import type { Limits } from "../core/limits.ts";
import type { LinkReceiver } from "../core/link.ts";
import type { FrameTap } from "../core/tap.ts";
import type { Trace } from "../core/trace.ts";
import type { AttachAddress } from "./address.ts";
import type { SlabPool } from "./slab.ts";

/** Frames and bytes handed to cables. */
export interface SentCount {
  frames: number;
  bytes: number;
}

/** What every cable of one network works with. */
export interface CableEnv {
  readonly receiver: LinkReceiver;
  readonly pool: SlabPool;
  readonly trace: Trace;
  readonly clock: Clock;
  readonly tap: FrameTap;
  readonly limits: Limits;
  /** What has been sent to guests on all cables. */
  readonly sent: SentCount;
}

/** A place where guests come from: a listening socket, a dialler, an inherited socket. */
export interface Attachment {
  /** The address as it is now: a port that was 0 is the one taken. Null for an inherited socket. */
  readonly address: AttachAddress | null;
  /** Resolves when it is over: no new guest, and every cable detached. Never rejects. */
  readonly closed: Promise<void>;
  /** Takes no more guests and ends the cables. Resolves with `closed`. */
  close(): Promise<void>;
}
