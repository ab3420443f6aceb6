/**
 * vhost-user's messages (QEMU, docs/interop/vhost-user.rst): 32 bits each of request, flags and size, then a payload. Native
 * byte order, which is little-endian wherever we have the calls that this needs.
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
/** The longest payload that any request we know has is a table of eight regions; with room to spare. */
export const MOST_PAYLOAD = 1024;
const VERSION = 1;
const VERSION_MASK = 3;
const REPLY = 4;
const NEED_REPLY = 8;
/** In the payload of kick, call and err: the ring's number, and that no descriptor comes with it. */
const RING_MASK = 0xff;
const NO_DESCRIPTOR = 0x100;

/** Whether it is a request of the version that there is. */
export function isRequest(flags: number): boolean {
  return (flags & VERSION_MASK) === VERSION && (flags & REPLY) === 0;
}

export function needsReply(flags: number): boolean {
  return (flags & NEED_REPLY) !== 0;
}

/** Writes a reply's header before a payload of `size` bytes that stands at 12; the message's length. */
export function writeReply(into: Buffer, request: number, size: number): number {
  into.writeUInt32LE(request, 0);
  into.writeUInt32LE(VERSION | REPLY, 4);
  into.writeUInt32LE(size, 8);
  return MESSAGE_HEADER + size;
}

/** A stretch of the guest's memory. */
export interface RegionSpec {
  /** Where the guest has it. */
  readonly guest: bigint;
  readonly size: bigint;
  /** Where the front end has it: rings are told by such addresses. */
  readonly user: bigint;
  /** Where it begins in the file that came along. */
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

/** The regions of a SET_MEM_TABLE; null when the payload is not one. */
export function readMemTable(payload: Buffer): RegionSpec[] | null {
  if (payload.length < 8) return null;
  const count = payload.readUInt32LE(0);
  if (payload.length < 8 + count * REGION) return null;
  return Array.from({ length: count }, (_, i) => readRegion(payload, 8 + i * REGION));
}

/** The region of an ADD_MEM_REG or REM_MEM_REG; null when the payload is not one. */
export function readMemRegion(payload: Buffer): RegionSpec | null {
  return payload.length < 8 + REGION ? null : readRegion(payload, 8);
}

/** A ring's number, and a number about it. Null when the payload is not that. */
export function readVringState(payload: Buffer): { readonly ring: number; readonly value: number } | null {
  return payload.length < 8 ? null : { ring: payload.readUInt32LE(0), value: payload.readUInt32LE(4) };
}

/** Where a ring's parts are, as the front end has them. */
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

/** Which ring a kick, call or err is about, and whether a descriptor came along. Null when the payload is not that. */
export function readVringDescriptor(payload: Buffer): { readonly ring: number; readonly descriptor: boolean } | null {
  if (payload.length < 8) return null;
  const word = payload.readUInt32LE(0);
  return { ring: word & RING_MASK, descriptor: (word & NO_DESCRIPTOR) === 0 };
}

/** A 64-bit number; null when the payload is not one. */
export function readNumber(payload: Buffer): bigint | null {
  return payload.length < 8 ? null : payload.readBigUInt64LE(0);
}
