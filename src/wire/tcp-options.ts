import { get16, get32, put16, put32 } from "./bytes.ts";
import { TCP_HEADER, tcpHeaderLength } from "./tcp.ts";

/** TCP options: RFC 9293 section 3.2 (MSS), RFC 7323 (window scale, timestamps), RFC 2018 (SACK). */
const OPT_END = 0;
const OPT_NOP = 1;
const OPT_MSS = 2;
const OPT_WINDOW_SCALE = 3;
const OPT_SACK_PERMITTED = 4;
const OPT_SACK = 5;
const OPT_TIMESTAMPS = 8;

/** The options of one segment. `mss` 0 and `windowScale` -1 mean "not offered". */
export interface TcpOptions {
  mss: number;
  windowScale: number;
  sackPermitted: boolean;
  timestamps: boolean;
  tsValue: number;
  tsEcho: number;
  /** Left and right edges of SACK blocks, in pairs; only the first `sackCount` * 2 entries are valid. */
  readonly sack: Int32Array;
  sackCount: number;
}

export function tcpOptions(): TcpOptions {
  return {
    mss: 0,
    windowScale: -1,
    sackPermitted: false,
    timestamps: false,
    tsValue: 0,
    tsEcho: 0,
    sack: new Int32Array(8),
    sackCount: 0,
  };
}

/** Reads a checked segment's options into `o`. An option length of 0, of 1, or beyond the header ends the reading. */
export function tcpReadOptions(buf: Uint8Array, at: number, o: TcpOptions): void {
  o.mss = 0;
  o.windowScale = -1;
  o.sackPermitted = false;
  o.timestamps = false;
  o.sackCount = 0;
  const end = at + tcpHeaderLength(buf, at);
  let i = at + TCP_HEADER;
  // Nearly every segment carries NOP, NOP, timestamps, and nothing else (RFC 7323 appendix A).
  if (end - i === 12 && get32(buf, i) === 0x0101080a) {
    o.timestamps = true;
    o.tsValue = get32(buf, i + 4);
    o.tsEcho = get32(buf, i + 8);
    return;
  }
  while (i < end) {
    const kind = buf[i]!;
    if (kind === OPT_END) return;
    if (kind === OPT_NOP) {
      i++;
      continue;
    }
    if (i + 1 >= end) return;
    const length = buf[i + 1]!;
    if (length < 2 || i + length > end) return;
    if (kind === OPT_MSS && length === 4) o.mss = get16(buf, i + 2);
    else if (kind === OPT_WINDOW_SCALE && length === 3) o.windowScale = Math.min(buf[i + 2]!, 14);
    else if (kind === OPT_SACK_PERMITTED && length === 2) o.sackPermitted = true;
    else if (kind === OPT_TIMESTAMPS && length === 10) {
      o.timestamps = true;
      o.tsValue = get32(buf, i + 2);
      o.tsEcho = get32(buf, i + 6);
    } else if (kind === OPT_SACK && (length - 2) % 8 === 0) {
      o.sackCount = Math.min((length - 2) >> 3, 4);
      for (let k = 0; k < o.sackCount * 2; k++) o.sack[k] = get32(buf, i + 2 + 4 * k);
    }
    i += length;
  }
}

export function writeMss(buf: Uint8Array, at: number, mss: number): number {
  buf[at] = OPT_MSS;
  buf[at + 1] = 4;
  put16(buf, at + 2, mss);
  return at + 4;
}

export function writeWindowScale(buf: Uint8Array, at: number, shift: number): number {
  buf[at] = OPT_NOP;
  buf[at + 1] = OPT_WINDOW_SCALE;
  buf[at + 2] = 3;
  buf[at + 3] = shift;
  return at + 4;
}

export function writeSackPermitted(buf: Uint8Array, at: number): number {
  buf[at] = OPT_NOP;
  buf[at + 1] = OPT_NOP;
  buf[at + 2] = OPT_SACK_PERMITTED;
  buf[at + 3] = 2;
  return at + 4;
}

export function writeTimestamps(buf: Uint8Array, at: number, value: number, echo: number): number {
  put32(buf, at, 0x0101080a);
  put32(buf, at + 4, value);
  put32(buf, at + 8, echo);
  return at + 12;
}

/** Writes SACK blocks from pairs of edges: 4 + 8 * count bytes. Returns the offset behind them. */
export function writeSack(buf: Uint8Array, at: number, edges: ArrayLike<number>, count: number): number {
  buf[at] = OPT_NOP;
  buf[at + 1] = OPT_NOP;
  buf[at + 2] = OPT_SACK;
  buf[at + 3] = 2 + 8 * count;
  for (let k = 0; k < count * 2; k++) put32(buf, at + 4 + 4 * k, edges[k]!);
  return at + 4 + 8 * count;
}
