import type { Clock } from "../core/clock.ts";
import type { Limits } from "../core/limits.ts";
import type { LinkReceiver } from "../core/link.ts";
import type { FrameTap } from "../core/tap.ts";
import type { Trace } from "../core/trace.ts";
import type { AttachAddress } from "./address.ts";
import type { SlabPool } from "./slab.ts";

/** How many frames and bytes have been handed to cables. */
export interface SentCount {
  frames: number;
  bytes: number;
}

/** The parts that all cables of a network use. */
export interface CableEnv {
  readonly receiver: LinkReceiver;
  readonly pool: SlabPool;
  readonly trace: Trace;
  readonly clock: Clock;
  readonly tap: FrameTap;
  readonly limits: Limits;
  /** How much has been sent to guests on all cables. */
  readonly sent: SentCount;
}

/** A place where guests come from: a listening socket, a dialler, an inherited socket. */
export interface Attachment {
  /** The address with the port that was taken, if the wanted port was 0. Null for an inherited socket. */
  readonly address: AttachAddress | null;
  /** Resolves when no new guest can come and every cable is detached. Never rejects. */
  readonly closed: Promise<void>;
  /** Accepts no more guests and ends the cables. Resolves with `closed`. */
  close(): Promise<void>;
}
