/** The words of the TCP endpoint: its states, its timer's meanings, and the two interfaces that connect it. */
import type { Slab } from "../../core/link.ts";

export const CLOSED = 0;
/** A SYN is here, the host has not connected yet; nothing has been sent. */
export const HELD = 1;
export const SYN_SENT = 2;
export const SYN_RECEIVED = 3;
export const ESTABLISHED = 4;
export const FIN_WAIT_1 = 5;
export const FIN_WAIT_2 = 6;
export const CLOSE_WAIT = 7;
export const CLOSING = 8;
export const LAST_ACK = 9;
export const TIME_WAIT = 10;
export const STATE_NAMES: readonly string[] = [
  "CLOSED",
  "HELD",
  "SYN-SENT",
  "SYN-RECEIVED",
  "ESTABLISHED",
  "FIN-WAIT-1",
  "FIN-WAIT-2",
  "CLOSE-WAIT",
  "CLOSING",
  "LAST-ACK",
  "TIME-WAIT",
];

/** How segments get to the guest. */
export interface TcpPath {
  readonly tx: Uint8Array;
  /** False while the guest has no cable. Then nothing can be sent, but time goes on. */
  readonly reachable: boolean;
  readonly farPort: number;
  readonly guestPort: number;
  /** Room for a segment of `len` bytes, addressed already; its offset in `tx`, or -1 when the cable is full. */
  reserve(len: number): number;
  /**
   * What may be left undone in the next segment: 0 for nothing, 1 for its checksum; more means also that a segment may be
   * so many bytes long, headers from TCP's on, and is cut later. 0 when left out.
   */
  offload?(): number;
  /**
   * The segment at the last reserve goes on with `len` bytes of `buf` in place of those at `o` in `tx`, as in `core/link`. Left
   * out: all of it is written to `tx`.
   */
  gather?(o: number, buf: Uint8Array, at: number, len: number): void;
  /** The segment at the last reserve, of `len` bytes, stands there; what is `undone` is as in `core/link` (0 when left out). */
  commit(len: number, undone?: number): void;
  /** The sum of the pseudo-header for a segment of `len` bytes. */
  pseudo(len: number): number;
  /** The RST that ends the connection found no room. The guest may never ask again: it has to go all the same. */
  resetLost(seq: number, ack: number): void;
}

/** What the endpoint's user is told. None of these is called from inside a call of the user's own. */
export interface TcpUser {
  /** Payload in order, within the window that `room` allowed. */
  deliver(slab: Slab, at: number, len: number): void;
  /** The guest has sent FIN, after all its data. */
  onFin(): void;
  onEstablished(): void;
  /** Acknowledgements made room in the send buffer. */
  onAcked(): void;
  /** The connection is over in disorder: the guest reset it, or went silent. */
  onAborted(reason: "reset" | "timeout"): void;
  /** The block is CLOSED in order: forget it. */
  onClosed(): void;
  /** Bytes of window that may be offered beyond RCV.NXT. */
  room(): number;
  /** Whether the user holds bytes that it could not pass on yet. */
  holds(): boolean;
}

/** What the sending side's timer means (timers.ts). */
export const RETRANSMIT = 0;
export const PROBE = 1;
export const PERSIST = 2;
