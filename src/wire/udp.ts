import { get16, put16 } from "./bytes.ts";
import { finish, fold, sum, valid } from "./checksum.ts";

/** UDP (RFC 768). */
export const UDP_HEADER = 8;

/**
 * Whether `len` bytes of IP payload hold a UDP datagram with a consistent length and a right checksum. A checksum of 0
 * means none, which only IPv4 allows. With `UNVERIFIED` for `pseudo` any checksum is right.
 */
export function udpCheck(buf: Uint8Array, at: number, len: number, pseudo: number): boolean {
  if (len < UDP_HEADER) return false;
  const length = get16(buf, at + 4);
  if (length < UDP_HEADER || length > len) return false;
  return pseudo < 0 || get16(buf, at + 6) === 0 || valid(pseudo + sum(buf, at, length));
}

export function udpSrc(buf: Uint8Array, at: number): number {
  return get16(buf, at);
}

export function udpDst(buf: Uint8Array, at: number): number {
  return get16(buf, at + 2);
}

/** The length of header and payload, in bytes. */
export function udpLength(buf: Uint8Array, at: number): number {
  return get16(buf, at + 4);
}

/**
 * Writes the header, checksum included, in front of `payload` bytes that already stand behind it. A sum of 0 is sent as
 * all ones.
 */
export function udpWrite(buf: Uint8Array, at: number, src: number, dst: number, payload: number, pseudo: number): void {
  putPorts(buf, at, src, dst, payload);
  put16(buf, at + 6, 0);
  put16(buf, at + 6, finish(pseudo + sum(buf, at, UDP_HEADER + payload)) || 0xffff);
}

/** As `udpWrite`, where the payload's sum is known. */
export function udpWriteSummed(
  buf: Uint8Array,
  at: number,
  src: number,
  dst: number,
  payload: number,
  pseudo: number,
  payloadSum: number,
): void {
  putPorts(buf, at, src, dst, payload);
  put16(buf, at + 6, finish(pseudo + src + dst + UDP_HEADER + payload + payloadSum) || 0xffff);
}

/** Writes the header and leaves the checksum undone: the field holds the pseudo-header's sum. */
export function udpWriteUndone(
  buf: Uint8Array,
  at: number,
  src: number,
  dst: number,
  payload: number,
  pseudo: number,
): void {
  putPorts(buf, at, src, dst, payload);
  put16(buf, at + 6, fold(pseudo));
}

/** Writes all of the header but the checksum. */
function putPorts(buf: Uint8Array, at: number, src: number, dst: number, payload: number): void {
  put16(buf, at, src);
  put16(buf, at + 2, dst);
  put16(buf, at + 4, UDP_HEADER + payload);
}
