/**
 * TFTP packets (RFC 1350) with option negotiation (RFC 2347), as UDP payload: two bytes of opcode, then
 *
 *   RRQ, WRQ   name NUL mode NUL (option NUL value NUL)*
 *   DATA       block number (2), bytes
 *   ACK        block number (2)
 *   ERROR      code (2), message NUL
 *   OACK       (option NUL value NUL)*
 */
import { get16, put16 } from "./bytes.ts";

export const TFTP_PORT = 69;

export const TFTP_RRQ = 1;
export const TFTP_WRQ = 2;
export const TFTP_DATA = 3;
export const TFTP_ACK = 4;
export const TFTP_ERROR = 5;
export const TFTP_OACK = 6;

/** Values of ERROR's code (RFC 1350 appendix I, RFC 2347 section 4). */
export const TFTP_ERR_UNDEFINED = 0;
export const TFTP_ERR_NOT_FOUND = 1;
export const TFTP_ERR_ACCESS = 2;
export const TFTP_ERR_ILLEGAL = 4;
export const TFTP_ERR_UNKNOWN_ID = 5;
export const TFTP_ERR_OPTIONS = 8;

/** The length of the header in front of DATA's bytes. */
export const TFTP_HEADER = 4;
/** The bytes of a block unless another size is negotiated, and the sizes that may be negotiated (RFC 2348). */
export const TFTP_BLOCK = 512;
export const TFTP_BLOCK_MIN = 8;
export const TFTP_BLOCK_MAX = 65_464;

const LF = 10;
const CR = 13;
const decoder = new TextDecoder("utf-8", { ignoreBOM: true });
const encoder = new TextEncoder();

/** A read or write request. */
export interface TftpRequest {
  readonly name: string;
  /** The transfer mode in lower case: modes are compared without regard to case (RFC 1350 section 5). */
  readonly mode: string;
  /** Options in the order of the request, names in lower case. If an option comes twice, the first counts. */
  readonly options: ReadonlyMap<string, string>;
}

/** The opcode of a packet of `len` bytes; 0, which no packet has, when it is too short. */
export function tftpOpcode(buf: Uint8Array, at: number, len: number): number {
  return len < TFTP_HEADER ? 0 : get16(buf, at);
}

/** The block number of DATA or ACK; the code of ERROR. */
export function tftpNumber(buf: Uint8Array, at: number): number {
  return get16(buf, at + 2);
}

/** Reads a request of `len` bytes; null when a text in it has no closing NUL. Padding by zeros is allowed. */
export function tftpRequest(buf: Uint8Array, at: number, len: number): TftpRequest | null {
  const end = at + len;
  const texts: string[] = [];
  for (let i = at + 2; i < end; ) {
    const nul = buf.indexOf(0, i);
    if (nul < 0 || nul >= end) return null;
    texts.push(decoder.decode(buf.subarray(i, nul)));
    i = nul + 1;
  }
  const [name, mode] = texts;
  if (name === undefined || mode === undefined) return null;
  const options = new Map<string, string>();
  for (let i = 2; i + 1 < texts.length && texts[i] !== ""; i += 2) {
    const option = texts[i]!.toLowerCase();
    if (!options.has(option)) options.set(option, texts[i + 1]!);
  }
  return { name, mode: mode.toLowerCase(), options };
}

/** The text of an ERROR of `len` bytes; a missing NUL at its end is allowed. */
export function tftpErrorText(buf: Uint8Array, at: number, len: number): string {
  const text = buf.subarray(at + TFTP_HEADER, at + len);
  const nul = text.indexOf(0);
  return decoder.decode(nul < 0 ? text : text.subarray(0, nul));
}

/**
 * Writes DATA's header; the data goes behind it. Block numbers wrap to 0 (no standard says so, but all clients agree).
 */
export function tftpWriteData(out: Uint8Array, at: number, block: number): void {
  put16(out, at, TFTP_DATA);
  put16(out, at + 2, block & 0xffff);
}

export function tftpError(code: number, message: string): Uint8Array {
  const text = encoder.encode(message);
  const packet = new Uint8Array(TFTP_HEADER + text.length + 1);
  put16(packet, 0, TFTP_ERROR);
  put16(packet, 2, code);
  packet.set(text, TFTP_HEADER);
  return packet;
}

export function tftpOack(options: Iterable<readonly [string, number]>): Uint8Array {
  let text = "";
  for (const [option, value] of options) text += `${option}\0${value}\0`;
  const bytes = encoder.encode(text);
  const packet = new Uint8Array(2 + bytes.length);
  put16(packet, 0, TFTP_OACK);
  packet.set(bytes, 2);
  return packet;
}

/**
 * Translates bytes to netascii (RFC 764, as RFC 1350 names it): LF becomes CR LF, CR becomes CR NUL. Reads `from`
 * between `at` and `end`, and writes `into` between `to` and `limit`. `half` says that the CR of the byte at `at` has
 * been written already. Returns the `at`, `half` and `to` at which the next call goes on.
 */
export function netascii(
  from: Uint8Array,
  at: number,
  end: number,
  half: boolean,
  out: Uint8Array,
  to: number,
  limit: number,
): { at: number; half: boolean; to: number } {
  while (at < end && to < limit) {
    const byte = from[at]!;
    const double = byte === LF || byte === CR;
    if (double && !half) {
      out[to++] = CR;
      half = true;
      continue;
    }
    out[to++] = half && byte === CR ? 0 : byte;
    half = false;
    at++;
  }
  return { at, half, to };
}
