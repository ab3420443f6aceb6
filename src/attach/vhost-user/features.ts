/**
 * The features that we and others agree on: with the driver in the guest (virtio 1.2), and with the front end
 * (vhost-user).
 */

/** Feature bits of virtio and its network card (virtio 1.2, 5.1.3 and 6). */
export const F_CSUM = 0;
export const F_GUEST_CSUM = 1;
export const F_GUEST_TSO4 = 7;
export const F_GUEST_TSO6 = 8;
export const F_HOST_TSO4 = 11;
export const F_HOST_TSO6 = 12;
export const F_MRG_RXBUF = 15;
export const F_INDIRECT_DESC = 28;
export const F_EVENT_IDX = 29;
/** A feature of vhost-user itself, which the guest never sees. */
export const F_PROTOCOL_FEATURES = 30;
export const F_VERSION_1 = 32;

/** Bits of vhost-user's protocol features. */
const P_REPLY_ACK = 3;
const P_CONFIGURE_MEM_SLOTS = 15;

function bits(...numbers: readonly number[]): bigint {
  return numbers.reduce((all, bit) => all | (1n << BigInt(bit)), 0n);
}

/**
 * The features that we offer. In-band notifications (protocol bit 14) never: QEMU accepts that bit without doing it.
 */
export const OFFERED: bigint = bits(
  ...[F_CSUM, F_GUEST_CSUM, F_GUEST_TSO4, F_GUEST_TSO6, F_HOST_TSO4, F_HOST_TSO6],
  ...[F_MRG_RXBUF, F_INDIRECT_DESC, F_EVENT_IDX, F_PROTOCOL_FEATURES, F_VERSION_1],
);
/**
 * Without the feature of a shared log (1) QEMU refuses to migrate, or to save the machine's state. It must, since it
 * would miss the pages that we write.
 */
export const OFFERED_PROTOCOL: bigint = bits(P_REPLY_ACK, P_CONFIGURE_MEM_SLOTS);

/** The features that a driver has accepted, each as a question of the packet path. */
export interface Features {
  readonly csum: boolean;
  readonly guestCsum: boolean;
  readonly guestTso4: boolean;
  readonly guestTso6: boolean;
  readonly hostTso4: boolean;
  readonly hostTso6: boolean;
  readonly mergeable: boolean;
  readonly indirect: boolean;
  readonly eventIdx: boolean;
  /** Bytes of `struct virtio_net_hdr`: for a legacy driver without mergeable buffers it has no `num_buffers`. */
  readonly header: number;
}

export function readFeatures(agreed: bigint): Features {
  const has = (bit: number): boolean => ((agreed >> BigInt(bit)) & 1n) === 1n;
  const mergeable = has(F_MRG_RXBUF);
  return {
    csum: has(F_CSUM),
    guestCsum: has(F_GUEST_CSUM),
    guestTso4: has(F_GUEST_TSO4),
    guestTso6: has(F_GUEST_TSO6),
    hostTso4: has(F_HOST_TSO4),
    hostTso6: has(F_HOST_TSO6),
    mergeable,
    indirect: has(F_INDIRECT_DESC),
    eventIdx: has(F_EVENT_IDX),
    header: mergeable || has(F_VERSION_1) ? 12 : 10,
  };
}

export function hasProtocolFeatures(agreed: bigint): boolean {
  return ((agreed >> BigInt(F_PROTOCOL_FEATURES)) & 1n) === 1n;
}

export function hasReplyAck(agreed: bigint): boolean {
  return ((agreed >> BigInt(P_REPLY_ACK)) & 1n) === 1n;
}
