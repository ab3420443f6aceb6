/**
 * A guest's cable, as the stack sees it. Frames are Ethernet frames without FCS.
 *
 * Some cables (vhost-user, a TAP with `struct virtio_net_hdr`) carry frames that are not finished: the transport
 * checksum is left to whoever needs it, and a TCP segment may be longer than the MTU, to be cut when it meets a cable
 * that needs it shorter. What is missing from a frame is told beside it, as one number:
 *
 * - `COMPLETE` (0): nothing.
 * - `SUM_UNDONE` (1): the TCP or UDP checksum field holds the folded sum of the pseudo-header only (not complemented).
 * - `LEAST_SEGMENT` (64) or more: the same, and the TCP payload is to be cut into segments of so many bytes (gso_size).
 *   The pseudo-header's length is that of the whole. No IP fragment is undone in either way.
 *
 * Outward: `reserve`, write the frame in place, `commit`. Nothing reaches the wire before `flush`, which the stack
 * calls once per batch. Inward: the attachment calls `LinkReceiver.receive` for each frame of a read, then `batchEnd`.
 * The frames of a batch stand in one slab, one behind the other; a replay relies on that (`record/batch-slabs`).
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
  /**
   * What may be left undone in frames committed to this cable; null or absent for nothing. It may change whenever the
   * guest renegotiates, so read it for each frame. It is null while something looks at each frame by itself (impairment).
   */
  readonly offload?: Offload | null;
  /** Room for a frame of up to `len` bytes: its offset in `tx`, or -1 when the cable is full (the receiver's `writable` follows). */
  reserve(len: number): number;
  /**
   * The frame at the last reserve goes on with `len` bytes of `buf` in place of those at `o` in `tx`, where they need not be
   * put: the cable copies them to its guest from where they stand, which they do until `commit`. What is gathered is the end of
   * the frame, piece by piece. Left out: all of a frame is written to `tx`.
   */
  gather?(o: number, buf: Uint8Array, at: number, len: number): void;
  /**
   * The frame at the last reserve stands there with `len` bytes; `undone` says what is missing from it, no more than
   * `offload` allows (`COMPLETE` when left out).
   */
  commit(len: number, undone?: number): void;
  /** Hands all committed frames to the wire. */
  flush(): void;
  /** Lets go of memory that it does not need while nothing passes. */
  rest?(): void;
  /** Ends this cable; `detached` follows. */
  close(): void;
}

/** What an attachment calls. Implemented by the stack (one guest, or several through `attach/switch`). */
export interface LinkReceiver {
  attached(link: Link): void;
  /**
   * Whether the payload of the frame for which `receive` is called next may be left where the guest has it (`Slab.elsewhere`):
   * nobody looks at it on its way to a host's socket, which takes it from there. Only the first `head` bytes of the frame
   * are in the slab. Left out: no payload may.
   */
  leavesPayload?(link: Link, slab: Slab, at: number, head: number, len: number, undone: number): boolean;
  /**
   * One frame, valid during the call. If the receiver must keep reading the bytes after `batchEnd` (a host write is
   * pending on them), it calls `slab.pin()` and later `slab.unpin()`. The attachment has checked that a frame with
   * something `undone` is TCP or UDP over IP (`COMPLETE` when left out).
   */
  receive(link: Link, slab: Slab, at: number, len: number, undone?: number): void;
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
  /** Bytes that are not in `bytes` yet, until the end of the batch. Null or left out: all are. */
  readonly elsewhere?: Elsewhere | null;
  pin(): void;
  unpin(): void;
}

/**
 * Payload in a slab that stands in the guest's own memory still. The guest may change it until it is copied or sent, which
 * harms nobody else: no header is ever left there.
 */
export interface Elsewhere {
  /** Puts what of the `len` bytes at `at` of the slab is elsewhere in its place. */
  fill(at: number, len: number): void;
  /**
   * Writes `count` ranges of the slab to a socket's descriptor, each byte from where it stands, without waiting. How many bytes
   * the kernel has taken; 0 also when it refuses.
   */
  send(fd: number, at: Int32Array, len: Int32Array, count: number): number;
}

/** What a guest behind a cable takes undone. */
export interface Offload {
  /** TCP and UDP checksums (`SUM_UNDONE`). */
  readonly sums: boolean;
  /** TCP segments over IPv4, over IPv6, longer than the MTU. Never without `sums`. */
  readonly tcp4: boolean;
  readonly tcp6: boolean;
  /** The longest frame, in bytes: no more than an empty cable always takes, and at most `MAX_FRAME`. */
  readonly largest: number;
}

/** Values of `undone`. */
export const COMPLETE = 0;
export const SUM_UNDONE = 1;
/** The smallest size of the segments that a frame is to be cut into; a larger value of `undone` is that size. */
export const LEAST_SEGMENT = 64;

/** The largest frame on a cable: an IP packet of 65535 bytes and its Ethernet header with a VLAN tag. */
export const MAX_FRAME: number = 65_535 + 18;
