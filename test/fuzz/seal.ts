/** Puts a changed frame's lengths and checksums right, so that it gets past them to what is behind. */
import { internetChecksum } from "../support/frames.ts";

const TCP = 6;
const UDP = 17;
const ICMP = 1;
const ICMP6 = 58;

const get16 = (b: Uint8Array, at: number): number => (b[at]! << 8) | b[at + 1]!;
function put16(b: Uint8Array, at: number, value: number): void {
  b[at] = (value >> 8) & 255;
  b[at + 1] = value & 255;
}
export function put32(b: Uint8Array, at: number, value: number): void {
  put16(b, at, value >>> 16);
  put16(b, at + 2, value & 0xffff);
}

/** Where the TCP header of a frame stands; -1 if there is none. */
export function tcpAt(frame: Uint8Array): number {
  const { proto, at } = upper(frame);
  return proto === TCP && at + 20 <= frame.length ? at : -1;
}

function upper(frame: Uint8Array): { proto: number; at: number } {
  const type = frame.length >= 34 ? get16(frame, 12) : 0;
  if (type === 0x0800 && (get16(frame, 20) & 0x1fff) === 0)
    return { proto: frame[23]!, at: 14 + (frame[14]! & 15) * 4 };
  if (type === 0x86dd && frame.length >= 54) return { proto: frame[20]!, at: 54 };
  return { proto: -1, at: 0 };
}

/** In place. Without `lengths` a UDP length stays what it is, and has no checksum when it is wrong. */
export function seal(frame: Uint8Array, lengths = true): Uint8Array {
  const type = frame.length >= 34 ? get16(frame, 12) : 0;
  const v4 = type === 0x0800;
  if (!v4 && (type !== 0x86dd || frame.length < 54)) return frame;
  const { proto, at } = upper(frame);
  const length = frame.length - at;
  if (v4) {
    put16(frame, 16, frame.length - 14);
    const end = Math.min(14 + (frame[14]! & 15) * 4, frame.length);
    put16(frame, 24, 0);
    put16(frame, 24, internetChecksum(frame.subarray(14, end)));
  } else put16(frame, 18, frame.length - 54);
  const field = { [TCP]: 16, [UDP]: 6, [ICMP]: 2, [ICMP6]: 2 }[proto];
  if (field === undefined || length < 8 || at + field + 2 > frame.length) return frame;
  if (proto === UDP && lengths) put16(frame, at + 4, length);
  put16(frame, at + field, 0);
  if (proto === UDP && get16(frame, at + 4) !== length) return frame;
  const addresses = v4 ? frame.subarray(26, 34) : frame.subarray(22, 54);
  const pseudo = Uint8Array.of(...addresses, 0, proto, length >> 8, length & 255);
  const sum = internetChecksum(proto === ICMP ? new Uint8Array(0) : pseudo, frame.subarray(at));
  put16(frame, at + field, proto === UDP && sum === 0 ? 0xffff : sum);
  return frame;
}
