import { get16, get32, put16, put32 } from "./bytes.ts";
import { finish, fold, sum, valid } from "./checksum.ts";

/** TCP (RFC 9293 section 3.1). `at` is the header's first byte throughout. */
export const TCP_HEADER = 20;
export const FIN = 1;
export const SYN = 2;
export const RST = 4;
export const PSH = 8;
export const ACK = 16;

/**
 * Whether `len` bytes hold a TCP segment: the data offset lies within them, and the checksum is right. `pseudo` is the
 * pseudo-header's sum, or `UNVERIFIED`.
 */
export function tcpCheck(buf: Uint8Array, at: number, len: number, pseudo: number): boolean {
  return tcpShape(buf, at, len) && (pseudo < 0 || valid(pseudo + sum(buf, at, len)));
}

/** Whether the data offset lies within `len` bytes. */
export function tcpShape(buf: Uint8Array, at: number, len: number): boolean {
  if (len < TCP_HEADER) return false;
  const header = tcpHeaderLength(buf, at);
  return header >= TCP_HEADER && header <= len;
}

export function tcpSrc(buf: Uint8Array, at: number): number {
  return get16(buf, at);
}

export function tcpDst(buf: Uint8Array, at: number): number {
  return get16(buf, at + 2);
}

export function tcpSeq(buf: Uint8Array, at: number): number {
  return get32(buf, at + 4);
}

export function tcpAck(buf: Uint8Array, at: number): number {
  return get32(buf, at + 8);
}

export function tcpHeaderLength(buf: Uint8Array, at: number): number {
  return (buf[at + 12]! >> 4) * 4;
}

/**
 * FIN, SYN, RST, PSH and ACK. URG is left out: its pointer never affects the stream, which RFC 9293 section 3.8.5
 * allows.
 */
export function tcpFlags(buf: Uint8Array, at: number): number {
  return buf[at + 13]! & 0x1f;
}

/** The window field, not scaled. */
export function tcpWindow(buf: Uint8Array, at: number): number {
  return get16(buf, at + 14);
}

/** Writes the fixed header; options go to `at + 20`, and the payload behind them. `tcpSeal` completes the segment. */
export function tcpWrite(
  buf: Uint8Array,
  at: number,
  src: number,
  dst: number,
  seq: number,
  ack: number,
  headerLength: number,
  flags: number,
  window: number,
): void {
  put16(buf, at, src);
  put16(buf, at + 2, dst);
  put32(buf, at + 4, seq);
  put32(buf, at + 8, ack);
  buf[at + 12] = headerLength << 2;
  buf[at + 13] = flags;
  put16(buf, at + 14, window);
  put32(buf, at + 16, 0);
}

/** Leaves the checksum undone: writes the pseudo-header's sum into the field. */
export function tcpLeaveSum(buf: Uint8Array, at: number, pseudo: number): void {
  put16(buf, at + 16, fold(pseudo));
}

/**
 * Fills in the checksum over `len` bytes, header and payload; or over the header alone, when `more` is the payload's
 * sum.
 */
export function tcpSeal(buf: Uint8Array, at: number, len: number, pseudo: number, more = 0): void {
  put16(buf, at + 16, finish(pseudo + sum(buf, at, len) + more));
}
