/**
 * vhost-user's messages (QEMU, docs/interop/vhost-user.rst): 32 bits each of request, flags and size, then a payload.
 * The byte order is the machine's, which is little-endian wherever we have the system calls that this needs.
 */

/** Requests of the front end. */
export const GET_FEATURES = 1;
export const SET_FEATURES = 2;
export const SET_OWNER = 3;
export const RESET_OWNER = 4;
export const SET_MEM_TABLE = 5;
export const SET_VRING_NUM = 8;
export const SET_VRING_ADDR = 9;
export const SET_VRING_BASE = 10;
export const GET_VRING_BASE = 11;
export const SET_VRING_KICK = 12;
export const SET_VRING_CALL = 13;
export const SET_VRING_ERR = 14;
export const GET_PROTOCOL_FEATURES = 15;
export const SET_PROTOCOL_FEATURES = 16;
export const GET_QUEUE_NUM = 17;
export const SET_VRING_ENABLE = 18;
export const GET_MAX_MEM_SLOTS = 36;
export const ADD_MEM_REG = 37;
export const REM_MEM_REG = 38;

export const MESSAGE_HEADER = 12;
/** More than the longest payload of a request that we know, a table of eight regions. */
export const MOST_PAYLOAD = 1024;
const VERSION = 1;
const VERSION_MASK = 3;
const REPLY = 4;
const NEED_REPLY = 8;
/** In the payload of kick, call and err: the ring's number, and the bit that says that no descriptor comes with it. */
const RING_MASK = 0xff;
const NO_DESCRIPTOR = 0x100;

/** Whether the flags are a request's, of the one version that there is. */
export function isRequest(flags: number): boolean {
  return (flags & VERSION_MASK) === VERSION && (flags & REPLY) === 0;
}

export function needsReply(flags: number): boolean {
  return (flags & NEED_REPLY) !== 0;
}

/** Writes a reply's header before a payload of `size` bytes at 12. Returns the message's length. */
export function writeReply(into: Buffer, request: number, size: number): number {
  into.writeUInt32LE(request, 0);
  into.writeUInt32LE(VERSION | REPLY, 4);
  into.writeUInt32LE(size, 8);
  return MESSAGE_HEADER + size;
}

/** A region of the guest's memory. */
export interface RegionSpec {
  /** The guest's address. */
  readonly guest: bigint;
  readonly size: bigint;
  /** The front end's address; the addresses of rings are the front end's. */
  readonly user: bigint;
  /** Where the region begins in the file whose descriptor came with it. */
  readonly offset: bigint;
}

const REGION = 32;

function readRegion(payload: Buffer, at: number): RegionSpec {
  return {
    guest: payload.readBigUInt64LE(at),
    size: payload.readBigUInt64LE(at + 8),
    user: payload.readBigUInt64LE(at + 16),
    offset: payload.readBigUInt64LE(at + 24),
  };
}

/** The regions of a SET_MEM_TABLE; null when the payload is malformed. */
export function readMemTable(payload: Buffer): RegionSpec[] | null {
  if (payload.length < 8) return null;
  const count = payload.readUInt32LE(0);
  if (payload.length < 8 + count * REGION) return null;
  return Array.from({ length: count }, (_, i) => readRegion(payload, 8 + i * REGION));
}

/** The region of an ADD_MEM_REG or REM_MEM_REG; null when the payload is malformed. */
export function readMemRegion(payload: Buffer): RegionSpec | null {
  return payload.length < 8 + REGION ? null : readRegion(payload, 8);
}

/** A ring's number, and a value for it; null when the payload is malformed. */
export function readVringState(payload: Buffer): { readonly ring: number; readonly value: number } | null {
  return payload.length < 8 ? null : { ring: payload.readUInt32LE(0), value: payload.readUInt32LE(4) };
}

/** The front end's addresses of a ring's parts. */
export interface VringAddresses {
  readonly ring: number;
  readonly descriptors: bigint;
  readonly used: bigint;
  readonly available: bigint;
}

export function readVringAddresses(payload: Buffer): VringAddresses | null {
  if (payload.length < 40) return null;
  return {
    ring: payload.readUInt32LE(0),
    descriptors: payload.readBigUInt64LE(8),
    used: payload.readBigUInt64LE(16),
    available: payload.readBigUInt64LE(24),
  };
}

/** The ring of a kick, call or err, and whether a descriptor came with it; null when the payload is malformed. */
export function readVringDescriptor(payload: Buffer): { readonly ring: number; readonly descriptor: boolean } | null {
  if (payload.length < 8) return null;
  const word = payload.readUInt32LE(0);
  return { ring: word & RING_MASK, descriptor: (word & NO_DESCRIPTOR) === 0 };
}

/** A number of 64 bits; null when the payload is malformed. */
export function readNumber(payload: Buffer): bigint | null {
  return payload.length < 8 ? null : payload.readBigUInt64LE(0);
}
