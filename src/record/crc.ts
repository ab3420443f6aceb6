/** CRC-32 (ISO 3309), by zlib where this Node has it. */
import zlib from "node:zlib";

type Crc = (bytes: Uint8Array, before?: number) => number;

const native = (zlib as { crc32?: Crc }).crc32;

const TABLE: Uint32Array = new Uint32Array(256).map((_, n) => {
  for (let k = 0; k < 8; k++) n = n & 1 ? (n >>> 1) ^ 0xedb88320 : n >>> 1;
  return n >>> 0;
});

function scalar(bytes: Uint8Array, before = 0): number {
  let c = ~before;
  for (let i = 0; i < bytes.length; i++) c = TABLE[(c ^ bytes[i]!) & 255]! ^ (c >>> 8);
  return ~c >>> 0;
}

/** The CRC-32 of `bytes`, continued from `before`. */
export const crc32: Crc = native ?? scalar;
export const scalarCrc32: Crc = scalar;
