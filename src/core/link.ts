/**
 * A guest's cable, as the stack sees it. Frames are Ethernet frames without FCS.
 *
 * Some cables (vhost-user, a TAP with `struct virtio_net_hdr`) carry unfinished frames: the transport checksum is left
 * to the receiver, and a TCP segment may be longer than the MTU; it is cut before it reaches a cable that needs shorter
 * ones. A number beside the frame, `undone`, says what is missing:
 *
 * - `COMPLETE` (0): nothing.
 * - `SUM_UNDONE` (1): the TCP or UDP checksum field holds only the folded sum of the pseudo-header (not complemented).
 * - `LEAST_SEGMENT` (64) or more: the checksum is missing, and the TCP payload is to be cut into segments of that many
 *   bytes (gso_size). The pseudo-header's length is that of the whole payload. IP fragments are always complete.
 *
 * To send: `reserve`, write the frame in place, `commit`. Nothing reaches the wire before `flush`, which the stack
 * calls once per batch. To receive: the attachment calls `LinkReceiver.receive` for each frame of a read, then
 * `batchEnd`. The frames of a batch stand one behind the other in one slab; a replay relies on that
 * (`record/batch-slabs`).
 */
export interface Link {
  /**
   * The array that frames are written to. It is long-lived, but `reserve` may replace it, so read `tx` after each
   * reserve.
   */
  readonly tx: Uint8Array;
  /** The attachment's name, for logs and captures: `unix:/run/x#1`. */
  readonly name: string;
  /** The cable leads to a segment of other machines, not to a guest (default false). */
  readonly uplink?: boolean;
  /** The cable does not notice when its guest has gone, as with UDP (default false). */
  readonly endless?: boolean;
  /**
   * The cable stays within this process: a write costs nothing, so answers to a read never wait for more data (default
   * false).
   */
  readonly direct?: boolean;
  /**
   * What may be left undone in frames committed to this cable; null or absent for nothing. It may change whenever the
   * guest renegotiates, so read it for each frame. It is null while impairment looks at each frame by itself.
   */
  readonly offload?: Offload | null;
  /**
   * Reserves room for a frame of up to `len` bytes. Returns its offset in `tx`, or -1 when the cable is full (then the
   * receiver's `writable` follows).
   */
  reserve(len: number): number;
  /**
   * Adds `len` bytes of `buf` to the frame at the last reserve, in place of the bytes at `o` in `tx`. The cable copies
   * them to its guest from `buf`, so they must stay unchanged until `commit`. Gathered pieces form the end of the
   * frame, in order. Left out: the whole frame is written to `tx`.
   */
  gather?(o: number, buf: Uint8Array, at: number, len: number): void;
  /**
   * Completes the frame of `len` bytes at the last reserve. `undone` says what is missing from it, no more than
   * `offload` allows (default `COMPLETE`).
   */
  commit(len: number, undone?: number): void;
  /** Hands all committed frames to the wire. */
  flush(): void;
  /** Releases memory that the cable does not need while no frames pass. */
  rest?(): void;
  /** Ends this cable; `detached` follows. */
  close(): void;
}

/**
 * The stack's side of a cable, which the attachment calls. Implemented by the stack (one guest), and by `attach/switch`
 * (several).
 */
export interface LinkReceiver {
  attached(link: Link): void;
  /**
   * Whether the payload of the frame that the next `receive` brings may stay in the guest's memory (`Slab.elsewhere`),
   * because only a host's socket reads it, and can take it from there. Only the first `head` bytes of the frame are in
   * the slab. Left out: no payload may stay.
   */
  leavesPayload?(link: Link, slab: Slab, at: number, head: number, len: number, undone: number): boolean;
  /**
   * Takes one frame, valid during the call. A receiver that must read the bytes after `batchEnd` (for a pending host
   * write) calls `slab.pin()`, and later `slab.unpin()`. The attachment has checked that a frame with something
   * `undone` (default `COMPLETE`) is TCP or UDP over IP.
   */
  receive(link: Link, slab: Slab, at: number, len: number, undone?: number): void;
  /** All frames of one read have been handed over: the receiver acknowledges and flushes. */
  batchEnd(link: Link): void;
  /** A full cable has room again. */
  writable(link: Link): void;
  detached(link: Link): void;
}

/** Memory that a cable reads into. A pinned slab is not overwritten. */
export interface Slab {
  readonly bytes: Uint8Array;
  /** Whether so many slabs are pinned already that a writer copies its bytes instead of pinning this slab too. */
  readonly scarce: boolean;
  /** Payload that is not in `bytes` yet, until the end of the batch. Null or left out: all payload is. */
  readonly elsewhere?: Elsewhere | null;
  pin(): void;
  unpin(): void;
}

/**
 * Payload of a slab that still stands in the guest's own memory. The guest may change it until it is copied or sent;
 * that harms nobody else, because headers are always copied first.
 */
export interface Elsewhere {
  /** Copies the missing parts of the `len` bytes at `at` into the slab. */
  fill(at: number, len: number): void;
  /**
   * Writes `count` ranges of the slab to a socket's descriptor, each byte from where it stands, without waiting.
   * Returns how many bytes the kernel has taken; 0 also when it refuses.
   */
  send(fd: number, at: Int32Array, len: Int32Array, count: number): number;
}

/** The unfinished frames that the guest behind a cable takes. */
export interface Offload {
  /** Whether TCP and UDP checksums may be left undone (`SUM_UNDONE`). */
  readonly sums: boolean;
  /** Whether TCP segments over IPv4, and over IPv6, may be longer than the MTU. Never without `sums`. */
  readonly tcp4: boolean;
  readonly tcp6: boolean;
  /** The longest frame, in bytes: an empty cable always takes it, and it is at most `MAX_FRAME`. */
  readonly largest: number;
}

/** Values of `undone`. */
export const COMPLETE = 0;
export const SUM_UNDONE = 1;
/** The smallest segment size into which a frame may be cut; values of `undone` from here on are such sizes. */
export const LEAST_SEGMENT = 64;

/** The largest frame on a cable: an IP packet of 65535 bytes and its Ethernet header with a VLAN tag. */
export const MAX_FRAME: number = 65_535 + 18;
