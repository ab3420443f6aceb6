/**
 * pcapng, the capture format of Wireshark and tcpdump (draft-ietf-opsawg-pcapng). Blocks are written in little-endian
 * order, which the section header's magic number announces. Readers of files take either order; Wireshark's reader of
 * pipes only takes its own machine's. Every writer returns the offset of the next block; the `…Length` function beside
 * it says how many bytes the writer needs.
 */

/** The type of the first block, which reads the same in either byte order: a file's first four bytes. */
export const SECTION_HEADER = 0x0a0d0d0a;
const INTERFACE_DESCRIPTION = 1;
const INTERFACE_STATISTICS = 5;
const ENHANCED_PACKET = 6;
const BYTE_ORDER_MAGIC = 0x1a2b3c4d;
const LINKTYPE_ETHERNET = 1;

const OPT_END = 0;
const OPT_COMMENT = 1;
const SHB_USERAPPL = 4;
const IF_NAME = 2;
const EPB_FLAGS = 2;
const ISB_IFRECV = 4;
const ISB_IFDROP = 5;

/** Direction bits of a packet (section 4.3.1, epb_flags), seen from our end of the cable. */
export const INBOUND = 1;
export const OUTBOUND = 2;

/** Where a packet's bytes begin in its block. */
export const PACKET_DATA = 28;
/** Bytes of a block beside its body: its type, its length, and its length once more. */
const BLOCK = 12;
/** Bytes behind a packet's: the option for its direction, and the end of the options. */
const PACKET_OPTIONS = 8 + 4;

const pad4 = (n: number): number => (n + 3) & ~3;
const optionLength = (value: Uint8Array): number => 4 + pad4(value.length);

export function sectionLength(application: Uint8Array): number {
  return BLOCK + 16 + optionLength(application) + 4;
}

/** Writes the section header, which names the program that wrote the file. */
export function writeSection(buf: Uint8Array, at: number, application: Uint8Array): number {
  const len = sectionLength(application);
  let o = begin(buf, at, SECTION_HEADER, len);
  put32(buf, o, BYTE_ORDER_MAGIC);
  put16(buf, o + 4, 1);
  put16(buf, o + 6, 0);
  // −1: the section's length is not known beforehand.
  put32(buf, o + 8, -1);
  put32(buf, o + 12, -1);
  o = putOption(buf, o + 16, SHB_USERAPPL, application);
  return end(buf, o, at, len);
}

export function interfaceLength(name: Uint8Array): number {
  return BLOCK + 8 + optionLength(name) + 4;
}

/** Writes an Ethernet interface. Interfaces are numbered from 0 in their order in the file. */
export function writeInterface(buf: Uint8Array, at: number, name: Uint8Array, snapLength: number): number {
  const len = interfaceLength(name);
  let o = begin(buf, at, INTERFACE_DESCRIPTION, len);
  put16(buf, o, LINKTYPE_ETHERNET);
  put16(buf, o + 2, 0);
  put32(buf, o + 4, snapLength);
  o = putOption(buf, o + 8, IF_NAME, name);
  return end(buf, o, at, len);
}

export function packetLength(captured: number): number {
  return BLOCK + 20 + pad4(captured) + PACKET_OPTIONS;
}

/**
 * Writes a packet of `len` bytes at `from`, of which the first `captured` are kept. `micros` are microseconds since
 * 1970: the default resolution, if an interface names none.
 */
export function writePacket(
  buf: Uint8Array,
  at: number,
  interfaceId: number,
  micros: number,
  frame: Uint8Array,
  from: number,
  len: number,
  captured: number,
  direction: number,
): number {
  const total = packetLength(captured);
  let o = begin(buf, at, ENHANCED_PACKET, total);
  put32(buf, o, interfaceId);
  putTime(buf, o + 4, micros);
  put32(buf, o + 12, captured);
  put32(buf, o + 16, len);
  o += 20;
  buf.set(frame.subarray(from, from + captured), o);
  buf.fill(0, o + captured, o + pad4(captured));
  o += pad4(captured);
  put16(buf, o, EPB_FLAGS);
  put16(buf, o + 2, 4);
  put32(buf, o + 4, direction);
  return end(buf, o + 8, at, total);
}

/** How many bytes a comment adds to a block. */
export function commentLength(comment: Uint8Array): number {
  return optionLength(comment);
}

/** Adds a comment to the last block, which begins at `at`. */
export function addComment(buf: Uint8Array, at: number, comment: Uint8Array): number {
  const len = get32(buf, at + 4);
  const o = putOption(buf, at + len - 8, OPT_COMMENT, comment);
  put32(buf, at + 4, len + optionLength(comment));
  return end(buf, o, at, len + optionLength(comment));
}

export const STATISTICS_LENGTH: number = BLOCK + 12 + 12 + 12 + 4;

/** Writes an interface's counters at the end of a capture. */
export function writeStatistics(
  buf: Uint8Array,
  at: number,
  interfaceId: number,
  micros: number,
  received: number,
  dropped: number,
): number {
  let o = begin(buf, at, INTERFACE_STATISTICS, STATISTICS_LENGTH);
  put32(buf, o, interfaceId);
  putTime(buf, o + 4, micros);
  o = putCount(buf, o + 12, ISB_IFRECV, received);
  o = putCount(buf, o, ISB_IFDROP, dropped);
  return end(buf, o, at, STATISTICS_LENGTH);
}

function begin(buf: Uint8Array, at: number, type: number, len: number): number {
  put32(buf, at, type);
  put32(buf, at + 4, len);
  return at + 8;
}

function end(buf: Uint8Array, o: number, at: number, len: number): number {
  put16(buf, o, OPT_END);
  put16(buf, o + 2, 0);
  put32(buf, at + len - 4, len);
  return at + len;
}

function putOption(buf: Uint8Array, at: number, code: number, value: Uint8Array): number {
  put16(buf, at, code);
  put16(buf, at + 2, value.length);
  buf.set(value, at + 4);
  buf.fill(0, at + 4 + value.length, at + optionLength(value));
  return at + optionLength(value);
}

function putCount(buf: Uint8Array, at: number, code: number, count: number): number {
  put16(buf, at, code);
  put16(buf, at + 2, 8);
  put64(buf, at + 4, count);
  return at + 12;
}

/** Writes a time as two words, the high one first, whatever the byte order within them (section 4.3). */
function putTime(buf: Uint8Array, at: number, micros: number): void {
  put32(buf, at, Math.floor(micros / 0x1_0000_0000));
  put32(buf, at + 4, micros >>> 0);
}

function put64(buf: Uint8Array, at: number, value: number): void {
  put32(buf, at, value >>> 0);
  put32(buf, at + 4, Math.floor(value / 0x1_0000_0000));
}

function put32(buf: Uint8Array, at: number, value: number): void {
  put16(buf, at, value);
  put16(buf, at + 2, value >>> 16);
}

function put16(buf: Uint8Array, at: number, value: number): void {
  buf[at] = value;
  buf[at + 1] = value >>> 8;
}

function get32(buf: Uint8Array, at: number): number {
  return buf[at]! | (buf[at + 1]! << 8) | (buf[at + 2]! << 16) | (buf[at + 3]! << 24);
}
