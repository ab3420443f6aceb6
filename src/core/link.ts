/**
 * A guest's cable, as the stack sees it. Frames are Ethernet frames without FCS.
 *
 * Outward: `reserve`, write the frame in place, `commit`. Nothing reaches the wire before `flush`, which the stack
 * calls once per batch. Inward: the attachment calls `LinkReceiver.receive` for each frame of a read, then `batchEnd`.
 */
export interface Link {
  /** Where frames are written: one long-lived array; `reserve` may replace it, so read it after each reserve. */
  readonly tx: Uint8Array;
  /** The attachment's name, for logs and captures: `unix:/run/x#1`. */
  readonly name: string;
  /** Leads to a segment of other machines, not to a guest (false). */
  readonly uplink?: boolean;
  /** It does not notice when who is behind it is gone, as UDP does not (false). */
  readonly endless?: boolean;
  /** Within this process: a write costs nothing, so what answers a read never waits for more (false). */
  readonly direct?: boolean;
  /** Room for a frame of up to `len` bytes: its offset in `tx`, or -1 when the cable is full (the receiver's `writable` follows). */
  reserve(len: number): number;
  /** The frame at the last reserve is complete with `len` bytes. */
  commit(len: number): void;
  /** Hands all committed frames to the wire. */
  flush(): void;
  /** Ends this cable; `detached` follows. */
  close(): void;
}

/** What an attachment calls. Implemented by the stack (one guest, or several through `attach/switch`). */
export interface LinkReceiver {
  attached(link: Link): void;
  /**
   * One frame, valid during the call. If the receiver must keep reading the bytes after `batchEnd` (a host write is
   * pending on them), it calls `slab.pin()` and later `slab.unpin()`.
   */
  receive(link: Link, slab: Slab, at: number, len: number): void;
  /** All frames of one read have been handed over: acknowledge and flush. */
  batchEnd(link: Link): void;
  /** A full cable has room again. */
  writable(link: Link): void;
  detached(link: Link): void;
}

/** Memory that a read landed in. While pinned it is not overwritten. */
export interface Slab {
  readonly bytes: Uint8Array;
  /** So much is pinned already that a writer copies what it must keep instead of pinning this slab too. */
  readonly scarce: boolean;
  pin(): void;
  unpin(): void;
}

/** The largest frame on a cable: an IP packet of 65535 bytes and its Ethernet header with a VLAN tag. */
export const MAX_FRAME: number = 65_535 + 18;
