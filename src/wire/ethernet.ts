import { get16, put16 } from "./bytes.ts";

/** Ethernet II: destination (6), source (6), type (2). IEEE 802.3 section 3. */
export const ETH_HEADER = 14;
export const ETH_IPV4 = 0x0800;
export const ETH_ARP = 0x0806;
export const ETH_IPV6 = 0x86dd;

/** The shortest frame, without FCS (IEEE 802.3 section 3.2.7). */
export const ETH_LEAST = 60;

/**
 * Pads a short frame of `len` bytes at `at` with zeros to the shortest length allowed (RFC 1042), so that no older
 * bytes leak (CVE-2003-0001). Returns the new length. Some network cards, emulated ones among them, drop shorter
 * frames.
 */
export function ethPad(buf: Uint8Array, at: number, len: number): number {
  buf.fill(0, at + len, at + ETH_LEAST);
  return ETH_LEAST;
}

/** Whether `len` bytes hold an Ethernet header. */
export function ethCheck(len: number): boolean {
  return len >= ETH_HEADER;
}

export function ethType(buf: Uint8Array, at: number): number {
  return get16(buf, at + 12);
}

const VLAN = 0x8100;
const TAG = 4;

/** Whether a frame has a single tag that gives a priority and no VLAN (IEEE 802.1Q section 9.6, VID 0). */
export function ethIsPriorityTagged(buf: Uint8Array, at: number, len: number): boolean {
  return (
    len >= ETH_HEADER + TAG &&
    ethType(buf, at) === VLAN &&
    (get16(buf, at + 14) & 0xfff) === 0 &&
    ethType(buf, at + TAG) !== VLAN
  );
}

/** A copy of a tagged frame without its tag. */
export function ethUntagged(buf: Uint8Array, at: number, len: number): Uint8Array {
  const frame = new Uint8Array(len - TAG);
  frame.set(buf.subarray(at, at + 12));
  frame.set(buf.subarray(at + 12 + TAG, at + len), 12);
  return frame;
}

/** A MAC as two numbers: its first two bytes, and its last four (signed). */
export function macHigh(buf: Uint8Array, at: number): number {
  return get16(buf, at);
}

export function macLow(buf: Uint8Array, at: number): number {
  return (buf[at + 2]! << 24) | (buf[at + 3]! << 16) | (buf[at + 4]! << 8) | buf[at + 5]!;
}

/** Group addresses (multicast and broadcast) have the lowest bit of the first byte set. */
export function macIsGroup(buf: Uint8Array, at: number): boolean {
  return (buf[at]! & 1) !== 0;
}

/**
 * Whether the MAC is one of 01:80:c2:00:00:00 to …0f, which serve bridges among themselves and are never forwarded
 * (IEEE 802.1Q section 8.6.3).
 */
export function macIsBridges(buf: Uint8Array, at: number): boolean {
  return macHigh(buf, at) === 0x0180 && (macLow(buf, at) & ~0xf) === (0xc2000000 | 0);
}

export function macEquals(a: Uint8Array, at: number, b: Uint8Array): boolean {
  return (
    a[at] === b[0] &&
    a[at + 1] === b[1] &&
    a[at + 2] === b[2] &&
    a[at + 3] === b[3] &&
    a[at + 4] === b[4] &&
    a[at + 5] === b[5]
  );
}

/** Writes the header; returns where the payload goes. */
export function ethWrite(buf: Uint8Array, at: number, dst: Uint8Array, src: Uint8Array, type: number): number {
  for (let i = 0; i < 6; i++) {
    buf[at + i] = dst[i]!;
    buf[at + 6 + i] = src[i]!;
  }
  put16(buf, at + 12, type);
  return at + ETH_HEADER;
}

/** The MAC at `at` as a number of 48 bits. */
export function macNumber(buf: Uint8Array, at: number): number {
  return macHigh(buf, at) * 0x1_0000_0000 + (macLow(buf, at) >>> 0);
}

export function macToString(mac: Uint8Array, at = 0): string {
  let s = "";
  for (let i = 0; i < 6; i++) s += (i ? ":" : "") + mac[at + i]!.toString(16).padStart(2, "0");
  return s;
}

export const MAC_BROADCAST: Uint8Array = new Uint8Array([255, 255, 255, 255, 255, 255]);
