/** Bytes and texts for the frame codecs of tests, none of it from `src/wire`. */
import { SocketAddress } from "node:net";

/** RFC 1071, the plain way. */
export function internetChecksum(...parts: readonly Uint8Array[]): number {
  let sum = 0;
  for (const part of parts) {
    for (let i = 0; i < part.length; i += 2) sum += part[i]! * 256 + (part[i + 1] ?? 0);
  }
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  return 0xffff - sum;
}

export function bytesOf(payload: string | Uint8Array): Uint8Array {
  return typeof payload === "string" ? Uint8Array.from(payload, (c) => c.charCodeAt(0)) : payload;
}

export function join(...parts: readonly ArrayLike<number>[]): Uint8Array {
  const out = new Uint8Array(parts.reduce((total, part) => total + part.length, 0));
  let at = 0;
  for (const part of parts) {
    out.set(part, at);
    at += part.length;
  }
  return out;
}

export function u16(value: number): number[] {
  return [(value >>> 8) & 255, value & 255];
}

export function u32(value: number): number[] {
  return [...u16(value >>> 16), ...u16(value)];
}

export function mac(text: string): number[] {
  return text.split(":").map((part) => Number.parseInt(part, 16));
}

export function ip4(text: string): number[] {
  return text.split(".").map(Number);
}

export function macText(buf: Uint8Array, at: number): string {
  return Array.from(buf.subarray(at, at + 6), (b) => b.toString(16).padStart(2, "0")).join(":");
}

export function ip4Text(buf: Uint8Array, at: number): string {
  return buf.subarray(at, at + 4).join(".");
}

/** An IPv6 address, any way it may be written. */
export function ip6(text: string): number[] {
  const dotted = text.replace(/(\d+)\.(\d+)\.(\d+)\.(\d+)$/, (_all, a, b, c, d) => {
    return `${(Number(a) * 256 + Number(b)).toString(16)}:${(Number(c) * 256 + Number(d)).toString(16)}`;
  });
  const [head = "", tail] = dotted.split("::");
  const groups = (part: string): number[] => part.split(":").flatMap((g) => (g ? u16(Number.parseInt(g, 16)) : []));
  const before = groups(head);
  const after = groups(tail ?? "");
  return [...before, ...new Array<number>(16 - before.length - after.length).fill(0), ...after];
}

/** The shortest form (RFC 5952), as the C library has it. */
export function ip6Text(buf: Uint8Array, at: number): string {
  const groups = Array.from({ length: 8 }, (_, i) => (buf[at + 2 * i]! * 256 + buf[at + 2 * i + 1]!).toString(16));
  return new SocketAddress({ family: "ipv6", address: groups.join(":") }).address;
}

export function view(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
}

/** Every field said, for what a decoder gives back. */
export type All<T> = { -readonly [K in keyof T]-?: T[K] };

/** A pseudo-header for this protocol and this many bytes. */
export type Pseudo = (proto: number, length: number) => Uint8Array;
